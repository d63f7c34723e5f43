"""What the worker's machine wants done; `distributed.worker.server` does it, in order, after the event."""

from __future__ import annotations

from typing import Any, NamedTuple

from distributed.dataclass import dataclass
from distributed.messages import DEFAULT_OPTIONS, Message, Payload, RunOptions

__all__ = [
    "DropData",
    "DropEquipment",
    "DropFunctions",
    "Effect",
    "EndActors",
    "Equip",
    "EquipItem",
    "Execute",
    "Fetch",
    "GiveBack",
    "Keep",
    "KeepActors",
    "ReadyTask",
    "Stop",
    "ToScheduler",
    "Withdraw",
]


@dataclass(slots=True)
class ReadyTask:
    """All the executor needs to run a task; never changed after it was made.

    Attributes:
        ticket: unique among all runs of this worker's life, growing; an outcome carries it back. (Attempt numbers
            would not do: those of a new scheduler begin again while an old task may still be running.)
        function: the pickled function whose digest is ``digest``.
        wanted: whether a small result rides inline.
        rank: smaller ones run first, of equal rank in the order submitted.
        options: limits of the call, and how deep it lies among tasks that submit tasks.
    """

    key: str
    ticket: int
    digest: bytes
    function: Payload
    arguments: Payload
    wanted: bool
    dependencies: list[str] | None
    rank: int = 0
    options: RunOptions = DEFAULT_OPTIONS


@dataclass(slots=True)
class Execute:
    """Run these, of lower rank first, of equal rank after those given before."""

    tasks: list[ReadyTask]


@dataclass(slots=True)
class Withdraw:
    """Take these tasks out of the executor's queue. One that has begun ends; its outcome will be ignored."""

    keys: list[str]


@dataclass(slots=True)
class Stop:
    """Take these tasks (``{key: ticket}``) out of the executor's queue, and interrupt those that have begun.

    Answer with `StopBegun`; the outcome of one that had begun tells when it has ended.
    """

    tickets: dict[str, int]


@dataclass(slots=True)
class GiveBack:
    """Take these tasks (``{key: ticket}``) out of the executor's queue, and answer with `TasksWithdrawn`."""

    tickets: dict[str, int]


@dataclass(slots=True)
class Keep:
    """Put these values into the store, replacing older ones. This is the only way in; columns of one length."""

    keys: list[str]
    values: list[Any]
    nbytes: list[int]


@dataclass(slots=True)
class KeepActors:
    """Let these objects be called from now on, by key; their proxies are in the store."""

    actors: dict[str, Any]


@dataclass(slots=True)
class EndActors:
    """The objects of these keys can be called no more; says why."""

    keys: list[str]
    reason: str


@dataclass(slots=True)
class DropData:
    """Remove these keys from the store."""

    keys: list[str]


@dataclass(slots=True)
class DropFunctions:
    """No task will need these functions: the executor may forget what it loaded."""

    digests: list[bytes]


@dataclass(slots=True)
class Fetch:
    """Ask the peer at `address` for these keys; answer with `DataFetched` or `FetchFailed`, always with one of them."""

    address: str
    keys: list[str]


@dataclass(slots=True)
class ToScheduler:
    """Send `message` to the scheduler."""

    message: Message


class EquipItem(NamedTuple):
    """A file, a plugin, or a plugin that goes; see `distributed.messages.equipment`."""

    serial: int
    kind: str
    name: str
    payload: Payload


@dataclass(slots=True)
class Equip:
    """Take these in, one after the other, after those before; answer with `Equipped`."""

    ticket: int
    items: list[EquipItem]


@dataclass(slots=True)
class DropEquipment:
    """Its scheduler is lost: plugins end. What is being taken in is answered to nobody."""


Effect = (
    Execute
    | Withdraw
    | Stop
    | GiveBack
    | Keep
    | KeepActors
    | EndActors
    | DropData
    | DropFunctions
    | Fetch
    | Equip
    | DropEquipment
    | ToScheduler
)
