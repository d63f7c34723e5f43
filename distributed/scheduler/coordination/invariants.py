"""What must be true of coordination between two events; see `distributed.scheduler.invariants`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import NoReturn

from distributed.errors import InvariantError
from distributed.scheduler.coordination.answering import first
from distributed.scheduler.coordination.records import Item, Lease, Place, Request, Row, Semaphore
from distributed.scheduler.state import SchedulerState

__all__ = ["check_coordination"]


def _broken(rule: str, where: object) -> NoReturn:
    raise InvariantError(f"{rule}: {where}")


def check_coordination(state: SchedulerState) -> None:
    """Every rule of coordination."""
    check_desks(state)
    check_rows(state)
    check_leases(state)
    check_nobody_waits_in_vain(state)
    check_items(state)


def check_desks(state: SchedulerState) -> None:
    """A desk is its client's, and requests are counted."""
    own = state.coordination
    for name, desk in own.desks.items():
        if state.clients.get(name) is not desk.client:
            _broken("a desk is there as long as its client", name)
        for number, request in desk.waiting.items():
            if request.number != number or request.desk is not desk or not request.waits or not request.rows:
                _broken("who waits waits somewhere, and said that he would", (name, number))
        if set(desk.leases) & set(desk.waiting) or set(desk.taking) & set(desk.waiting):
            _broken("a request that was answered does not wait", name)
    waiting = [request for desk in own.desks.values() for request in desk.waiting.values()]
    if own.requests != len(waiting) or not set(own.unwarned) <= set(waiting):
        _broken("requests that wait are counted", own.requests)
    if list(own.unwarned.values()) != sorted(own.unwarned.values()):
        _broken("who waits is warned in order", len(own.unwarned))


def _rows(state: SchedulerState) -> Iterable[tuple[Place, Row]]:
    own = state.coordination
    tables: tuple[dict[str, Place], ...] = (own.locks, own.semaphores, own.events, own.queues, own.variables)  # type: ignore[assignment]
    for table in tables:
        for name, place in table.items():
            if place.name != name:
                _broken("a place is filed under its name", name)
            yield place, place.waiting
    for queue in own.queues.values():
        yield queue, queue.putting
    for desk in own.desks.values():
        for subscription in desk.subscriptions.values():
            if subscription not in own.topics[subscription.topic].subscriptions:
                _broken("a topic knows who has subscribed", subscription.name)
            yield subscription, subscription.waiting


def check_rows(state: SchedulerState) -> None:
    """Rows are in the order in which requests came, and both sides know who waits where."""
    seen: Counter[Request] = Counter()
    for place, row in _rows(state):
        serials = [request.serial for request in row]
        if serials != sorted(serials):
            _broken("a row is in the order in which its requests came", place.name)
        for request in row:
            if not any(row is known for known in request.rows) or place not in request.places:
                _broken("who waits in a row knows it", place.name)
            if request.desk.waiting.get(request.number) is not request:
                _broken("who waits in a row is a client's request", place.name)
        seen.update(list(row))
    for desk in state.coordination.desks.values():
        for request in desk.waiting.values():
            if seen[request] != len(request.rows):
                _broken("a request waits in its rows only", request.names)


def check_leases(state: SchedulerState) -> None:
    """A lock has one holder, a semaphore no more than it may; a lease is known on both sides."""
    own = state.coordination
    known: dict[Lease, None] = {}
    for name, desk in own.desks.items():
        for number, lease in desk.leases.items():
            known[lease] = None
            if lease.number != number or lease.desk is not desk or not lease.places:
                _broken("a lease is of something, and its holder's", (name, number))
    held: Counter[Lease] = Counter(lock.lease for lock in own.locks.values() if lock.lease is not None)
    for semaphore in own.semaphores.values():
        if len(semaphore.leases) > semaphore.leases_max:
            _broken("a semaphore has no more holders than it may", semaphore.name)
        held.update(list(semaphore.leases))
    if set(held) != set(known):
        _broken("what is held is held by a client that is there", len(set(held) ^ set(known)))
    for lease, count in held.items():
        if count != len(lease.places):
            _broken("a lease holds what it is of", lease.number)


