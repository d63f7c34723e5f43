"""Which words does a book use most? A project of several modules with a dependency, on whatever workers there are.

``python count.py [BOOK] [--workers HOST:PORT,HOST:PORT]``; without workers: a worker of its own on this machine.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from library.chapters import Chapter, EmptyChapterError, split
from library.counting import count, python

from distributed import setup

BOOK = "# one\nthe cat saw the dog\n# two\nthe dog saw the bird and the cat\n# three\nthe end\n"


def main() -> None:
    """Count, and show a chapter that cannot be counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("book", nargs="?", type=Path, help="text in which chapters begin with '# '")
    parser.add_argument("--workers", help="addresses of offers, separated by commas")
    options = parser.parse_args()
    here = Path(__file__).parent
    workers = {"workers": options.workers.split(",")} if options.workers else {}
    setup(workspace=here, requirements=here / "requirements.txt", **workers)
    chapters = split(options.book.read_text() if options.book else BOOK)
    total: Counter[str] = Counter()
    for task in count.map(chapters):
        number, words = task.unwrap()
        total += words
        print(f"chapter {number}: {words.total()} words")
    print(" ".join(f"{word} {times}" for word, times in total.most_common(3)))
    print("workers run Python", " and ".join(sorted({task.unwrap() for task in [python() for _ in range(8)]})))
    failed = count(Chapter(4, ""))
    try:
        failed.unwrap()
    except EmptyChapterError as error:  # the class of this project, here and there
        print("as it should be:", error)


if __name__ == "__main__":
    main()
