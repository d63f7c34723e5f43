"""What can happen to a worker, as its machine sees it; nothing here decides anything.

Values (results, copies, scattered data) are opaque: the machine only passes them on to the store.
"""

from __future__ import annotations

from typing import Any

from distributed.dataclass import dataclass, field
from distributed.messages import Failure, Message, Payload

__all__ = [
    "DataFetched",
    "DataPut",
    "DataRescued",
    "Equipped",
    "Event",
    "FetchBusy",
    "FetchFailed",
    "FromScheduler",
    "Outcome",
    "SchedulerLost",
    "StopBegun",
    "TasksExecuted",
    "TasksLending",
    "TasksWithdrawn",
    "Tick",
]


@dataclass(slots=True)
class Outcome:
    """How one run of a task ended in the executor.

    It succeeded if ``failure`` and ``missing`` are both None. ``value``, ``nbytes`` and ``payload`` mean something only
    then; ``payload`` is the pickled value when the task is wanted and the value is small.

    Attributes:
        ticket: of the `ReadyTask` that ran; tells a late outcome from the one that is waited for.
        duration_s: seconds >= 0 it took to load the arguments and to call the function.
        missing: dependencies that were no longer in the store when the task began; it did not run.
        actor: the object that the task made, opaque, if it is to stay here; ``value`` is its proxy then.
    """

    key: str
    ticket: int
    value: Any
    nbytes: int
    payload: Payload
    duration_s: float
    failure: Failure | None = None
    missing: list[str] | None = None
    actor: Any = None


@dataclass(slots=True)
class FromScheduler:
    """The scheduler sent `message`."""

    message: Message


@dataclass(slots=True)
class TasksExecuted:
    """The executor finished these, in the order in which they ended."""

    outcomes: list[Outcome]


@dataclass(slots=True)
class TasksLending:
    """Tasks have lent their slots or have some again: ``{key: (ticket, whether it is lent now)}``."""

    news: dict[str, tuple[int, bool]]


@dataclass(slots=True)
class TasksWithdrawn:
    """The answer to `GiveBack`: of the tasks in `tickets` those in `withdrawn` had not begun, and now never will."""

    tickets: dict[str, int]
    withdrawn: list[str]


@dataclass(slots=True)
class StopBegun:
    """The answer to `Stop`: these had not begun, and now never will."""

    tickets: list[int]


@dataclass(slots=True)
class DataRescued:
    """These values were put on a former life of this worker, which its nanny had to end."""

    values: dict[str, Any]
    nbytes: dict[str, int]  # of every key in values


@dataclass(slots=True)
class DataFetched:
    """The peer at `address` answered the fetch that runs there; ends it.

    A key that was asked for and is in neither ``values`` nor ``missing`` counts as missing.
    """

    address: str
    values: dict[str, Any]
    nbytes: dict[str, int]  # of every key in values
    missing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FetchFailed:
    """The fetch from `address` got no answer (no connection, time-out, broken answer); ends it."""

    address: str
    keys: list[str]
    reason: str


@dataclass(slots=True)
class FetchBusy:
    """The peer at `address` gives data to many others just now and refused the fetch; ends it."""

    address: str


@dataclass(slots=True)
class DataPut:
    """A client scattered these values to this worker."""

    client: str
    values: dict[str, Any]
    nbytes: dict[str, int]  # of every key in values


@dataclass(slots=True)
class Equipped:
    """The answer to `Equip`: all was taken in but what is in ``failures``, by serial."""

    ticket: int
    failures: dict[int, Failure]


@dataclass(slots=True)
class SchedulerLost:
    """The connection with the scheduler is gone: nothing it asked for counts any more."""


@dataclass(slots=True)
class Tick:
    """The time that the machine asked for has come."""


Event = (
    FromScheduler
    | TasksExecuted
    | TasksLending
    | TasksWithdrawn
    | DataFetched
    | FetchFailed
    | FetchBusy
    | DataPut
    | DataRescued
    | StopBegun
    | Equipped
    | SchedulerLost
    | Tick
)