def check_nobody_waits_in_vain(state: SchedulerState) -> None:
    """Whoever could be served is; and nothing is kept that nobody uses."""
    own = state.coordination
    for lock in own.locks.values():
        request = first(lock.waiting)
        if lock.lease is None and request is None:
            _broken("a lock that nobody holds or waits for is forgotten", lock.name)
        if lock.lease is None and request is not None and len(request.places) == 1:
            _broken("nobody waits for a lock that is free", lock.name)
    if own.locks and own.requests:
        _check_oldest(state)
    for semaphore in own.semaphores.values():
        _check_semaphore(semaphore)
    for event in own.events.values():
        if event.is_set == bool(event.waiting):
            _broken("an event is set, or somebody waits for it", event.name)
    for queue in own.queues.values():
        if queue.items and queue.waiting:
            _broken("nobody waits at a queue with items", queue.name)
        if queue.putting and not (queue.count_max and len(queue.items) >= queue.count_max):
            _broken("nobody waits to put while there is room", queue.name)
        if not queue.items and not queue.waiting and not queue.putting:
            _broken("an empty queue is forgotten", queue.name)
    for variable in own.variables.values():
        if (variable.item is not None) == bool(variable.waiting):
            _broken("a variable is set, or somebody waits for it", variable.name)
    for desk in own.desks.values():
        for subscription in desk.subscriptions.values():
            if subscription.items and subscription.waiting:
                _broken("nobody waits for messages that are there", subscription.name)


def _check_semaphore(semaphore: Semaphore) -> None:
    if semaphore.waiting and len(semaphore.leases) < semaphore.leases_max:
        _broken("nobody waits for a semaphore that has room", semaphore.name)
    if not semaphore.waiting and not semaphore.leases:
        _broken("a semaphore that nobody uses is forgotten", semaphore.name)


def _check_oldest(state: SchedulerState) -> None:
    """Of all who wait for locks, the one who came first waits for a holder, never for somebody else who waits."""
    own = state.coordination
    waiting = {request for lock in own.locks.values() for request in lock.waiting}
    if not waiting:
        return
    oldest = min(waiting, key=lambda request: request.serial)
    free = [name for name in oldest.names if own.locks[name].lease is None]
    if len(free) >= (oldest.count or len(oldest.names)):
        _broken("who waits the longest gets what is free", oldest.names)


def check_items(state: SchedulerState) -> None:
    """Items are counted wherever they are, and their keys are held exactly as long."""
    own = state.coordination
    kept: Counter[Item] = Counter(own.datasets.values())
    kept.update(variable.item for variable in own.variables.values() if variable.item is not None)
    for queue in own.queues.values():
        kept.update(queue.items)
        kept.update(request.item for request in queue.putting if request.item is not None)
        kept.update(chain.from_iterable(request.taken for request in queue.waiting))
        serials = [item.serial for item in queue.items]
        if len(set(serials)) != len(serials):
            _broken("an item is in its queue once", queue.name)
    for desk in own.desks.values():
        for taking in desk.taking.values():
            kept.update(taking.items)
        for subscription in desk.subscriptions.values():
            kept.update(subscription.items)
            if subscription.nbytes != sum(item.nbytes for item in subscription.items):
                _broken("what a subscriber has not fetched is counted", subscription.name)
    if any(item.references != count for item, count in kept.items()):
        _broken("references to items are counted", [(i.references, n) for i, n in kept.items() if i.references != n])
    if own.nbytes != sum(item.nbytes for item in kept):
        _broken("items are counted in bytes", own.nbytes)
    held = Counter(key for item in kept for key in item.keys)
    if held != Counter(own.held):
        _broken("keys in items are counted", sorted(set(held) ^ set(own.held))[:5])
    for key, task in own.holder.wanted.items():
        if key not in held or state.tasks.get(key) is not task:
            _broken("what items hold is in one of them", key)
    if (state.clients.get(own.holder.client) is own.holder) != bool(own.held):
        _broken("items are among the clients while they hold keys", len(own.held))
