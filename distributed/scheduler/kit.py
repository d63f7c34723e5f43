"""The records of what every worker has: files and plugins; and of what clients are told of tasks' output.

Not here: when they change (`equipment`, `output`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from distributed.allowance import Allowance
from distributed.messages import Failure, Payload
from distributed.scheduler.records import ClientRecord, WorkerRecord

__all__ = ["Item", "Kit", "Omitted", "Printing"]

BURST_NBYTES, RATE_NBYTES = 4 * 2**20, 256 * 1024  # to one client: bounds what is kept for one that is cut off


@dataclass(slots=True, eq=False)
class Item:
    """One thing that every worker gets, or (unplug) gives up.

    Attributes:
        digest: of the payload; equal ones of a name are one item.
        waiting: workers that have it and have not answered.
        orders: who waits until nobody is in `waiting`.
        failures: by address, of workers that could not take it in.
    """

    serial: int
    kind: str
    name: str
    digest: bytes
    payload: Payload
    nbytes: int
    waiting: dict[WorkerRecord, None] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)


@dataclass(slots=True)
class Kit:
    """All of it.

    Attributes:
        items: by kind and name, in the order of their serials: what a worker that joins gets.
        under_way: by serial, those that some worker has not answered.
        serial: of the newest one.
        nbytes: of all payloads in `items`.
    """

    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    under_way: dict[int, Item] = field(default_factory=dict)
    serial: int = 0
    nbytes: int = 0


@dataclass(slots=True)
class Omitted:
    """What a client was not told: lines, their bytes, and the key of the first."""

    key: str
    lines: int = 0
    nbytes: int = 0


@dataclass(slots=True)
class Printing:
    """What of the output of tasks goes to whom.

    Attributes:
        allowances: of the clients that were told anything lately.
        omitted: by client, what was left out since it was last told so.
        tell_at: when they are told; None: nothing was left out.
    """

    allowances: dict[ClientRecord, Allowance] = field(default_factory=dict)
    omitted: dict[ClientRecord, Omitted] = field(default_factory=dict)
    tell_at: float | None = None
