"""Tasks that are to stop although they run, and data that outlives the process in which it lay."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import SCHEDULER, WORKER, Message, message

__all__ = ["DataRescued", "StopTasks", "TasksStopped"]


@message
class StopTasks(Message):
    """Forget these tasks, as somebody cancelled them or another attempt was first; drop their results.

    Those that wait are dequeued, those that run interrupted. `TasksStopped` follows for each of them, as soon as it is
    so.
    """

    op: ClassVar[str] = "stop-tasks"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    attempts: list[int]


@message
class TasksStopped(Message):
    """These attempts run no more, and their threads are free."""

    op: ClassVar[str] = "tasks-stopped"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]


@message
class DataRescued(Message):
    """This worker holds these again: its nanny took them out of the process before it ended that."""

    op: ClassVar[str] = "data-rescued"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    nbytes: list[int]
