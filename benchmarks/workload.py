"""The functions that the benchmarks send to workers: importable there, so that both sides ship them by name."""

from __future__ import annotations

import time

__all__ = ["inc", "nap", "same"]


def same(value: int) -> int:
    """The no-op: hands back its argument, so that every result can be told from every other."""
    return value


def inc(value: int) -> int:
    """One more."""
    return value + 1


def nap(value: int, seconds: float) -> int:
    """Work that takes its time and no processor."""
    time.sleep(seconds)
    return value
