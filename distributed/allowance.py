"""A bound on a rate: so much at once, and so much per second. Pure: time is an argument."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """A bucket that is full at first and fills up again in time.

    Args:
        burst: what it holds, > 0.
        rate: what comes back per second, > 0.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._left = burst
        self._at = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` out if there is anything left; so what is bigger than the bucket gets through now and then.

        Args:
            now: seconds, never less than at the call before.
        """
        left = self.left(now)
        if left <= 0:
            return False
        self._left = left - amount
        return True

    def left(self, now: float) -> float:
        """What can be taken now; negative: what is owed."""
        if now > self._at:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
        return self._left
