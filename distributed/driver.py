"""Joins a machine to the event loop: events in, effects performed, one timer; and how long each step of it took."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

__all__ = ["Driver", "Machine", "StepTimes"]


BUCKETS = 112  # up to 2**29 us, nine minutes


class Machine(Protocol):
    """What decides: plain, synchronous, without I/O or clock."""

    @property
    def next_wakeup(self) -> float | None:
        """Loop time at which it wants a tick; None: never."""

    def handle(self, event: Any, now: float) -> None:
        """Change state."""

    def take_effects(self) -> list[Any]:
        """What is to be done now, in order."""


class StepTimes:
    """How long the steps of a loop take: counts in a few dozen buckets, each at most a quarter wider than it begins.

    Cost: 0.3 us a step, 1 KiB.
    """

    __slots__ = ("_counts", "max_s")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self.max_s = 0.0

    def add(self, seconds: float) -> None:
        """One step has taken so long."""
        if seconds > self.max_s:
            self.max_s = seconds
        microseconds = int(seconds * 1e6)
        bits = microseconds.bit_length()
        index = microseconds if bits < 3 else 4 * (bits - 2) + (microseconds >> (bits - 3) & 3)
        self._counts[index if index < BUCKETS else BUCKETS - 1] += 1

    def quantile_s(self, part: float) -> float:
        """Seconds within which `part` (0 to 1) of all steps ended, rounded up to the bucket; 0 without any step."""
        left = part * sum(self._counts)
        for index, count in enumerate(self._counts):
            left -= count
            if count and left <= 0:
                return min(self.max_s, _end_s(index)) if index < BUCKETS - 1 else self.max_s
        return self.max_s

    def summary(self) -> dict[str, float]:
        """``count``, ``p50_s``, ``p99_s``, ``max_s``."""
        quantiles = {"p50_s": self.quantile_s(0.5), "p99_s": self.quantile_s(0.99), "max_s": self.max_s}
        return {"count": sum(self._counts), **quantiles}


def _end_s(index: int) -> float:
    if index < 4:
        return (index + 1) / 1e6
    octave, quarter = divmod(index, 4)
    return float((5 + quarter) << (octave - 1)) / 1e6


class Driver:
    """Feeds one machine.

    An event is handled to its end, and its effects are performed, before the next one; events that a performer causes
    wait their turn. Must be used on one loop only.

    Args:
        perform: what to do for each type of effect. Performers do not wait.
        tick: makes the event for a wake-up that has come.
        on_failure: told when the machine or a performer raises, always our own fault; nothing is handled after.
    """

    def __init__(
        self,
        machine: Machine,
        perform: Mapping[type, Callable[[Any], object]],
        tick: Callable[[], Any] | None = None,
        on_failure: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.machine = machine
        self._perform = perform
        self._tick = tick
        self._on_failure = on_failure
        self._events: deque[Any] = deque()
        self.steps = StepTimes()  # each from an event to its last effect
        self._busy = False
        self._failed = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def handle(self, event: Any) -> None:
        """Let the machine handle `event` and do what it says, now or after those that are being handled."""
        if self._failed:
            return
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        began = perf_counter()
        try:
            while self._events:
                self.machine.handle(self._events.popleft(), self._loop.time())
                for effect in self.machine.take_effects():
                    self._perform[type(effect)](effect)
        except BaseException as error:
            self._failed = True
            if self._on_failure is None:
                raise
            self._on_failure(error)
        finally:
            self._busy = False
            self.steps.add(perf_counter() - began)
        self._set_timer()

    def stop(self) -> None:
        """Handle nothing any more."""
        self._failed = True
        self._events.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        when = self.machine.next_wakeup
        if self._timer is not None:
            if when is not None and self._timer.when() == when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None and self._tick is not None and not self._failed:
            self._timer = self._loop.call_at(when, self._wake)

    def _wake(self) -> None:
        self._timer = None
        assert self._tick is not None
        self.handle(self._tick())
