"""How requests wait and are answered, and for whom they wait.

Outcomes of an answer: ``done``; ``no``: it cannot be done now, and the request does not wait; ``unknown``: there is no
such thing; ``taken``: the name is; ``refused``: the request makes no sense; ``limit``: too much is kept already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from distributed.messages import RequestAnswered
from distributed.scheduler.coordination.items import keep_item
from distributed.scheduler.coordination.records import Item, Lock, Place, Queue, Request, Row, Semaphore, Taking
from distributed.scheduler.effects import ToClient
from distributed.scheduler.state import SchedulerState
from distributed.units import format_seconds

__all__ = [
    "REQUESTS_MAX",
    "Wait",
    "answer",
    "first",
    "forget",
    "line_up",
    "refuse_to_wait",
    "step_out",
    "wait_of",
    "waits_of",
]

AnyPlace = TypeVar("AnyPlace", bound=Place)

REQUESTS_MAX = 100_000  # that wait, of all clients: about 50 MB
HOLDERS_NAMED_MAX = 3


class Wait(NamedTuple):
    """For whom a request waits.

    Attributes:
        text: a sentence; kind, name: of the place; waited_s: since when.
        blockers: keys of the tasks, or ids of the clients, that hold it.
    """

    text: str
    kind: str
    name: str
    waited_s: float
    blockers: list[str]


def line_up(state: SchedulerState, request: Request, places: Sequence[Place], rows: Sequence[Row]) -> None:
    """`request` waits in `rows` of `places`, behind those that are there."""
    own = state.coordination
    request.places, request.rows = tuple(places), tuple(rows)
    for row in rows:
        row[request] = None
    request.desk.waiting[request.number] = request
    own.requests += 1
    own.unwarned[request] = state.now + state.settings.long_wait_s


def step_out(state: SchedulerState, request: Request) -> tuple[Place, ...]:
    """`request` waits no longer; answers where it did: others may be first there now."""
    if request.number not in request.desk.waiting:
        return ()
    own = state.coordination
    del request.desk.waiting[request.number]
    for row in request.rows:
        del row[request]
    own.requests -= 1
    own.unwarned.pop(request, None)
    places, request.places, request.rows = request.places, (), ()
    return places


def forget(table: dict[str, AnyPlace], place: AnyPlace) -> None:
    """`place` is of no use any more; one of its name may have come after it."""
    if table.get(place.name) is place:
        del table[place.name]


def first(row: Row) -> Request | None:
    """Who waits the longest."""
    return next(iter(row), None)


def answer(
    state: SchedulerState,
    request: Request,
    outcome: str = "done",
    text: str = "",
    number: int = 0,
    names: Sequence[str] = (),
    items: Sequence[Item] = (),
    queue: str | None = None,
) -> None:
    """Answer `request`, which waits no longer.

    Args:
        items: kept for the client until it says that it has them, if they are of a `queue` or have keys.
    """
    step_out(state, request)
    if items and (queue is not None or any(item.keys for item in items)):
        for item in items:
            keep_item(state, item)
        request.desk.taking[request.number] = Taking(list(items), queue)
    message = RequestAnswered(
        request.number,
        outcome,
        text,
        number,
        list(names),
        [item.payload for item in items],
        [list(item.keys) for item in items],
    )
    state.effects.append(ToClient(request.desk.client.client, message))


def refuse_to_wait(state: SchedulerState, request: Request) -> None:
    """Answer `request`, which is still in line, if it does not wait, or too many do."""
    if not request.waits:
        answer(state, request, "no")
    elif state.coordination.requests > REQUESTS_MAX:
        answer(state, request, "limit", f"{REQUESTS_MAX:,} requests wait already, of all clients together")


# ---------------------------------------------------------------- for whom


def waits_of(state: SchedulerState, task_key: str, now: float | None = None) -> list[Wait]:
    """What the task `task_key` waits for at locks, queues and their like, longest first.

    Args:
        now: in the machine's seconds; None: the time of its last event.
    Cost: O(all that wait).
    """
    waiting = [
        request
        for desk in state.coordination.desks.values()
        for request in desk.waiting.values()
        if request.task == task_key
    ]
    return [wait_of(state, request, now) for request in sorted(waiting, key=lambda request: request.serial)]


def wait_of(state: SchedulerState, request: Request, now: float | None = None) -> Wait:
    """For whom `request`, which waits, does so; `now` as for `waits_of`."""
    now = state.now if now is None else now
    waited_s = now - request.since
    name = ", ".join(map(repr, request.names))
    why, blockers = _why(request, now)
    who = f"task {request.task}" if request.task else "this program"
    text = f"{who} has waited for {format_seconds(waited_s)} at {request.kind} {name}: {why}"
    return Wait(text, request.kind, ", ".join(request.names), waited_s, blockers)


def _why(request: Request, now: float) -> tuple[str, list[str]]:
    leases = [
        lease
        for place in request.places
        if isinstance(place, (Lock, Semaphore))
        for lease in ([place.lease] if isinstance(place, Lock) else place.leases)
        if lease is not None
    ]
    if leases:
        known = list(dict.fromkeys(leases))
        told = [
            f"{lease.desk.client.client}{f' (task {lease.task})' if lease.task else ''} has held it for "
            f"{format_seconds(now - lease.since)}"
            for lease in known[:HOLDERS_NAMED_MAX]
        ]
        more = f", and {len(known) - HOLDERS_NAMED_MAX} more" if len(known) > HOLDERS_NAMED_MAX else ""
        return ", ".join(told) + more, [lease.task or lease.desk.client.client for lease in known]
    place = request.places[0] if request.places else None
    if request.kind in ("lock", "semaphore"):
        return "others who came before wait for something else, too", []
    if isinstance(place, Queue):
        return (
            (f"it is full, {len(place.items):,} items", [])
            if request.verb == "put"
            else ("it is empty, nobody has put anything", [])
        )
    if request.kind == "topic":
        return "nobody has published anything", []
    return "nobody has set it", []
