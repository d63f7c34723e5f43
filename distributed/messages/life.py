"""Signs of life, and how a worker or the scheduler ends."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import (
    SCHEDULER,
    WORKER,
    Message,
    message,
)

__all__ = [
    "DismissWorker",
    "Heartbeat",
    "ServerClosing",
    "WorkerLeaving",
    "WorkerPaused",
    "WorkerRetiring",
]


@message
class Heartbeat(Message):
    """Alive; ``metrics`` are numbers by name (``memory_nbytes``, ``cpu_percent``, ...) for people and pages."""

    op: ClassVar[str] = "heartbeat"
    sender: ClassVar[str] = WORKER
    running: list[str]
    metrics: dict[str, float]


@message
class ServerClosing(Message):
    """The scheduler ends on purpose; ``reason`` is for people."""

    op: ClassVar[str] = "server-closing"
    sender: ClassVar[str] = SCHEDULER
    reason: str


@message
class DismissWorker(Message):
    """The worker may end now: nobody needs it or its data. The answer to `WorkerRetiring`, or the scheduler's wish."""

    op: ClassVar[str] = "dismiss-worker"
    sender: ClassVar[str] = SCHEDULER
    reason: str


@message
class WorkerPaused(Message):
    """Memory is short: begin nothing more here; or, not ``paused``, there is room again."""

    op: ClassVar[str] = "worker-paused"
    sender: ClassVar[str] = WORKER
    paused: bool


@message
class WorkerRetiring(Message):
    """The worker wants to end: its tasks and data go elsewhere first. `DismissWorker` follows when that is done."""

    op: ClassVar[str] = "worker-retiring"
    sender: ClassVar[str] = WORKER
    reason: str


@message
class WorkerLeaving(Message):
    """The worker ends on purpose, so its next silence is no death. Its connection closes after this."""

    op: ClassVar[str] = "worker-leaving"
    sender: ClassVar[str] = WORKER
    reason: str
