"""How many elements of an iterable go into one task, and how many tasks are under way: by what was measured so far.

A task costs the cluster some 20 us and its round trip a millisecond, so cheap calls travel many at a time; dear ones go
alone, or a worker would still be busy with the last chunk when the others have nothing left. Pure: who measures tells.
"""

from __future__ import annotations

__all__ = ["Chunks"]

CHUNK_S = 0.05  # what a chunk should take: the costs of a task are then below 0.1 percent
CHUNK_LEAST_S = 0.002  # what a chunk takes at least, also near the end where they become smaller
CHUNK_NBYTES = 512 * 1024  # of arguments; beyond that bigger messages save nothing
RESULTS_NBYTES = 16 * 1024 * 1024  # of a chunk: worker and program hold all of them at once
GROWTH_MAX = 16  # from one measured chunk to the next: the first call may have been an easy one
SHARES = 4  # chunks per slot that what is left is good for, so that all slots end at about the same time
MEMORY = 0.5  # weight of the newest measurement
AHEAD_S = 0.1  # work that is under way per slot, if calls are short
WINDOW_MAX = 1000  # tasks under way in all, however short they are


class Chunks:
    """Decides for one job.

    Args:
        slots: calls that the cluster runs at once, >= 1.
        length: elements in all; None: unknown.
        chunksize: so many in each chunk, as the user wants it; None: as measured.
    """

    def __init__(self, slots: int, length: int | None = None, chunksize: int | None = None) -> None:
        self._slots = slots
        self._left = length
        self._chunksize = chunksize
        self._largest = 0  # chunk that was measured
        self._call_s: float | None = None  # seconds per call, recently
        self._nbytes = 0.0  # of one element's arguments, recently
        self._result_nbytes = 0.0  # of one result, recently

    def next_count(self) -> int:
        """Elements of the next chunk, >= 1."""
        if self._chunksize is not None:
            return self._chunksize
        if self._call_s is None:
            return 1
        wanted = min(_quotient(CHUNK_S, self._call_s), self._largest * GROWTH_MAX)
        if self._nbytes:
            wanted = min(wanted, _quotient(CHUNK_NBYTES, self._nbytes))
        if self._result_nbytes:
            wanted = min(wanted, _quotient(RESULTS_NBYTES, self._result_nbytes))
        if self._left is not None:
            wanted = min(wanted, max(self._left // (self._slots * SHARES), _quotient(CHUNK_LEAST_S, self._call_s)))
        return max(1, wanted)

    @property
    def window(self) -> int:
        """Chunks that may be under way at once: what runs, and what waits at the workers so that none is ever idle."""
        least = 2 * self._slots
        if self._chunksize is None or self._call_s is None:
            return least
        seconds = self._call_s * self._chunksize
        return max(least, min(WINDOW_MAX, _quotient(AHEAD_S * self._slots, seconds)))

    @property
    def ahead(self) -> int:
        """Chunks that an iterator's reader may be behind: more are not begun until it has taken some."""
        return max(2 * self.window, 8 * self._slots)

    def packed(self, count: int, nbytes: int) -> None:
        """A chunk of `count` elements was sent, its arguments in `nbytes` bytes."""
        self._nbytes = _mean(self._nbytes, nbytes / count)
        if self._left is not None:
            self._left = max(0, self._left - count)

    def done(self, count: int, seconds: float, nbytes: int) -> None:
        """A chunk of `count` elements took `seconds` on its worker; its results are about `nbytes` bytes."""
        self._largest = max(self._largest, count)
        self._call_s = _mean(self._call_s or 0.0, seconds / count)
        self._result_nbytes = _mean(self._result_nbytes, nbytes / count)


def _mean(old: float, new: float) -> float:
    return new if not old else (1 - MEMORY) * old + MEMORY * new


def _quotient(all_of_it: float, each: float) -> int:
    return int(all_of_it / max(each, 1e-9))
