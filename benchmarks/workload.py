"""The functions that the benchmarks send to workers: importable there, so that both sides ship them by name."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["array", "ends", "fib", "inc", "nap", "nth", "same"]


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


def fib(n: int) -> int:
    """A recursion: a task for every call, which waits for two others."""
    from distributed import worker_client  # of either side; only the cell `nested` wants it

    if n < 2:
        return n
    with worker_client() as client:
        one, other = client.submit(fib, n - 1, pure=False), client.submit(fib, n - 2, pure=False)
        return int(one.result() + other.result())


def array(nbytes: int, seed: int) -> Any:
    """A result of `nbytes` bytes, whose memory was written."""
    import numpy  # here only: most cells want none

    return numpy.full(nbytes // 8, seed, dtype="f8")


def ends(data: Any) -> tuple[float, float]:
    """The first and the last number of an array, after a look at every page of it."""
    data[::512].sum()
    return float(data[0]), float(data[-1])


def nth(data: Any, number: int) -> float:
    """One number of a big array that many tasks share."""
    return float(data[number])
