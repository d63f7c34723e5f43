"""Copies of data from worker to worker: who fetches what from whom, and what becomes of it.

`order_copy` asks for one, `arrived` and `copies_failed` end it, `begin_copies` gives waiting takers a source. A failed
copy proves nothing about its source (a link may be down): the replica stays known, another source is tried.
Not here: what to copy where (`movement`, `retirement`).
"""

from __future__ import annotations

from distributed.messages import AskHolders, CopiesFailed, HoldersKnown
from distributed.scheduler.effects import ToWorker
from distributed.scheduler.orders import Copy, Order, Spread
from distributed.scheduler.outbox import HOLDERS_NAMED_MAX
from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["arrived", "ask_holders", "begin_copies", "copies_failed", "drop_taker", "end_left", "order_copy"]

SOURCES_TRIED_MAX = 3  # by one taker for one key


def order_copy(state: SchedulerState, order: Order, task: TaskRecord, taker: WorkerRecord) -> None:
    """`order` wants `taker` to hold `task`, which is in MEMORY and not there. Joined orders share one copy."""
    moving = state.moving
    spread = moving.spreads.get(task)
    if spread is None:
        spread = moving.spreads[task] = Spread(task)
        spread.free.update(dict.fromkeys(task.who_has or ()))
    taking = moving.taking.setdefault(taker, {})
    copy = taking.get(task)
    if copy is None:
        copy = taking[task] = spread.waiting[taker] = Copy(task, taker, {})
        moving.changed[spread] = None
    if order not in copy.orders:
        copy.orders[order] = None
        order.open += 1


def begin_copies(state: SchedulerState) -> None:
    """Give a source to every taker for which there is one, and give up on those that have tried enough."""
    moving = state.moving
    for spread in moving.changed:
        for copy in list(spread.waiting.values()):
            if not spread.free:
                break
            source = _source_for(spread, copy)
            if source is not None:
                spread.begin(copy, source)
                state.outbox.copy.setdefault(copy.taker, []).append((spread.task, source))
            elif not spread.begun:
                _end(state, spread, copy, f"{copy.taker.address} gets it from no holder")
        if spread.is_over():
            del moving.spreads[spread.task]
    moving.changed.clear()


def _source_for(spread: Spread, copy: Copy) -> WorkerRecord | None:
    """The free holder that has rested longest and was not tried. Cost: O(1) unless sources failed."""
    for source in list(spread.free) if copy.tried else (next(iter(spread.free)),):
        if spread.task.key not in source.holds:
            del spread.free[source]
            return _source_for(spread, copy) if spread.free else None
        if source not in copy.tried:
            return source
    return None


def arrived(state: SchedulerState, task: TaskRecord, worker: WorkerRecord) -> None:
    """`worker` holds `task` now, asked or not."""
    spread = state.moving.spreads.get(task)
    if spread is None:
        return
    spread.add_source(worker)
    state.moving.changed[spread] = None
    copy = spread.begun.get(worker) or spread.waiting.get(worker)
    if copy is not None:
        _end(state, spread, copy, None)


def copies_failed(state: SchedulerState, worker: WorkerRecord, message: CopiesFailed) -> None:
    """`worker` did not get these keys from the sources that it was told: others are tried. Unasked ones are late."""
    taking = state.moving.taking.get(worker, {})
    for key in message.keys:
        task = state.tasks.get(key)
        copy = None if task is None else taking.get(task)
        if copy is None or copy.source is None:
            continue
        spread = state.moving.spreads[copy.task]
        source = copy.source
        spread.stop(copy)
        spread.waiting[worker] = copy
        copy.tried = (*copy.tried, source)
        state.moving.changed[spread] = None
        if len(copy.tried) >= SOURCES_TRIED_MAX:
            _end(state, spread, copy, f"{worker.address} could not get it from {len(copy.tried)} holders")


def end_left(state: SchedulerState) -> None:
    """What has left MEMORY in this event cannot be copied any more."""
    for task in state.moving.left:
        spread = state.moving.spreads.get(task)
        if spread is None or task.state is TaskState.MEMORY:
            continue
        state.moving.changed[spread] = None
        for copy in [*spread.begun.values(), *spread.waiting.values()]:
            _end(state, spread, copy, "its data is gone")
    state.moving.left.clear()


def drop_taker(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` is gone: it takes nothing; what it was to take may be planned again for others."""
    for task, copy in list(state.moving.taking.get(worker, {}).items()):
        for order in copy.orders:
            order.again[task] = None
        spread = state.moving.spreads[task]
        state.moving.changed[spread] = None
        _end(state, spread, copy, f"{worker.address} is gone")


def _end(state: SchedulerState, spread: Spread, copy: Copy, reason: str | None) -> None:
    """`copy` has arrived, or failed for `reason`: its orders hear of it."""
    moving, task, taker = state.moving, copy.task, copy.taker
    spread.stop(copy)
    taking = moving.taking[taker]
    del taking[task]
    if not taking:
        del moving.taking[taker]
    for order in copy.orders:
        order.open -= 1
        moving.ended[order] = None
        if reason is None:
            order.copied += 1
            order.nbytes += task.nbytes
        elif task not in order.again:
            order.failed[task.key] = reason
            retirements = [r for holder in task.who_has or () if (r := moving.retiring.get(holder)) is not None]
            for retirement in retirements:
                if retirement.copying is order:
                    retirement.tried[task] = (*retirement.tried.get(task, ()), taker)


def ask_holders(state: SchedulerState, worker: WorkerRecord, message: AskHolders) -> None:
    """Tell `worker` who holds these keys, itself left out; askers begin at different holders, so that they spread."""
    holders: list[list[str]] = []
    for key in message.keys:
        task = state.tasks.get(key)
        there = [] if task is None else [holder.address for holder in task.who_has or () if holder is not worker]
        first = worker.serial % len(there) if there else 0
        holders.append((there[first:] + there[:first])[:HOLDERS_NAMED_MAX])
    state.effects.append(ToWorker(worker.address, HoldersKnown(message.keys, holders)))
