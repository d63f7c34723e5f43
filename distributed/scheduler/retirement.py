"""Workers on their way out: asked to go by a client (`Retire`) or going by themselves (`WorkerRetiring`).

A retiring worker gets nothing new. What has not begun there is asked back, what runs there ends, what no staying worker
holds is copied to the workers with most room; then it is dismissed, and dropped if it has not left in time. With no
worker left that could take anything it is dismissed at once. How long all that may take is the worker's own affair: it
has a grace of its own, and leaves when that is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heapreplace

from distributed.messages import DismissWorker, WorkerPaused, WorkerRetiring
from distributed.scheduler import redundant
from distributed.scheduler.actors import movable
from distributed.scheduler.copying import order_copy
from distributed.scheduler.effects import DropWorker, ToWorker
from distributed.scheduler.orders import Order, Retirement
from distributed.scheduler.placement import touch
from distributed.scheduler.records import TaskRecord, WorkerRecord
from distributed.scheduler.reserving import unreserve
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.stealing import recall
from distributed.scheduler.stuck import worker_gone

__all__ = [
    "advance",
    "end_retirement",
    "expire_dismissed",
    "load_of",
    "nbytes_held",
    "others",
    "retire_worker",
    "worker_paused",
    "worker_retiring",
]

TRIES_MAX = 3  # takers that are asked to fetch one key from a retiring worker
LIMIT_UNKNOWN_NBYTES = 2**40  # what a worker without a memory limit is taken to have


def nbytes_held(worker: WorkerRecord) -> int:
    """Bytes of the results that `worker` holds. Cost: O(results)."""
    return sum(task.nbytes for task in worker.holds.values())


def load_of(worker: WorkerRecord, nbytes: int) -> float:
    """`nbytes` as a share of what `worker` may use."""
    return nbytes / (worker.memory_limit_nbytes or LIMIT_UNKNOWN_NBYTES)


def others(state: SchedulerState) -> list[WorkerRecord]:
    """The workers that stay: those that are not paused, or all if all are."""
    staying = [worker for worker in state.workers.values() if not worker.is_retiring]
    return [worker for worker in staying if not worker.is_paused] or staying


def worker_paused(state: SchedulerState, worker: WorkerRecord, message: WorkerPaused) -> None:
    """`worker` begins nothing more until it says so."""
    worker.is_paused = message.paused
    if message.paused:
        unreserve(state, worker)
    touch(state, worker)


def worker_retiring(state: SchedulerState, worker: WorkerRecord, message: WorkerRetiring) -> None:
    """`worker` wants to go."""
    retire_worker(state, worker, message.reason)


def retire_worker(state: SchedulerState, worker: WorkerRecord, reason: str) -> Retirement:
    """`worker` begins to retire; if it does already, that one counts."""
    moving = state.moving
    retirement = moving.retiring.get(worker)
    if retirement is None:
        retirement = moving.retiring[worker] = Retirement(worker, reason, Order("", "retire"))
        worker.is_retiring = True
        unreserve(state, worker)
        redundant.leave(state, worker)
        touch(state, worker)
        worker_gone(state, worker)
        # The first ones run already: asking for them as well tells what has begun, whatever the order there.
        waiting = [task for task in worker.processing.values() if not task.deaths]
        if waiting:
            recall(state, worker, waiting)
        _copy_data(state, retirement)
    return retirement


def advance(state: SchedulerState) -> None:
    """Look at the retiring workers that this event concerned. Cost: O(1) per retiring worker, unless one gets on."""
    for worker, retirement in list(state.moving.retiring.items()):
        if retirement.deadline is not None:
            continue
        is_last = all(other.is_retiring for other in state.workers.values()) if _may_be_last(state) else False
        if not is_last and (worker.processing or retirement.copying.open):
            continue
        if is_last or not _copy_data(state, retirement):
            retirement.deadline = state.now + state.settings.dismissal_patience_s
            state.moving.dismissed[worker] = retirement.deadline
            state.effects.append(ToWorker(worker.address, DismissWorker(retirement.reason)))


def _may_be_last(state: SchedulerState) -> bool:
    return len(state.moving.retiring) == len(state.workers)


def _copy_data(state: SchedulerState, retirement: Retirement) -> bool:
    """Order copies of what no staying worker holds; answers whether any is under way. Cost: O(data held there)."""
    alone: list[TaskRecord] = [
        task for task in movable(state, retirement.worker.holds.values())
        if task not in retirement.given_up and all(holder.is_retiring for holder in task.who_has or ())
    ]  # fmt: skip
    room = [(load_of(worker, nbytes_held(worker)), worker.serial, worker) for worker in others(state)] if alone else []
    heapify(room)
    for task in alone:
        tried = retirement.tried.get(task, ())
        is_coming = task in state.moving.spreads and any(
            not taker.is_retiring
            for taker in (*state.moving.spreads[task].waiting, *state.moving.spreads[task].begun)
        )  # fmt: skip
        if is_coming:
            _join(state, retirement, task)
            continue
        taker = next((entry for entry in _cheapest(room) if entry[2] not in tried), None)
        if taker is None or len(tried) >= TRIES_MAX:
            retirement.given_up[task] = None
            continue
        load, serial, worker = taker
        order_copy(state, retirement.copying, task, worker)
        if room[0] is taker:
            heapreplace(room, (load + load_of(worker, task.nbytes), serial, worker))
    return retirement.copying.open > 0


def _cheapest(room: list[tuple[float, int, WorkerRecord]]) -> Iterable[tuple[float, int, WorkerRecord]]:
    """The least loaded first; sorted only if that one will not do."""
    if room:
        yield room[0]
        yield from sorted(room[1:])


def _join(state: SchedulerState, retirement: Retirement, task: TaskRecord) -> None:
    """Wait for a copy that somebody else ordered."""
    spread = state.moving.spreads[task]
    for taker in (*spread.begun, *spread.waiting):
        if not taker.is_retiring:
            order_copy(state, retirement.copying, task, taker)
            return


def end_retirement(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` is gone: whoever waits for that hears of it."""
    moving = state.moving
    retirement = moving.retiring.pop(worker, None)
    if retirement is None:
        return
    moving.dismissed.pop(worker, None)
    for order in retirement.orders:
        order.open -= 1
        order.retired.append(worker.address)
        moving.ended[order] = None


def expire_dismissed(state: SchedulerState) -> list[WorkerRecord]:
    """The dismissed workers that should have left by now; they are dropped. Cost: O(those)."""
    late = []
    for worker, deadline in state.moving.dismissed.items():
        if deadline > state.now:
            break
        late.append(worker)
        state.effects.append(DropWorker(worker.address, "it was dismissed and did not leave", worker.incarnation))
    return late
