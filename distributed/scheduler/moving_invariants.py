"""What must be true between two events of orders, copies, and workers that retire, pause or are silent.

The second half of `invariants`, which calls `check_moving`. Cost: O(everything) per call.
"""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

from distributed.errors import InvariantError
from distributed.scheduler.orders import SERVES_MAX, Order, Spread
from distributed.scheduler.records import Room, TaskState, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["check_moving"]


def check_moving(state: SchedulerState) -> None:
    """Check every rule of this file. Raises InvariantError."""
    check_orders(state)
    for spread in state.moving.spreads.values():
        check_spread(state, spread)
    check_takers(state)
    check_retiring(state)
    check_heard(state)


def _broken(rule: str, where: object) -> NoReturn:
    raise InvariantError(f"{rule}: {where}")


def check_orders(state: SchedulerState) -> None:
    """Every order has something left to wait for, and counts it right."""
    moving = state.moving
    if moving.left or moving.changed or moving.ended:
        _broken("nothing of orders is left over between events", (moving.left, len(moving.changed)))
    open_parts: Counter[Order] = Counter()
    for spread in moving.spreads.values():
        for copy in (*spread.waiting.values(), *spread.begun.values()):
            open_parts.update(list(copy.orders))
    for retirement in moving.retiring.values():
        open_parts.update(list(retirement.orders))
    for name, order in moving.orders.items():
        if order.order != name or not order.open:
            _broken("an order is filed under its id until nothing of it is open", name)
    own = [retirement.copying for retirement in moving.retiring.values()]
    for order in (*moving.orders.values(), *own):
        if order.open != open_parts[order] or order.again:
            _broken("an order counts what is open", (order.verb, order.open, open_parts[order]))


def check_spread(state: SchedulerState, spread: Spread) -> None:
    """A key on its way has data, sources that are not overrun, and no taker that could begin and does not."""
    task = spread.task
    if state.tasks.get(task.key) is not task or task.state is not TaskState.MEMORY or spread.is_over():
        _broken("what is copied has data, and somebody who waits for it", task)
    sources: Counter[WorkerRecord] = Counter()
    for table, is_begun in ((spread.waiting, False), (spread.begun, True)):
        for taker, copy in table.items():
            if copy.taker is not taker or copy.task is not task or (copy.source is not None) is not is_begun:
                _broken("a copy that has begun has a source, one that waits has none", (task, taker.address))
            if task.key in taker.holds or not taker.is_alive:
                _broken("a taker lives and has not got the data", (task, taker.address))
            if copy.source is not None:
                sources[copy.source] += 1
    if dict(sources) != spread.serving or any(count > SERVES_MAX for count in sources.values()):
        _broken("a source serves few takers at a time, and they are counted", task)
    able = [worker for worker in task.who_has or () if spread.serving.get(worker, 0) < SERVES_MAX]
    for copy in spread.waiting.values():
        if any(worker not in copy.tried for worker in able):
            _broken("no taker waits while a source is free", (task, copy.taker.address))


def check_takers(state: SchedulerState) -> None:
    """Both sides know of each copy."""
    there = {
        (taker, task): copy
        for task, spread in state.moving.spreads.items()
        for taker, copy in (*spread.waiting.items(), *spread.begun.items())
    }
    known = {(taker, task): copy for taker, copies in state.moving.taking.items() for task, copy in copies.items()}
    if there != known or not all(state.moving.taking.values()):
        _broken("a taker knows what it takes", sorted(taker.address for taker in state.moving.taking))


def check_retiring(state: SchedulerState) -> None:
    """Who retires or is paused gets nothing; who retires gets on."""
    moving = state.moving
    marked = {worker for worker in state.workers.values() if worker.is_retiring}
    if marked != set(moving.retiring):
        _broken("who retires is known to", sorted(worker.address for worker in marked))
    for worker, retirement in moving.retiring.items():
        is_waiting = bool(worker.processing or retirement.copying.open)
        if retirement.worker is not worker or (retirement.deadline is None and not is_waiting):
            _broken("a retiring worker has tasks, or data under way, or is dismissed", worker.address)
    for worker in state.workers.values():
        if not worker.is_serving and (worker.room is not Room.CLOSED or worker.is_reserved):
            _broken("a paused, hung or retiring worker has no room", worker.address)
    deadlines = {worker: r.deadline for worker, r in moving.retiring.items() if r.deadline is not None}
    if deadlines != moving.dismissed or list(moving.dismissed.values()) != sorted(moving.dismissed.values()):
        _broken("dismissed workers have deadlines, earliest first", len(deadlines))


def check_heard(state: SchedulerState) -> None:
    """Every living worker is watched, the one that was silent longest first."""
    if set(state.heard) != set(state.workers.values()):
        _broken("every living worker is watched for silence", len(state.heard))
    times = list(state.heard.values())
    if times != sorted(times):
        _broken("who was silent longest is looked at first", times)
    dues = [due for due, _ in state.mute.values()]
    if dues != sorted(dues) or not set(state.mute) <= set(state.workers.values()):
        _broken("living workers that say nothing are looked at in time", dues)
    if (state.silence_at is not None) is not (bool(times) and state.settings.worker_timeout_s is not None):
        _broken("a timer watches for silence while there are workers", state.silence_at)
