"""What every worker gets before its tasks: files and plugins, one after the other, each with a serial number."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import (
    SCHEDULER,
    WORKER,
    Failure,
    Message,
    Payload,
    message,
)

__all__ = ["FILE", "KINDS", "PLUGIN", "UNPLUG", "EquipWorker", "EquipmentFailed", "WorkerEquipped"]

FILE, PLUGIN, UNPLUG = KINDS = ("file", "plugin", "unplug")  # unplug: the plugin of that name goes, without a payload


@message
class EquipWorker(Message):
    """Take these in, in this order, before any task that comes later; `WorkerEquipped` or `EquipmentFailed` follows."""

    op: ClassVar[str] = "equip-worker"
    sender: ClassVar[str] = SCHEDULER
    serials: list[int]
    kinds: list[str]
    names: list[str]
    payloads: list[Payload]


@message
class WorkerEquipped(Message):
    """The worker has taken these in."""

    op: ClassVar[str] = "worker-equipped"
    sender: ClassVar[str] = WORKER
    serials: list[int]


@message
class EquipmentFailed(Message):
    """The worker could not take these in, and goes on without."""

    op: ClassVar[str] = "equipment-failed"
    sender: ClassVar[str] = WORKER
    serials: list[int]
    failures: list[Failure]
