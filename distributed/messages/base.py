"""What all messages are made of: a list on the wire, checked field by field; and the tables that some of them carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

from distributed.dataclass import dataclass, fields
from distributed.fields import CHECK_BY_ANNOTATION

__all__ = [
    "CLIENT",
    "DEFAULT_OPTIONS",
    "MESSAGES",
    "SCHEDULER",
    "WORKER",
    "Failure",
    "Message",
    "Payload",
    "RunOptions",
    "Signed",
    "TaskSpec",
    "message",
]

CLIENT, SCHEDULER, WORKER = "client", "scheduler", "worker"

Payload = Any  # bytes | Serialized: opaque, so nobody looks inside
Failure = list[Any]  # [type name, text, traceback text, pickled exception or None]: opaque to the scheduler
Signed = int  # an integer that may be negative

MESSAGES: dict[str, type[Any]] = {}  # by op


class TaskSpec(NamedTuple):
    """What many tasks of one call share, sent once per message.

    ``function`` is a digest; ``wanted`` asks that a small result rides inline to the client; ``workers`` restricts to
    addresses, names or hosts, and with ``allow_other_workers`` only prefers them; ``resources`` are amounts a worker
    must have free; ``platform`` is a pattern that one of its tags must match (``linux*``); ``memory_limit_nbytes`` is
    what the task itself may use, ``timeout_s`` how long one run of it may take. An ``actor`` is an object that the
    function makes and that stays on its worker. ``parent`` is the key of the task that submitted it (None: a program
    did), and ``depth`` how many tasks are above it; the deeper of two tasks of one priority goes first. A ``redundant``
    one may run twice at a time, when a thread has nothing else to do. One of several ``threads`` takes so many slots.
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
    timeout_s: float | None = None
    actor: bool = False
    parent: str | None = None
    depth: int = 0
    redundant: bool = False
    threads: int = 1


class RunOptions(NamedTuple):
    """What a worker has to know of a task's `TaskSpec`; 0 of a limit: there is none."""

    priority: Signed = 0
    memory_limit_nbytes: int = 0
    timeout_s: float = 0.0
    depth: int = 0
    actor: bool = False
    threads: int = 1


DEFAULT_OPTIONS = RunOptions()  # of nearly all tasks


class Message:
    """Base of all messages: encoding to a list, decoding with checks."""

    __slots__ = ()
    op: ClassVar[str]
    sender: ClassVar[str]
    is_whole: ClassVar[bool] = False  # one that is too large to send is not cut into two
    _checks: ClassVar[tuple[tuple[str, Callable[[Any], bool]], ...]]

    def to_wire(self) -> list[Any]:
        """The list that travels: op first, then the fields in order."""
        return [self.op, *(getattr(self, name) for name, _ in self._checks)]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_wire() == other.to_wire()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name, _ in self._checks)})"


_Kind = TypeVar("_Kind", bound=type[Message])


@dataclass_transform()
def message(kind: _Kind) -> _Kind:
    """Make a message of a class with annotated fields, and enter it in `MESSAGES`."""
    kind = dataclass(slots=True, repr=False, eq=False)(kind)
    kind._checks = tuple((field.name, CHECK_BY_ANNOTATION[field.type]) for field in fields(kind))
    MESSAGES[kind.op] = kind
    return kind
