"""How fast a worker's `loop` is called, told from what it returns; pure.

    True    there is more to do: again at once
    False   there is nothing to do until a message comes: wait for it
    None    nobody knows (a loop that returns nothing): again at once, 256 times. When these took next to no time, and
            no message came or went meanwhile, nothing was done: rest, at most until a message comes

So a loop that works is never slowed down, one that does nothing and does not say so runs some 12,000 times in a second
and uses about a hundredth of a core, and one that says so uses nothing.
"""

from __future__ import annotations

__all__ = ["REST_S", "ROUND", "Pace"]

ROUND = 256  # slices between two looks at the clock
IDLE_SLICE_S = 2e-6  # a slice that takes less on average does nothing: a look at two lists takes 0.2 us
REST_S = 0.02  # 256 slices in 20 ms are 12,800 in a second


class Pace:
    """Decides after every `ROUND` slices that returned None whether to rest.

    Args:
        now: seconds.
    """

    __slots__ = ("_began_at", "_traffic")

    def __init__(self, now: float) -> None:
        self._began_at = now
        self._traffic = 0

    def rest_s(self, now: float, traffic: int) -> float:
        """How long to wait for a message before the next round; 0: not at all.

        Args:
            traffic: how many messages have come and gone so far.
        """
        is_idle = traffic == self._traffic and now - self._began_at < ROUND * IDLE_SLICE_S
        self.begin(now, traffic)
        return REST_S if is_idle else 0.0

    def begin(self, now: float, traffic: int) -> None:
        """A round begins now, and not when the last one ended."""
        self._began_at = now
        self._traffic = traffic
