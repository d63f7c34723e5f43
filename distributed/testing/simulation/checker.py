"""When a simulation asks whether the invariants hold: after each event of what it touched, now and then of all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from distributed.testing.simulation.invariants import INVARIANTS, Invariant, Moment

__all__ = ["Checker"]

ALL_EVERY = 100  # events


def _of(moment: Moment) -> list[Invariant]:
    return [invariant for invariant in INVARIANTS if invariant.moment is moment]


class Checker(ABC):
    """Base of `World`: its checks.

    Attributes:
        events: handled so far, by machines and by clients; checks: invariants asked so far.
        memory: what invariants remember from one moment to another.
        logged: how many transitions the scheduler had logged before the event at hand.
    """

    def __init__(self) -> None:
        self.events = 0
        self.checks = 0
        self.memory: dict[Any, Any] = {}
        self.logged = 0
        self._next_all = ALL_EVERY

    @abstractmethod
    def fail(self, rule: str, where: str) -> Any:
        """A rule does not hold."""

    def _ask(self, invariants: list[Invariant], *about: Any) -> None:
        for invariant in invariants:
            where = invariant.function(self, *about)
            if where is not None:
                self.fail(invariant.sentence, where)
        self.checks += len(invariants)

    # ------------------------------------------------------------ moments

    def before_event(self, engine: Any, event: Any) -> None:
        """`engine` is about to handle `event`."""
        self._ask(_BEFORE, engine, event)
        state = engine.machine.state
        log = getattr(state, "log", None)
        if log is not None:
            if log.is_full:
                log.clear()
            self.logged = len(log)

    def after_event(self, engine: Any, event: Any, effects: list[Any]) -> None:
        """`engine` has handled `event`, and its effects are performed."""
        self.events += 1
        self._ask(_EVENT, engine, event, effects)
        log = getattr(engine.machine.state, "log", None)
        message = getattr(event, "message", None)
        if log is None:
            self._ask(_WORKER, engine, list(getattr(message, "keys", ())))
        else:
            touched = dict.fromkeys(getattr(message, "keys", ()))
            touched.update((entry[0], None) for entry in log.after(self.logged))
            for key in touched:
                self._ask(_KEY, key)
            worker = engine.machine.state.workers.get(getattr(event, "address", ""))
            if worker is not None:
                self._ask(_SCHEDULED, worker, touched)

    def after_all(self) -> None:
        """A machine has handled what there was, with all that followed at once."""
        if self.events >= self._next_all:
            self._next_all = self.events + ALL_EVERY
            self.check_all()

    def after_told(self, client: Any, message: Any) -> None:
        """`client` has taken in a message."""
        self.events += 1

    def check_told(self, client: Any, message: Any) -> None:
        """`client` is about to take in a message."""
        self._ask(_TOLD, client, message)

    def check_begin(self, worker: Any, task: Any, attempt: int | None) -> None:
        """The executor of `worker` begins `task`."""
        self._ask(_BEGIN, worker, task, attempt)

    def check_value(self, worker: Any, key: str, value: bytes, nbytes: int) -> None:
        """`worker` keeps a value."""
        self._ask(_KEPT, worker, key, value, nbytes)

    def check_result(self, client: Any, key: str, value: bytes) -> None:
        """`client` has got a result."""
        self._ask(_RESULT, client, key, value)

    def check_taken(self, client: Any, value: bytes) -> None:
        """`client` takes an item."""
        self._ask(_TAKEN, client, value)

    def check_all(self) -> None:
        """Everything, everywhere."""
        self._ask(_CLUSTER)

    def check_rest(self) -> None:
        """Nothing is left."""
        self._ask(_REST)


_BEFORE, _EVENT, _WORKER, _KEY, _SCHEDULED = map(
    _of, (Moment.BEFORE, Moment.EVENT, Moment.WORKER, Moment.KEY, Moment.SCHEDULED)
)
_TAKEN = _of(Moment.TAKEN)
_TOLD, _BEGIN, _KEPT, _RESULT, _CLUSTER, _REST = map(
    _of, (Moment.TOLD, Moment.BEGIN, Moment.KEPT, Moment.RESULT, Moment.CLUSTER, Moment.REST)
)
