"""Count the words of all text files below a folder: one task per file, sums in a tree, a line of progress."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

from distributed import Client, as_completed

ARITY = 8  # counters per sum; a tree keeps any one task from getting everything


def count_words(path: str) -> Counter[str]:
    """Words of one file, in lower case."""
    return Counter(re.findall(r"\w+", Path(path).read_text(errors="replace").lower()))


def add(counters: list[Counter[str]]) -> Counter[str]:
    """The sum of several counters."""
    return sum(counters, Counter())


def main() -> None:
    """Print the ten most common words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--glob", default="**/*.md", help="which files")
    parser.add_argument("--address", help="of a running scheduler")
    options = parser.parse_args()
    paths = sorted(str(path.resolve()) for path in options.folder.glob(options.glob) if path.is_file())

    with Client(options.address) as client:
        level = list(client.map(count_words, paths))
        for done, _ in enumerate(as_completed(level), 1):
            print(f"\r{done} of {len(paths)} files", end="", flush=True)
        print()
        while len(level) > 1:
            level = [client.submit(add, level[i : i + ARITY]) for i in range(0, len(level), ARITY)]
        words = level[0].result() if level else Counter()
    for word, count in words.most_common(10):
        print(f"{count:8,} {word}")


if __name__ == "__main__":
    main()
