"""Tasks on their way: submitted, run, ended, given back."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import (
    CLIENT,
    SCHEDULER,
    WORKER,
    Failure,
    Message,
    Payload,
    RunOptions,
    TaskSpec,
    message,
)

__all__ = [
    "CancelTasks",
    "ForgetFunctions",
    "ReturnTasks",
    "RunTasks",
    "SubmitTasks",
    "TasksDone",
    "TasksFailed",
    "TasksMissingData",
    "TasksReturned",
]


@message
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


@message
class RunTasks(Message):
    """Run these, of higher priority first, of equal priority those with dependencies first, else in this order.

    ``who_has`` names, for every dependency, where it is; ``nbytes`` how big it is.
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
    options: list[RunOptions] | None = None  # None: all tasks have the default ones
    option_of: list[int] | None = None  # index into options per task; None: all have options[0]


@message
class CancelTasks(Message):
    """Forget these tasks: dequeue those that wait; those that run end by themselves, and their results are dropped."""

    op: ClassVar[str] = "cancel-tasks"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]


@message
class ReturnTasks(Message):
    """Give back these tasks unless they have begun; `TasksReturned` follows, once, whatever is found."""

    op: ClassVar[str] = "return-tasks"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    attempts: list[int]


@message
class ForgetFunctions(Message):
    """No task needs these functions any more."""

    op: ClassVar[str] = "forget-functions"
    sender: ClassVar[str] = SCHEDULER
    digests: list[bytes]


@message
class TasksDone(Message):
    """Tasks that returned; the worker keeps every result. ``results[i]`` is the payload when small and wanted."""

    op: ClassVar[str] = "tasks-done"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
    nbytes: list[int]
    results: list[Payload]
    durations_s: list[float]


@message
class TasksFailed(Message):
    """Tasks that raised, could not be loaded, or whose result could not be kept."""

    op: ClassVar[str] = "tasks-failed"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
    failures: list[Failure]
    durations_s: list[float]


@message
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


@message
class TasksReturned(Message):
    """These had not begun and will not run here; ``kept`` were asked for too, but run, have ended, or are not known."""

    op: ClassVar[str] = "tasks-returned"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
    kept: list[str]
