"""What the scheduler wants done: the outputs of `SchedulerMachine.take_effects`, to be performed in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distributed.errors import DistributedError
from distributed.messages import Message

__all__ = ["AcceptWorker", "DropWorker", "Effect", "EndClient", "OrderDone", "RefuseWorker", "ToClient", "ToWorker"]


@dataclass(slots=True)
class ToClient:
    """Send to this client; if it is gone, drop the message (a `ClientLeft` follows)."""

    client: str
    message: Message


@dataclass(slots=True)
class ToWorker:
    """Send to the worker at this address; if it is gone, drop the message (a `WorkerLeft` follows)."""

    address: str
    message: Message


@dataclass(slots=True)
class AcceptWorker:
    """The worker belongs to us now; messages to its address go to this incarnation's connection from here on."""

    address: str
    incarnation: str


@dataclass(slots=True)
class RefuseWorker:
    """Answer with `error` and close the connection of this incarnation."""

    address: str
    incarnation: str
    error: DistributedError


@dataclass(slots=True)
class DropWorker:
    """Close the connection of this incarnation: for the scheduler it no longer exists."""

    address: str
    reason: str
    incarnation: str


@dataclass(slots=True)
class EndClient:
    """End the session of this client, connected or not; a `ClientLeft` may follow."""

    client: str
    reason: str


@dataclass(slots=True)
class OrderDone:
    """A `Replicate`, `Rebalance` or `Retire` has ended: with ``result``, plain data, and with ``error`` if one came."""

    order: str
    result: dict[str, Any]
    error: DistributedError | None


Effect = ToClient | ToWorker | AcceptWorker | RefuseWorker | DropWorker | EndClient | OrderDone
