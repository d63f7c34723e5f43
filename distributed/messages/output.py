"""What tasks print, on its way to whoever wants their results."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import (
    SCHEDULER,
    WORKER,
    Message,
    message,
)

__all__ = ["KeysPrinted", "TasksPrinted"]


@message
class TasksPrinted(Message):
    """What these tasks have written, whole lines; ``streams[i]`` is stdout, stderr or warning, see `worker.output`."""

    op: ClassVar[str] = "tasks-printed"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    streams: list[str]
    texts: list[str]


@message
class KeysPrinted(Message):
    """What tasks of this client, or tasks that these have submitted, have written; as `TasksPrinted`."""

    op: ClassVar[str] = "keys-printed"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    streams: list[str]
    texts: list[str]
