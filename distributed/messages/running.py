"""What tasks that run do: wait for others, and go on."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import WORKER, Message, message

__all__ = ["TasksLent", "TasksRejoined"]


@message
class TasksLent(Message):
    """These wait, or run beside their slot: others may have it. What resources they took they keep."""

    op: ClassVar[str] = "tasks-lent"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]


@message
class TasksRejoined(Message):
    """These had lent their slot and have one again."""

    op: ClassVar[str] = "tasks-rejoined"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    attempts: list[int]
