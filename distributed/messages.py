"""The wire contract of the engine: every message between client, scheduler and worker, and its fields.

A message travels as a list, ``[op, field, field, ...]``, in the order in which its class lists them. Batches are
columns: entry *i* of each list belongs to task *i*. Payloads (functions, arguments, results, exceptions) are opaque:
``bytes`` (a pickle) or :class:`~distributed.protocol.serialize.Serialized` (a pickle with buffers of its own).

Who may send what is the class attribute ``sender``; `distributed.wire.from_wire` checks it and every field.
Requests with one answer (``who_has``, ``ncores``, ...) are ordinary ops of `distributed.core` and not listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

from distributed.fields import CHECK_BY_ANNOTATION

__all__ = [
    "CLIENT",
    "MESSAGES",
    "SCHEDULER",
    "WORKER",
    "AskHolders",
    "CancelKeys",
    "CancelTasks",
    "CopiesFailed",
    "CopyData",
    "DataAdded",
    "DataRemoved",
    "DismissWorker",
    "ForgetFunctions",
    "Heartbeat",
    "HoldersKnown",
    "KeysCancelled",
    "KeysDone",
    "KeysFailed",
    "KeysLost",
    "Message",
    "ReleaseData",
    "ReleaseKeys",
    "ReturnTasks",
    "RunTasks",
    "ServerClosing",
    "SubmitTasks",
    "TaskSpec",
    "TasksDone",
    "TasksFailed",
    "TasksMissingData",
    "TasksReturned",
    "WantKeys",
    "WorkerLeaving",
    "WorkerPaused",
    "WorkerRetiring",
]

CLIENT, SCHEDULER, WORKER = "client", "scheduler", "worker"

Payload = Any  # bytes | Serialized: opaque, so nobody looks inside
Failure = list[Any]  # [type name, text, traceback text, pickled exception or None]: opaque to the scheduler
Signed = int  # an integer that may be negative


class TaskSpec(NamedTuple):
    """What many tasks of one call share, sent once per message.

    ``function`` is a digest; ``wanted`` asks that a small result rides inline to the client; ``workers`` restricts to
    addresses, names or hosts, and with ``allow_other_workers`` only prefers them; ``resources`` are amounts a worker
    must have free; ``platform`` is a pattern that one of its tags must match (``linux*``); ``memory_limit_nbytes`` is
    what the task itself may use.
    """

    function: bytes
    priority: int = 0
    retries: int = 0
    wanted: bool = True
    workers: tuple[str, ...] | None = None
    resources: tuple[tuple[str, float], ...] | None = None
    allow_other_workers: bool = False
    platform: str | None = None
    memory_limit_nbytes: int | None = None


class Message:
    """Base of all messages: encoding to a list, decoding with checks.

    Text and equality are here and not generated for each class: that would be half of the time of importing this.
    """

    __slots__ = ()
    op: ClassVar[str]
    sender: ClassVar[str]
    _checks: ClassVar[tuple[tuple[str, Callable[[Any], bool]], ...]]

    def to_wire(self) -> list[Any]:
        """The list that travels: op first, then the fields in order."""
        return [self.op, *(getattr(self, name) for name, _ in self._checks)]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_wire() == other.to_wire()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name, _ in self._checks)})"


# ---------------------------------------------------------------- client -> scheduler


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class SubmitTasks(Message):
    """Run these tasks. The sender holds every key until it releases it (those with ``spec.wanted``)."""

    op: ClassVar[str] = "submit-tasks"
    sender: ClassVar[str] = CLIENT
    functions: dict[bytes, Payload]  # digests that this scheduler has not yet had from this client
    specs: list[TaskSpec]
    spec_of: list[int] | None  # index into specs per task; None: all have specs[0]
    keys: list[str]
    arguments: list[Payload]
    dependencies: list[list[str] | None] | None  # None: no task has any


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class WantKeys(Message):
    """The sender holds these existing keys too and wants to hear what becomes of them."""

    op: ClassVar[str] = "want-keys"
    sender: ClassVar[str] = CLIENT
    keys: list[str]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class ReleaseKeys(Message):
    """The sender no longer holds these keys; what nobody holds and nothing needs is forgotten."""

    op: ClassVar[str] = "release-keys"
    sender: ClassVar[str] = CLIENT
    keys: list[str]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class CancelKeys(Message):
    """Stop these tasks and all that depend on them; ``force`` may replace the process that runs one."""

    op: ClassVar[str] = "cancel-keys"
    sender: ClassVar[str] = CLIENT
    keys: list[str]
    force: bool
    reason: str | None


# ---------------------------------------------------------------- scheduler -> client


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class KeysDone(Message):
    """Results exist; ``results[i]`` is the small payload itself, or None when it stays on a worker."""

    op: ClassVar[str] = "keys-done"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    results: list[Payload]
    nbytes: list[int]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class KeysFailed(Message):
    """Tasks raised, or depend on one that did; ``failures[i]`` is opaque, see `distributed.protocol.failure`."""

    op: ClassVar[str] = "keys-failed"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    failures: list[Failure]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class KeysCancelled(Message):
    """Tasks that somebody cancelled, or that the scheduler does not know."""

    op: ClassVar[str] = "keys-cancelled"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    reason: str


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class KeysLost(Message):
    """Results that were done are so no more: they are computed again (a KeysDone follows) or, scattered, gone."""

    op: ClassVar[str] = "keys-lost"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    recomputing: bool


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class ServerClosing(Message):
    """The scheduler ends on purpose; ``reason`` is for people."""

    op: ClassVar[str] = "server-closing"
    sender: ClassVar[str] = SCHEDULER
    reason: str


# ---------------------------------------------------------------- scheduler -> worker


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class RunTasks(Message):
    """Run these, of higher priority first, of equal priority those with dependencies first, else in this order.

    ``who_has`` names, for every dependency, where it is; ``nbytes`` how big it is. ``memory_limits``: bytes, 0: none.
    """

    op: ClassVar[str] = "run-tasks"
    sender: ClassVar[str] = SCHEDULER
    functions: dict[bytes, Payload]  # digests this worker has not had yet
    digests: list[bytes]
    digest_of: list[int] | None  # index into digests per task; None: all have digests[0]
    keys: list[str]
    attempts: list[int]
    arguments: list[Payload]
    wanted: list[bool] | None  # None: all are
    dependencies: list[list[str] | None] | None  # None: no task has any
    who_has: dict[str, list[str]]
    nbytes: dict[str, int]
    priorities: list[Signed] | None = None  # None: all 0
    memory_limits: list[int] | None = None  # None: none has one


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class CancelTasks(Message):
    """Forget these tasks: dequeue those that wait, drop the result of those that run."""

    op: ClassVar[str] = "cancel-tasks"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class ReleaseData(Message):
    """Drop these results; unknown ones are no error."""

    op: ClassVar[str] = "release-data"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class ForgetFunctions(Message):
    """No task needs these functions any more."""

    op: ClassVar[str] = "forget-functions"
    sender: ClassVar[str] = SCHEDULER
    digests: list[bytes]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class ReturnTasks(Message):
    """Give back these tasks unless they have begun; `TasksReturned` follows, once, whatever is found."""

    op: ClassVar[str] = "return-tasks"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    attempts: list[int]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class CopyData(Message):
    """Fetch these from one of their holders and keep them; `DataAdded` or `CopiesFailed` follows for every key."""

    op: ClassVar[str] = "copy-data"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    nbytes: list[int]
    holders: list[list[str]]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class HoldersKnown(Message):
    """Who holds these keys now, none of them twice; empty: nobody. The answer to `AskHolders`."""

    op: ClassVar[str] = "holders-known"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    holders: list[list[str]]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class DismissWorker(Message):
    """The worker may end now: nobody needs it or its data. The answer to `WorkerRetiring`, or the scheduler's wish."""

    op: ClassVar[str] = "dismiss-worker"
    sender: ClassVar[str] = SCHEDULER
    reason: str


