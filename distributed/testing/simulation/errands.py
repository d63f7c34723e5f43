"""What clients of a plan do with locks, queues and their like."""

from __future__ import annotations

from dataclasses import dataclass

from distributed.testing.simulation.chance import Stream
from distributed.testing.simulation.clock import MS

__all__ = ["ErrandPlan", "draw_errands"]

COORDINATING_PERCENT = 50  # of all seeds
_ERRANDS = ("lock", "lock", "lock", "locks", "semaphore", "put", "put", "put", "get", "get", "set", "clear", "wait")


@dataclass(slots=True)
class ErrandPlan:
    """One thing that a client does with a lock, queue or its like, `pause` ticks after the one before.

    ``kind``: lock, locks, semaphore, put, get, set, clear, wait. ``patience`` is how long it waits, ``lasts`` how long
    it holds, ``count`` how many items it wants, or what else the kind makes of it.
    """

    name: str
    kind: str
    pause: int
    place: str
    patience: int
    lasts: int
    count: int


def draw_errands(draws: Stream, clients: int) -> list[list[ErrandPlan]]:
    """The errands of each client, in order; none in some seeds."""
    if not draws.percent(COORDINATING_PERCENT):
        return [[] for _ in range(clients)]
    return [[_errand(draws, client, index) for index in range(draws.between(4, 16))] for client in range(clients)]


def _errand(draws: Stream, client: int, index: int) -> ErrandPlan:
    return ErrandPlan(
        name=f"errand-{client}.{index}",
        kind=draws.pick(_ERRANDS),
        pause=draws.skewed(0, 700) * MS,
        place=draws.pick(("x", "x", "y")),
        patience=draws.pick((5, 100, 1_000, 6_000)) * MS,
        lasts=draws.skewed(0, 1_500) * MS,
        count=draws.between(0, 3),
    )
