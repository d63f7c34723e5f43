"""The wire contract of the engine: every message between client, scheduler and worker, and its fields.

A message travels as a list, ``[op, field, field, ...]``, in the order in which its class lists them. Batches are
columns: entry *i* of each list belongs to task *i*. Payloads (functions, arguments, results, exceptions) are opaque:
``bytes`` (a pickle) or :class:`~distributed.protocol.serialize.Serialized` (a pickle with buffers of its own).

Who may send what is the class attribute ``sender``; `from_wire` checks it together with the type of every field.
Requests with one answer (``who_has``, ``ncores``, ...) are ordinary ops of `distributed.core` and not listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import Any, ClassVar, NamedTuple

from distributed.errors import ProtocolError
from distributed.protocol.serialize import BUFFER_NBYTES_MIN, Serialized

__all__ = [
    "CLIENT",
    "MESSAGES",
    "SCHEDULER",
    "WORKER",
    "CancelKeys",
    "CancelTasks",
    "DataAdded",
    "DataRemoved",
    "ForgetFunctions",
    "Heartbeat",
    "KeysCancelled",
    "KeysDone",
    "KeysFailed",
    "KeysLost",
    "Message",
    "ReleaseData",
    "ReleaseKeys",
    "RunTasks",
    "ServerClosing",
    "SubmitTasks",
    "TaskSpec",
    "TasksDone",
    "TasksFailed",
    "TasksMissingData",
    "WantKeys",
    "WorkerLeaving",
    "from_wire",
    "halves",
]

# What is bigger travels as `Serialized`, in frames: then it can be passed on in the header of any message.
PAYLOAD_NBYTES_MAX = 8 * BUFFER_NBYTES_MIN
FAILURE_LENGTH_MAX = 200_000  # characters; `distributed.protocol.failure` cuts at 50,000

CLIENT, SCHEDULER, WORKER = "client", "scheduler", "worker"

Payload = Any  # bytes | Serialized: opaque, so nobody looks inside
Failure = list[Any]  # [type name, text, traceback text, pickled exception or None]: opaque to the scheduler


class TaskSpec(NamedTuple):
    """What many tasks of one call share, sent once per message.

    ``function`` is a digest; ``wanted`` asks that a small result rides inline to the client; ``workers`` restricts to
    addresses, names or hosts; ``resources`` are amounts a worker must have free.
    """

    function: bytes
    priority: int = 0
    retries: int = 0
    wanted: bool = True
    workers: tuple[str, ...] | None = None
    resources: tuple[tuple[str, float], ...] | None = None


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
    """Run these in this order. ``who_has`` names, for every dependency, where it is; ``nbytes`` how big it is."""

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
class WorkerLeaving(Message):
    """The worker ends on purpose, so its next silence is no death. Its connection closes after this."""

    op: ClassVar[str] = "worker-leaving"
    sender: ClassVar[str] = WORKER
    reason: str


def halves(message: Any) -> list[Message]:
    """Two messages that say the same, for one that is too large to send; empty: it cannot be cut.

    Functions leave first, in a message of their own if there are tasks too few to cut.
    """
    columns = [
        name for name, _ in message._checks if name not in _NOT_COLUMNS and isinstance(getattr(message, name), list)
    ]
    count = len(getattr(message, columns[0])) if columns else 0
    functions = getattr(message, "functions", {})
    if count < 2 and not (count and functions):
        return []
    middle = count // 2 if count > 1 else 0
    cut = [{name: getattr(message, name)[part] for name in columns} for part in (slice(middle), slice(middle, None))]
    if functions:
        cut[1]["functions"] = {}
    return [replace(message, **fields) for fields in cut]


# ---------------------------------------------------------------- decoding


def from_wire(wire: object, sender: str) -> Message:
    """Decode what a peer of role `sender` sent.

    Raises:
        ProtocolError: not a list, unknown op, op of another sender, wrong number of fields, or a field or column of
            the wrong type or length; the text names op and field.
    Cost: linear in the length of the columns.
    """
    if type(wire) is not list or not wire or type(wire[0]) is not str:
        raise ProtocolError("an engine message is a list that begins with its op")
    cls = MESSAGES.get(wire[0])
    if cls is None or cls.sender != sender:
        raise ProtocolError(f"a {sender} does not send {wire[0]!r}")
    checks = cls._checks
    if len(wire) != len(checks) + 1:
        raise ProtocolError(f"{wire[0]}: {len(checks)} fields expected, {len(wire) - 1} came")
    for value, (name, is_right) in zip(wire[1:], checks, strict=True):
        if not is_right(value):
            raise ProtocolError(f"{wire[0]}: field {name!r} has the wrong type")
    if cls is TasksFailed and any(type(failure[3]) is dict for failure in wire[3]):
        raise ProtocolError("tasks-failed: the detail of a failure is a pickle or None")
    if cls is SubmitTasks:
        wire[2] = [_spec_from_wire(spec) for spec in wire[2]]
    message: Message = cls(*wire[1:])
    _check_columns(message)
    return message


def _spec_from_wire(wire: Any) -> TaskSpec:
    if not (isinstance(wire, list) and len(wire) == 6 and type(wire[0]) is bytes):
        raise ProtocolError("submit-tasks: a spec is a list of six fields that begins with a digest")
    function, priority, retries, wanted, workers, resources = wire
    if type(priority) is not int or type(retries) is not int or retries < 0 or type(wanted) is not bool:
        raise ProtocolError("submit-tasks: a spec has the wrong type")
    if workers is not None and not _strings(workers):
        raise ProtocolError("submit-tasks: spec.workers is a list of strings")
    if resources is not None and not (
        type(resources) is list
        and all(type(r) is list and len(r) == 2 and type(r[0]) is str and _numbers(r[1:]) for r in resources)
    ):
        raise ProtocolError("submit-tasks: spec.resources is a list of [name, amount]")
    amounts = tuple((name, float(amount)) for name, amount in resources or () if amount)  # 0 asks for nothing
    return TaskSpec(function, priority, retries, wanted, None if workers is None else tuple(workers), amounts or None)


def _check_columns(message: Message) -> None:
    """Columns of one message have one length, and indexes point into their table."""
    lengths = {
        len(column)
        for name, _ in message._checks
        if name not in _NOT_COLUMNS and isinstance(column := getattr(message, name), list)
    }
    if len(lengths) > 1:
        raise ProtocolError(f"{message.op}: columns of different lengths: {sorted(lengths)}")
    if isinstance(message, SubmitTasks):
        _check_indexes(message.op, message.spec_of, len(message.specs), len(message.keys))
    elif isinstance(message, RunTasks):
        _check_indexes(message.op, message.digest_of, len(message.digests), len(message.keys))


def _check_indexes(op: str, indexes: list[int] | None, table: int, count: int) -> None:
    if (count and not table) or (indexes and not 0 <= min(indexes) <= max(indexes) < table):
        raise ProtocolError(f"{op}: an index points outside its table")


_PAYLOAD_KINDS = frozenset({bytes, Serialized, type(None)})
_NOT_COLUMNS = {"specs", "digests", "running"}  # lists that are tables, not columns


def _strings(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {str}


def _integers(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {int} and (not value or min(value) >= 0)


def _digests(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {bytes}


def _numbers(value: Any) -> bool:
    is_right = type(value) is list and set(map(type, value)) <= {float, int}
    return is_right and (not value or (min(value) >= 0 and isfinite(sum(value))))  # the sum tells of any NaN


def _booleans(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {bool}


def _string_lists(value: Any) -> bool:
    return type(value) is list and all(entry is None or _strings(entry) for entry in value)


def _no_none(value: Any) -> bool:
    return _string_lists(value) and None not in value


def _pair_lists(value: Any) -> bool:
    return type(value) is list and all(
        type(entry) is list and all(_strings(pair) and len(pair) == 2 for pair in entry) for entry in value
    )


def _failures(value: Any) -> bool:
    return type(value) is list and all(
        type(f) is list and len(f) == 4 and type(f[0]) is type(f[1]) is type(f[2]) is str
        and sum(map(len, f[:3])) <= FAILURE_LENGTH_MAX
        and (f[3] is None or type(f[3]) is dict or (type(f[3]) is bytes and len(f[3]) <= PAYLOAD_NBYTES_MAX))
        for f in value
    )  # fmt: skip


def _payloads(value: Any) -> bool:
    """Opaque, and of a size and shape that can be passed on in any message."""
    is_right = type(value) is list and set(map(type, value)) <= _PAYLOAD_KINDS
    return is_right and all(type(p) is not bytes or len(p) <= PAYLOAD_NBYTES_MAX for p in value)


_CHECK_BY_ANNOTATION: dict[str, Callable[[Any], bool]] = {
    "dict[bytes, Payload]": lambda v: type(v) is dict and _digests(list(v)) and _payloads(list(v.values())),
    "list[TaskSpec]": lambda v: type(v) is list,
    "list[int]": _integers,
    "list[int] | None": lambda v: v is None or _integers(v),
    "list[str]": _strings,
    "list[bytes]": _digests,
    "list[float]": _numbers,
    "list[bool] | None": lambda v: v is None or _booleans(v),
    "list[Payload]": _payloads,
    "list[Failure]": _failures,
    "list[list[str] | None] | None": lambda v: v is None or _string_lists(v),
    "list[list[str]]": _no_none,
    "list[list[list[str]]]": _pair_lists,
    "dict[str, list[str]]": lambda v: type(v) is dict and set(map(type, v)) <= {str} and all(map(_strings, v.values())),
    "dict[str, int]": lambda v: type(v) is dict and set(map(type, v)) <= {str} and _integers(list(v.values())),
    "dict[str, float]": lambda v: (
        type(v) is dict and set(map(type, v)) <= {str} and set(map(type, v.values())) <= {int, float}
    ),
    "bool": lambda v: type(v) is bool,
    "str": lambda v: type(v) is str,
    "str | None": lambda v: v is None or type(v) is str,
}

MESSAGES: dict[str, type[Any]] = {cls.op: cls for cls in Message.__subclasses__() if hasattr(cls, "op")}
for _cls in MESSAGES.values():
    _cls._checks = tuple((field.name, _CHECK_BY_ANNOTATION[str(field.type)]) for field in fields(_cls))
