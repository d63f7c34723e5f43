"""What happens to the scheduler: the inputs of `SchedulerMachine.handle`.

An event says what was seen, not what to do about it. Messages travel inside `FromClient` and `FromWorker` as the
dataclasses of `distributed.messages`, already checked by `from_wire`.
"""

from __future__ import annotations

from typing import Any

from distributed.dataclass import dataclass
from distributed.messages import Message, Payload

__all__ = [
    "ClientJoined",
    "ClientLeft",
    "Equip",
    "Event",
    "ForgetTasks",
    "FromClient",
    "FromWorker",
    "Rebalance",
    "Replicate",
    "Retire",
    "Tick",
    "WorkerAlive",
    "WorkerDied",
    "WorkerJoined",
    "WorkerLeft",
    "WorkerReplacing",
]


@dataclass(slots=True)
class ClientJoined:
    """A client connected; ``client`` is its id, new for every connection.

    ``process`` is that of the worker whose tasks use it, '' for one of a program.
    """

    client: str
    process: str = ""


@dataclass(slots=True)
class ClientLeft:
    """The client's connection is gone: it holds nothing any more."""

    client: str


@dataclass(slots=True)
class FromClient:
    """A client sent a message."""

    client: str
    message: Message


@dataclass(slots=True)
class WorkerJoined:
    """A worker connected and asks to be accepted; answered by `AcceptWorker` or `RefuseWorker`.

    ``incarnation`` names this life of the process, ``host`` is what ``spec.workers`` may name instead of an address,
    ``nanny`` the address of its guard or None. ``process`` names the process over all its lives; '' if it tells none.
    ``tags`` are what ``spec.platform`` may match.
    """

    address: str
    incarnation: str
    name: str
    nthreads: int
    memory_limit_nbytes: int | None
    nanny: str | None
    resources: dict[str, float]
    host: str
    process: str = ""
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class WorkerLeft:
    """The worker's connection is gone; ``expected`` if it said goodbye (a close or SIGTERM), so that nobody died."""

    address: str
    incarnation: str
    reason: str
    expected: bool


@dataclass(slots=True)
class FromWorker:
    """A worker sent a message; one of an ended incarnation is ignored."""

    address: str
    incarnation: str
    message: Message


@dataclass(slots=True)
class WorkerDied:
    """A nanny saw its worker's process end.

    ``certificate["running"]`` lists the keys that ran at that moment (absent: unknown), ``certificate["cause"]`` is a
    text for people; it may come before or after `WorkerLeft`.
    """

    address: str
    incarnation: str
    certificate: dict[str, Any]


@dataclass(slots=True)
class WorkerAlive:
    """A nanny vouches for its worker, which may be too busy to speak for itself: it is not given up.

    ``running`` are the keys that run there now, cut as by `ids.cut_key`; None: unknown.
    """

    address: str
    incarnation: str
    running: list[str] | None = None


@dataclass(slots=True)
class WorkerReplacing:
    """A nanny is about to end this life of its worker and start another one, which will have the data of ``rescued``.

    ``rescued`` are keys of data that was put there, not computed.
    """

    address: str
    incarnation: str
    rescued: list[str]


@dataclass(slots=True)
class Replicate:
    """Copy `keys` until `copies` of `workers` (addresses or names) hold each; None: all. Ends in `OrderDone`."""

    order: str
    keys: tuple[str, ...]
    copies: int | None = None
    workers: tuple[str, ...] | None = None


@dataclass(slots=True)
class Rebalance:
    """Even out the bytes that `workers` hold by moving some of `keys` (None: any data). Ends in `OrderDone`."""

    order: str
    keys: tuple[str, ...] | None = None
    workers: tuple[str, ...] | None = None


@dataclass(slots=True)
class Retire:
    """Let these workers (addresses or names) go once nothing is lost with them. Ends in `OrderDone`."""

    order: str
    workers: tuple[str, ...]
    reason: str


@dataclass(slots=True)
class Equip:
    """Give every worker, also those to come, a file or plugin, or (kind "unplug") take a plugin away.

    Ends in `OrderDone` with ``failures``, by address of the workers that go on without it.
    """

    order: str
    kind: str
    name: str
    digest: bytes
    payload: Payload
    nbytes: int


@dataclass(slots=True)
class ForgetTasks:
    """Cancel every task and drop all data, for every client: the cluster begins anew."""

    reason: str


@dataclass(slots=True)
class Tick:
    """The time ``next_wakeup`` has come."""


Event = (
    ClientJoined
    | ClientLeft
    | FromClient
    | WorkerJoined
    | WorkerLeft
    | FromWorker
    | WorkerDied
    | WorkerAlive
    | WorkerReplacing
    | Replicate
    | Rebalance
    | Retire
    | Equip
    | ForgetTasks
    | Tick
)
