"""What an invariant is: a function with a name and a sentence, asked at one kind of moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

__all__ = ["INVARIANTS", "Invariant", "Moment", "invariant"]


class Moment(Enum):
    """When an invariant is asked, and what it is given after the world."""

    BEFORE = "before a machine handles an event: its process, the event"
    EVENT = "after a machine has handled an event: its process, the event, the effects"
    KEY = "after an event of the scheduler, for each task it touched: the key"
    SCHEDULED = "after an event of the scheduler that came from a worker: its record, the keys it touched"
    WORKER = "after an event of a worker: its process, the keys of its message"
    BEGIN = "when a task begins to run: the worker's process, the task, its attempt"
    KEPT = "when a worker keeps a value: its process, key, value, size"
    TOLD = "when a client gets a message: its process, the message"
    TAKEN = "when a client takes an item of a queue: its process, the item"
    RESULT = "when a client has fetched a result: its process, key, value"
    CLUSTER = "every 100 events and at the end"
    REST = "when every client has left and all has come to rest"


@dataclass(frozen=True, slots=True)
class Invariant:
    """One rule; `function` answers where it is broken, or None."""

    name: str
    sentence: str
    moment: Moment
    function: Callable[..., str | None]


INVARIANTS: list[Invariant] = []


def invariant(moment: Moment, sentence: str) -> Callable[[Callable[..., str | None]], Callable[..., str | None]]:
    """Decorate a function ``(world, ...) -> str | None`` that answers where `sentence` does not hold."""

    def register(function: Callable[..., str | None]) -> Callable[..., str | None]:
        INVARIANTS.append(Invariant(function.__name__, sentence, moment, function))
        return function

    return register
