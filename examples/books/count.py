"""Which words does a book use most? A project of several modules with a dependency, on whatever workers there are.

``python count.py [BOOK] [--workers HOST:PORT,HOST:PORT]``; without workers: some of its own on this machine.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from library.chapters import Chapter, EmptyChapterError, split
from library.counting import count, python

from distributed import setup

BOOK = "# one\nthe cat saw the dog\n# two\nthe dog saw the bird and the cat\n# three\nthe end\n"
PATIENCE_S = 60.0  # until workers that are asked for the first time have made the environment


def pythons(workers: int) -> list[str]:
    """Which versions of Python the calls run on, asked until as many workers have answered."""
    found: dict[int, str] = {}
    end = time.monotonic() + PATIENCE_S
    while len(found) < workers and time.monotonic() < end:
        found |= dict(task.unwrap() for task in [python() for _ in range(2 * workers)])
    return sorted(set(found.values()))


def main() -> None:
    """Count, and show a chapter that cannot be counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("book", nargs="?", type=Path, help="text in which chapters begin with '# '")
    parser.add_argument("--workers", default="", help="addresses of offers, separated by commas")
    options = parser.parse_args()
    here = Path(__file__).parent
    workers = [address for address in options.workers.split(",") if address]
    setup(workspace=here, requirements=here / "requirements.txt", workers=workers)

    total: Counter[str] = Counter()
    for task in count.map(split(options.book.read_text() if options.book else BOOK)):
        number, words = task.unwrap()
        total += words
        print(f"chapter {number}: {words.total()} words")
    print(", ".join(f"{word} {times}" for word, times in total.most_common(3)))
    print("run by Python", " and ".join(pythons(len(workers) or 1)))
    try:
        count(Chapter(4, "")).unwrap()
    except EmptyChapterError as error:  # the class of this project, here and there
        print("as it should be:", error)


if __name__ == "__main__":
    main()
