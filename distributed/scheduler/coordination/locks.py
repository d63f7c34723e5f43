"""Locks and semaphores: who holds what, first come, first served.

A request may ask for several locks at once, or for some of several. It waits in the row of each, and is served when
enough of those in whose row it is the first are free. The request that came first of all is first everywhere, so it is
served as soon as what it waits for is released: nobody starves, and requests never wait for each other in a circle.
"""

from __future__ import annotations

from distributed.scheduler.coordination.answering import answer, first, forget, line_up, refuse_to_wait
from distributed.scheduler.coordination.records import Desk, Lease, Lock, Place, Request, Semaphore
from distributed.scheduler.state import SchedulerState

__all__ = [
    "acquire_locks",
    "acquire_semaphore",
    "end_lease",
    "is_locked",
    "leases_in_use",
    "release",
    "serve_locks",
    "serve_semaphore",
]


def acquire_locks(state: SchedulerState, request: Request) -> None:
    """Hold all the locks named, or ``number`` of them."""
    if request.count > len(request.names):
        answer(state, request, "refused", f"{request.count} of {len(request.names)} locks cannot be had")
        return
    table = state.coordination.locks
    locks = [table.setdefault(name, Lock(name)) for name in request.names]
    line_up(state, request, locks, [lock.waiting for lock in locks])
    serve_locks(state, locks)
    if request.places:
        refuse_to_wait(state, request)
        serve_locks(state, locks)


def serve_locks(state: SchedulerState, locks: list[Lock]) -> None:
    """Give these, as far as they are free, to those who wait the longest; forget those that nobody wants."""
    todo = locks[::-1]
    while todo:
        lock = todo.pop()
        if lock.lease is not None:
            continue
        request = first(lock.waiting)
        if request is None:
            forget(state.coordination.locks, lock)
            continue
        places = request.places
        free = [
            place
            for place in places
            if isinstance(place, Lock) and place.lease is None and first(place.waiting) is request
        ]
        count = request.count or len(places)
        if len(free) < count:
            continue
        granted = free[:count]
        lease = _grant(state, request, tuple(granted))
        for taken in granted:
            taken.lease = lease
        answer(state, request, names=[taken.name for taken in granted])
        todo.extend(place for place in reversed(places) if isinstance(place, Lock))


def _grant(state: SchedulerState, request: Request, places: tuple[Place, ...]) -> Lease:
    lease = Lease(request.number, request.desk, request.task, state.now, places)
    request.desk.leases[request.number] = lease
    return lease


def is_locked(state: SchedulerState, request: Request) -> None:
    """Whether somebody holds any of the locks."""
    table = state.coordination.locks
    held = [name for name in request.names if name in table and table[name].lease is not None]
    answer(state, request, "done" if held else "no")


def acquire_semaphore(state: SchedulerState, request: Request) -> None:
    """Be one of ``number`` who hold the semaphore; all who use it must say the same number."""
    name, table = request.names[0], state.coordination.semaphores
    semaphore = table.get(name)
    if semaphore is None:
        semaphore = table[name] = Semaphore(name, leases_max=max(1, request.count))
    if semaphore.leases_max != request.count:
        text = f"others use {name!r} with max_leases={semaphore.leases_max}, not {request.count}"
        answer(state, request, "refused", text)
        serve_semaphore(state, semaphore)
        return
    line_up(state, request, [semaphore], [semaphore.waiting])
    serve_semaphore(state, semaphore)
    if request.places:
        refuse_to_wait(state, request)
        serve_semaphore(state, semaphore)


def serve_semaphore(state: SchedulerState, semaphore: Semaphore) -> None:
    """Let in whom there is room for; forget it when nobody uses it."""
    while len(semaphore.leases) < semaphore.leases_max:
        request = first(semaphore.waiting)
        if request is None:
            break
        semaphore.leases[_grant(state, request, (semaphore,))] = None
        answer(state, request, names=[semaphore.name])
    if not semaphore.leases and not semaphore.waiting:
        forget(state.coordination.semaphores, semaphore)


def leases_in_use(state: SchedulerState, request: Request) -> None:
    """How many hold the semaphore."""
    semaphore = state.coordination.semaphores.get(request.names[0])
    answer(state, request, number=0 if semaphore is None else len(semaphore.leases))


def release(state: SchedulerState, request: Request) -> None:
    """What the request ``number`` got is free."""
    lease = request.desk.leases.get(request.count)
    if lease is None:
        answer(state, request, "unknown")
        return
    answer(state, request)
    end_lease(state, request.desk, request.count)


def end_lease(state: SchedulerState, desk: Desk, number: int) -> None:
    """A lease of this client ends; whoever waits the longest is next. An unknown one is no error."""
    lease = desk.leases.pop(number, None)
    if lease is None:
        return
    for place in lease.places:
        if isinstance(place, Lock):
            place.lease = None
        elif isinstance(place, Semaphore):
            del place.leases[lease]
            serve_semaphore(state, place)
    serve_locks(state, [place for place in lease.places if isinstance(place, Lock)])
