"""A book as chapters, and a class of our own that travels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Chapter:
    """One chapter of a book; `number` counts from 1."""

    number: int
    text: str


class EmptyChapterError(Exception):
    """A chapter without a word."""


def split(book: str) -> list[Chapter]:
    """The chapters of a text in which each begins with a line ``# ...``."""
    texts = [part.partition("\n")[2] for part in f"\n{book}".split("\n# ")[1:]]
    return [Chapter(number, text) for number, text in enumerate(texts, start=1)]
