"""Virtual time and the queue of what will happen. Nothing here waits.

Time is counted in ticks of 2**-20 s, so every moment and every sum of durations is exact in a float: versions of
Python that add floats differently reach the same decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

__all__ = ["MS", "SECOND", "US", "Clock", "seconds"]

SECOND = 2**20
MS = 2**10  # 0.98 ms
US = 1

Action = Callable[..., None]


def seconds(ticks: int) -> float:
    """Ticks as seconds, exactly."""
    return ticks / SECOND


class Clock:
    """What happens next, in order of time; at one moment in the order in which it was planned.

    Attributes:
        now: ticks since the beginning.
    """

    def __init__(self) -> None:
        self.now = 0
        self._serial = 0
        self._queue: list[tuple[int, int, Action, tuple[Any, ...]]] = []

    def after(self, ticks: int, action: Action, *arguments: Any) -> None:
        """Call ``action(*arguments)`` in `ticks`."""
        self.at(self.now + ticks, action, *arguments)

    def at(self, when: int, action: Action, *arguments: Any) -> None:
        """Call ``action(*arguments)`` at `when`, or now if that has passed."""
        self._serial += 1
        heappush(self._queue, (max(when, self.now), self._serial, action, arguments))

    def step(self) -> bool:
        """Let the next thing happen; False if there is none."""
        if not self._queue:
            return False
        self.now, _, action, arguments = heappop(self._queue)
        action(*arguments)
        return True

    def next_time(self) -> int | None:
        """When the next thing happens; None: never."""
        return self._queue[0][0] if self._queue else None

    def __len__(self) -> int:
        return len(self._queue)
