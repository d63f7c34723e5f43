"""Orders to move data about: `replicate` and `rebalance`; and the end of every order.

An order plans its copies when it comes, from what is in MEMORY then; `copying` carries them out. Takers are the
workers with most room: the least share of their memory limit held, earlier joined first.
Not here: workers on their way out (`retirement`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from distributed.errors import BadRequestError, DistributedError, UncopiedDataError
from distributed.scheduler.actors import movable
from distributed.scheduler.copying import begin_copies, end_left, order_copy
from distributed.scheduler.effects import OrderDone
from distributed.scheduler.events import Rebalance, Replicate, Retire
from distributed.scheduler.orders import Order
from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord, remove_replica
from distributed.scheduler.retirement import advance, load_of, nbytes_held, retire_worker
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.withdrawal import awaits_copy

__all__ = ["ORDERS_MAX", "open_order", "rebalance", "replicate", "retire", "settle", "workers_named"]

ORDERS_MAX = 1000  # under way at once; each may ask for a copy of everything
SLACK = 0.05  # of the mean: a worker that holds so much more is not worth a move


def open_order(state: SchedulerState, order: str, verb: str) -> Order | None:
    """A new order; None, and an answer, if there are too many or its id is in use."""
    moving = state.moving
    if order in moving.orders or len(moving.orders) >= ORDERS_MAX:
        error = BadRequestError(
            f"{verb}: {len(moving.orders)} orders are under way, or this one is; wait for their end"
        )
        state.effects.append(OrderDone(order, {}, error))
        return None
    record = moving.orders[order] = Order(order, verb)
    moving.ended[record] = None  # it may have nothing to do
    return record


def workers_named(state: SchedulerState, tokens: Iterable[str] | None) -> list[WorkerRecord]:
    """Living workers by address or name, in joining order; None: all. Raises BadRequestError for an unknown one."""
    if tokens is None:
        return list(state.workers.values())
    found: dict[WorkerRecord, None] = {}
    for token in tokens:
        worker = state.workers.get(token) or state.by_name.get(token)
        if worker is None:
            raise BadRequestError(f"no worker has the address or name {token!r}")
        found[worker] = None
    return sorted(found, key=lambda worker: worker.serial)


def replicate(state: SchedulerState, event: Replicate, now: float) -> None:
    """Have each key held by `copies` of the workers named (None: all of them), as far as there are so many."""
    order = open_order(state, event.order, "replicate")
    if order is None:
        return
    order.copies, order.workers = event.copies, event.workers
    try:
        tasks = _tasks_named(state, order, event.keys)
        _plan_replicas(state, order, tasks)
    except BadRequestError as error:
        order.error = error


def _tasks_named(state: SchedulerState, order: Order, keys: Iterable[str] | None) -> list[TaskRecord]:
    """Those that have data, none twice; the others are failures of the order. None: all that have data."""
    if keys is None:
        return movable(state, [task for task in state.tasks.values() if task.state is TaskState.MEMORY])
    found: list[TaskRecord] = []
    for key in dict.fromkeys(keys):
        task = state.tasks.get(key)
        if task is not None and task in state.actors:
            order.failed[key] = "it is an actor, which stays where it is"
        elif task is not None and task.state is TaskState.MEMORY:
            found.append(task)
        else:
            order.failed[key] = "it has no data now"
    return found


def _plan_replicas(state: SchedulerState, order: Order, tasks: Sequence[TaskRecord]) -> None:
    """Order the copies that are missing. Cost: O(data held by the workers + keys * copies * log(workers))."""
    wanted = [worker for worker in workers_named(state, order.workers) if not worker.is_retiring]
    takers = wanted if order.workers is not None else [worker for worker in wanted if not worker.is_paused] or wanted
    room = [(load_of(worker, nbytes_held(worker)), worker.serial, worker) for worker in takers]
    heapify(room)
    for task in tasks:
        coming = state.moving.spreads.get(task)
        there = [
            worker for worker in wanted
            if task.key in worker.holds or (coming and (worker in coming.waiting or worker in coming.begun))
        ]  # fmt: skip
        for worker in there:
            if task.key not in worker.holds:
                order_copy(state, order, task, worker)  # somebody else's copy: wait for it too
        missing = (len(wanted) if order.copies is None else order.copies) - len(there)
        aside: list[tuple[float, int, WorkerRecord]] = []
        while missing > 0 and room:
            load, serial, worker = heappop(room)
            if worker not in there:
                order_copy(state, order, task, worker)
                load += load_of(worker, task.nbytes)
                missing -= 1
            aside.append((load, serial, worker))
        for entry in aside:
            heappush(room, entry)


def rebalance(state: SchedulerState, event: Rebalance, now: float) -> None:
    """Move data from workers that hold more bytes than the mean to those that hold less.

    A key is moved once it has arrived; what is needed by a task at its old worker stays there too.
    Cost: O(data held by the workers * log(workers)).
    """
    order = open_order(state, event.order, "rebalance")
    if order is None:
        return
    try:
        workers = [worker for worker in workers_named(state, event.workers) if not worker.is_retiring]
    except BadRequestError as error:
        order.error = error
        return
    movable = dict.fromkeys(_tasks_named(state, order, event.keys))
    held = {worker: nbytes_held(worker) for worker in workers}
    mean = sum(held.values()) / max(1, len(workers))
    takers = [(held[worker], worker.serial, worker) for worker in workers if held[worker] < mean]
    heapify(takers)
    for giver in sorted(workers, key=lambda worker: (-held[worker], worker.serial)):
        if held[giver] <= mean * (1 + SLACK):
            break
        for task in [task for task in giver.holds.values() if task in movable]:
            if held[giver] <= mean or not takers:
                break
            load, serial, taker = takers[0]
            if load + task.nbytes >= held[giver] or task.key in taker.holds or not task.nbytes:
                continue
            heappop(takers)
            heappush(takers, (load + task.nbytes, serial, taker))
            held[giver] -= task.nbytes
            order.moves[task, taker] = giver
            order_copy(state, order, task, taker)


def retire(state: SchedulerState, event: Retire, now: float) -> None:
    """Let these workers go; the order ends when the last of them has left."""
    order = open_order(state, event.order, "retire")
    if order is None:
        return
    try:
        workers = workers_named(state, event.workers)
    except BadRequestError as error:
        order.error = error
        return
    for worker in workers:
        worker.is_retiring = True  # all of them first, so that none is given the data of another
    for worker in workers:
        retire_worker(state, worker, event.reason).orders[order] = None
        order.open += 1


def settle(state: SchedulerState) -> None:
    """What follows from the event at hand: plans anew, copies begun, workers dismissed, orders ended."""
    moving = state.moving
    if moving.left:
        end_left(state)
    while True:
        ended, moving.ended = moving.ended, {}
        for order in ended:
            if order.again:
                again, order.again = list(order.again), {}
                if order.verb == "replicate" and (order.copies is not None or order.workers is not None):
                    _plan_again(state, order, again)
            if order.verb == "rebalance":
                _drop_moved(state, order)
            if order.order and not order.open and not order.again and moving.orders.get(order.order) is order:
                del moving.orders[order.order]
                state.effects.append(OrderDone(order.order, order.result(), _error_of(order)))
        begin_copies(state)
        if moving.retiring:
            advance(state)
        if not moving.ended and not moving.changed:
            return


def _plan_again(state: SchedulerState, order: Order, tasks: Sequence[TaskRecord]) -> None:
    """A taker is gone. Others take its place; one that was named cannot be replaced."""
    try:
        _plan_replicas(state, order, [task for task in tasks if task.state is TaskState.MEMORY])
    except BadRequestError as error:
        for task in tasks:
            order.failed[task.key] = error.text


def _drop_moved(state: SchedulerState, order: Order) -> None:
    """The old holders of what has arrived drop it."""
    for (task, taker), giver in list(order.moves.items()):
        if task.key in taker.holds:
            del order.moves[task, taker]
            is_used = awaits_copy(task, giver)
            if giver.holds.get(task.key) is task and taker.holds[task.key] is task and not is_used:
                remove_replica(task, giver)
                state.outbox.release.setdefault(giver, []).append(task.key)


def _error_of(order: Order) -> DistributedError | None:
    if order.error is None and order.failed and order.verb != "rebalance":
        return UncopiedDataError(order.verb, dict(order.failed))
    return order.error
