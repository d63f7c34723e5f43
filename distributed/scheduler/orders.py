"""Records of data on the move: orders, the copies they ask for, and workers that retire.

`Moving` holds them all, beside the tables of `state`. Both sides of a relation (order-copy, copy-taker, worker-
retirement) change in functions of `copying` and `retirement`. A `Spread` is one key on its way to several workers: a
holder serves `SERVES_MAX` takers at a time, and each taker serves when it has the data, so that n copies take about
log(n) rounds and no source is overrun.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from distributed.dataclass import dataclass, field
from distributed.errors import DistributedError
from distributed.scheduler.records import TaskRecord, WorkerRecord

__all__ = ["SERVES_MAX", "Copy", "Moving", "Order", "Retirement", "Spread"]

SERVES_MAX = 2  # takers that one holder of a key serves at a time: a tree of copies, see above


@dataclass(slots=True, eq=False, repr=False)
class Order:
    """Something that was asked for, and ends with `effects.OrderDone` unless it is a retirement's own.

    Attributes:
        order: its id; '' for the copies of a retirement.
        verb: "replicate", "rebalance" or "retire", for people.
        open: copies and retirements that have not ended.
        copies: holders that each of its keys shall have; None: all of `workers`. For replicate only.
        workers: among which; None: all there are.
        moves: for rebalance: ``{(task, taker): worker that drops its copy then}``.
        again: tasks whose taker is gone, to be planned anew within the event.
        failed: why, by key.
        copied, nbytes: what was done.
        retired: workers that have left.
        actors: keys of the actors that were lost with them.
    """

    order: str
    verb: str
    open: int = 0
    copies: int | None = None
    workers: tuple[str, ...] | None = None
    moves: dict[tuple[TaskRecord, WorkerRecord], WorkerRecord] = field(default_factory=dict)
    again: dict[TaskRecord, None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    copied: int = 0
    nbytes: int = 0
    retired: list[str] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    error: DistributedError | None = None

    def result(self) -> dict[str, Any]:
        """What was done, as plain data."""
        if self.verb == "retire":
            return {"retired": self.retired, **({"actors": self.actors} if self.actors else {})}
        return {"copied": self.copied, "nbytes": self.nbytes}


@dataclass(slots=True, eq=False, repr=False)
class Copy:
    """One key on its way to one worker; ``source`` is None while every holder has its hands full.

    ``tried`` are the sources that did not give it to this taker.
    """

    task: TaskRecord
    taker: WorkerRecord
    orders: dict[Order, None]
    source: WorkerRecord | None = None
    tried: tuple[WorkerRecord, ...] = ()


@dataclass(slots=True, eq=False, repr=False)
class Spread:
    """One key on its way to some workers: who waits, who fetches, who serves how many, who could serve one more."""

    task: TaskRecord
    waiting: dict[WorkerRecord, Copy] = field(default_factory=dict)
    begun: dict[WorkerRecord, Copy] = field(default_factory=dict)
    serving: dict[WorkerRecord, int] = field(default_factory=dict)
    free: OrderedDict[WorkerRecord, None] = field(default_factory=OrderedDict)  # those that left are skipped lazily

    def add_source(self, worker: WorkerRecord) -> None:
        """`worker` holds the data now."""
        if self.serving.get(worker, 0) < SERVES_MAX:
            self.free[worker] = None

    def begin(self, copy: Copy, source: WorkerRecord) -> None:
        """`copy` comes from `source`."""
        del self.waiting[copy.taker]
        self.begun[copy.taker] = copy
        copy.source = source
        count = self.serving[source] = self.serving.get(source, 0) + 1
        if count >= SERVES_MAX:
            self.free.pop(source, None)
        else:
            self.free.move_to_end(source)

    def stop(self, copy: Copy) -> None:
        """`copy` comes from nowhere for now; its source has a hand free."""
        source = copy.source
        if source is None:
            del self.waiting[copy.taker]
            return
        del self.begun[copy.taker]
        copy.source = None
        self.serving[source] -= 1
        if not self.serving[source]:
            del self.serving[source]
        self.free[source] = None

    def is_over(self) -> bool:
        """Whether no worker waits for the data or fetches it."""
        return not self.waiting and not self.begun


@dataclass(slots=True, eq=False, repr=False)
class Retirement:
    """A worker on its way out: its queue goes back, its running tasks end, its data goes elsewhere, then it may go.

    Attributes:
        copying: the order of the copies that are made of its data.
        orders: who waits for its end.
        tried: takers that could not get a key from it, by key.
        given_up: keys for which `TRIES_MAX` takers were tried; they are computed again, or lost.
        deadline: once it was dismissed: when it is dropped if it has not left by then.
    """

    worker: WorkerRecord
    reason: str
    copying: Order
    orders: dict[Order, None] = field(default_factory=dict)
    tried: dict[TaskRecord, tuple[WorkerRecord, ...]] = field(default_factory=dict)
    given_up: dict[TaskRecord, None] = field(default_factory=dict)
    deadline: float | None = None

    def tell_actors(self, keys: list[str]) -> None:
        """The actors of these keys are lost with the worker: whoever waits for its end hears of it."""
        for order in self.orders:
            order.actors += keys


@dataclass(slots=True, eq=False, repr=False)
class Moving:
    """All of the above. ``dismissed`` are in the order of their deadlines; the last three are empty between events."""

    orders: dict[str, Order] = field(default_factory=dict)
    spreads: dict[TaskRecord, Spread] = field(default_factory=dict)
    taking: dict[WorkerRecord, dict[TaskRecord, Copy]] = field(default_factory=dict)
    retiring: dict[WorkerRecord, Retirement] = field(default_factory=dict)
    dismissed: dict[WorkerRecord, float] = field(default_factory=dict)
    left: list[TaskRecord] = field(default_factory=list)  # spread ones that left MEMORY
    changed: dict[Spread, None] = field(default_factory=dict)  # somebody may begin
    ended: dict[Order, None] = field(default_factory=dict)  # a part of them has
