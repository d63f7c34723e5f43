"""Who of a manager's workers can be counted on: a machine without clock, thread or socket.

            join             register               lose (its connection ended, or it was given up)
    (none) ─────▶  JOINED  ───────────▶ REGISTERED ──────▶ GONE
                     └────────────── lose ─────────────────▲

What people ask for follows from state and silence, so each worker is exactly one of three things:

    UNCONFIRMED   JOINED and heard of within `ttl_s`
    ACTIVE        REGISTERED and heard of within `ttl_s`
    DEAD          GONE, or silent for longer; a silent one that speaks again is what it was before

Ids count from 0 in the order of joining, and are never used again.
"""

from __future__ import annotations

from enum import Enum

from distributed.dataclass import dataclass
from distributed.errors import InvariantError

__all__ = ["Roster", "Standing", "State"]


class State(Enum):
    """Where a worker is in its life."""

    JOINED = "joined"
    REGISTERED = "registered"
    GONE = "gone"


class Standing(Enum):
    """What a worker is good for."""

    UNCONFIRMED = "unconfirmed"
    ACTIVE = "active"
    DEAD = "dead"


_NEXT = {
    (State.JOINED, "register"): State.REGISTERED,
    (State.JOINED, "lose"): State.GONE,
    (State.REGISTERED, "register"): State.REGISTERED,  # who registers again tells nothing new
    (State.REGISTERED, "lose"): State.GONE,
    (State.GONE, "register"): State.GONE,  # what it said before its end, seen late
    (State.GONE, "lose"): State.GONE,
}


@dataclass(slots=True)
class _Worker:
    state: State
    heard_at: float
    is_held_back: bool = False  # we do not read what it says, so its silence tells nothing


class Roster:
    """The workers of one manager.

    Args:
        ttl_s: a worker that is silent for longer counts as dead.
        now: seconds of a clock that only goes forward, as everywhere here.
    """

    def __init__(self, ttl_s: float, now: float) -> None:
        self.ttl_s = ttl_s
        self._workers: list[_Worker] = []
        self._open: dict[int, None] = {}  # who is not gone
        self._unmourned: dict[int, None] = {}
        self._polled_at = now

    def __len__(self) -> int:
        return len(self._workers)

    def join(self, now: float) -> int:
        """The id of one more worker."""
        worker = len(self._workers)
        self._workers.append(_Worker(State.JOINED, now))
        self._open[worker] = self._unmourned[worker] = None
        return worker

    def hear(self, worker: int, now: float) -> None:
        """It said something, whatever it was."""
        self._workers[worker].heard_at = now

    def hold_back(self, worker: int, is_held_back: bool, now: float) -> None:
        """From now on nothing of it is read, because too much is uncollected; or everything is again."""
        self._workers[worker].is_held_back = is_held_back
        self._workers[worker].heard_at = now

    def register(self, worker: int) -> None:
        """It said that it is ready."""
        self._move(worker, "register")

    def lose(self, worker: int) -> None:
        """Its connection ended, or ends because we give it up."""
        self._move(worker, "lose")

    def standing(self, worker: int, now: float) -> Standing:
        """What it is good for; see the module."""
        record = self._workers[worker]
        if record.state is State.GONE or (not record.is_held_back and now - record.heard_at > self.ttl_s):
            return Standing.DEAD
        return Standing.ACTIVE if record.state is State.REGISTERED else Standing.UNCONFIRMED

    def having(self, standing: Standing, now: float) -> list[int]:
        """All ids of that standing, in order."""
        among = range(len(self._workers)) if standing is Standing.DEAD else self._open
        return [worker for worker in among if self.standing(worker, now) is standing]

    def is_gone(self, worker: int) -> bool:
        """Whether nothing can be sent to it any more."""
        return self._workers[worker].state is State.GONE

    def take_deaths(self, now: float) -> list[int]:
        """Who is dead and was not told of by this before; from now on they are gone for good."""
        deaths = [worker for worker in self._unmourned if self.standing(worker, now) is Standing.DEAD]
        for worker in deaths:
            del self._unmourned[worker]
            self.lose(worker)
        return deaths

    def take_poll(self, now: float) -> bool:
        """Whether everybody should be pinged now: twice within `ttl_s`."""
        if now - self._polled_at < self.ttl_s / 2:
            return False
        self._polled_at = now
        return True

    def check(self, now: float) -> None:
        """Raise InvariantError unless every worker has one standing, and who was told of as dead is gone."""
        listed = sorted(worker for standing in Standing for worker in self.having(standing, now))
        if listed != list(range(len(self._workers))):
            raise InvariantError("every worker has exactly one standing")
        gone = {worker for worker, record in enumerate(self._workers) if record.state is State.GONE}
        if gone & self._open.keys() or len(gone) + len(self._open) != len(self._workers):
            raise InvariantError("a worker is open until it is gone")
        if not self._open.keys() <= self._unmourned.keys():
            raise InvariantError("a death that was told is for good")

    def _move(self, worker: int, event: str) -> None:
        record = self._workers[worker]
        record.state = _NEXT[record.state, event]
        if record.state is State.GONE:
            self._open.pop(worker, None)