# ---------------------------------------------------------------- worker -> scheduler


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class TasksDone(Message):
    """Tasks that returned; the worker keeps every result. ``results[i]`` is the payload when small and wanted."""

    op: ClassVar[str] = "tasks-done"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
    nbytes: list[int]
    results: list[Payload]
    durations_s: list[float]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class TasksFailed(Message):
    """Tasks that raised, could not be loaded, or whose result could not be kept."""

    op: ClassVar[str] = "tasks-failed"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
    failures: list[Failure]
    durations_s: list[float]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class TasksMissingData(Message):
    """Tasks that could not start: of the dependencies ``missing[i]`` no named holder had or gave the data.

    ``gone[i]`` are ``[key, address]`` pairs: that holder says it has no such key, or cannot be reached.
    """

    op: ClassVar[str] = "tasks-missing-data"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
    missing: list[list[str]]
    gone: list[list[list[str]]]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class DataAdded(Message):
    """This worker now holds copies of these keys: fetched from a peer, or scattered by ``client`` (else None)."""

    op: ClassVar[str] = "data-added"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    nbytes: list[int]
    client: str | None


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class DataRemoved(Message):
    """This worker no longer holds these keys, though nobody asked it to drop them."""

    op: ClassVar[str] = "data-removed"
    sender: ClassVar[str] = WORKER
    keys: list[str]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class Heartbeat(Message):
    """Alive; ``metrics`` are numbers by name (``memory_nbytes``, ``cpu_percent``, ...) for people and pages."""

    op: ClassVar[str] = "heartbeat"
    sender: ClassVar[str] = WORKER
    running: list[str]
    metrics: dict[str, float]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class TasksReturned(Message):
    """These had not begun and will not run here; ``kept`` were asked for too, but run, have ended, or are not known."""

    op: ClassVar[str] = "tasks-returned"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
    kept: list[str]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class CopiesFailed(Message):
    """`CopyData` did not work for these keys: nobody named had or gave them; ``gone`` as in `TasksMissingData`."""

    op: ClassVar[str] = "copies-failed"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    gone: list[list[list[str]]]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class AskHolders(Message):
    """Who holds these keys now? Those that were named are busy or gone."""

    op: ClassVar[str] = "ask-holders"
    sender: ClassVar[str] = WORKER
    keys: list[str]


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class WorkerPaused(Message):
    """Memory is short: begin nothing more here; or, not ``paused``, there is room again."""

    op: ClassVar[str] = "worker-paused"
    sender: ClassVar[str] = WORKER
    paused: bool


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class WorkerRetiring(Message):
    """The worker wants to end: its tasks and data go elsewhere first. `DismissWorker` follows when that is done."""

    op: ClassVar[str] = "worker-retiring"
    sender: ClassVar[str] = WORKER
    reason: str


@dataclass(slots=True, repr=False, eq=False, match_args=False)
class WorkerLeaving(Message):
    """The worker ends on purpose, so its next silence is no death. Its connection closes after this."""

    op: ClassVar[str] = "worker-leaving"
    sender: ClassVar[str] = WORKER
    reason: str


MESSAGES: dict[str, type[Any]] = {cls.op: cls for cls in Message.__subclasses__() if hasattr(cls, "op")}
for _cls in MESSAGES.values():
    _cls._checks = tuple((field.name, CHECK_BY_ANNOTATION[str(field.type)]) for field in fields(_cls))
