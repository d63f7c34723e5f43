"""`Rates`: how much was done per second lately; pure, times are arguments."""

from __future__ import annotations

from collections import deque

__all__ = ["Rates"]

WINDOW_S = 10.0
SLICE_S = 0.5


class Rates:
    """Files and bytes per second over the last `WINDOW_S`, in constant memory."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._slices: deque[tuple[float, int, int]] = deque()  # beginning, files, bytes

    def count(self, files: int, nbytes: int, now: float) -> None:
        """So much was done just now."""
        beginning = now - now % SLICE_S
        if self._slices and self._slices[-1][0] == beginning:
            _, files_before, nbytes_before = self._slices.pop()
            files, nbytes = files + files_before, nbytes + nbytes_before
        self._slices.append((beginning, files, nbytes))
        self._forget(now)

    def per_second(self, now: float) -> tuple[float, float]:
        """Files and bytes per second; of the time since the beginning, as long as that is shorter than the window."""
        self._forget(now)
        seconds = min(WINDOW_S, max(SLICE_S, now - self._began))
        return (
            sum(files for _, files, _ in self._slices) / seconds,
            sum(nbytes for _, _, nbytes in self._slices) / seconds,
        )

    def _forget(self, now: float) -> None:
        while self._slices and self._slices[0][0] <= now - WINDOW_S:
            self._slices.popleft()
