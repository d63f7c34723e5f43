"""What clients ask for, withdraw and take; what becomes of it when they leave; and whom one has waited for too long.

A client counts its requests, so one that comes twice is known. To withdraw a request undoes whatever it led to: it
waits no longer, its lease ends, the items it was answered with are back. So a client that is interrupted need not know
how far its request had come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from distributed.ids import is_key
from distributed.messages import ITEM_NBYTES_MAX, Coordinate, RequestWaits, TakeItems, WithdrawRequests
from distributed.scheduler.coordination import locks, queues, signals, topics
from distributed.scheduler.coordination.answering import answer, step_out, wait_of
from distributed.scheduler.coordination.items import drop_item, make_item
from distributed.scheduler.coordination.records import (
    Desk,
    Event,
    Item,
    Lock,
    Place,
    Queue,
    Request,
    Semaphore,
    Subscription,
    Variable,
)
from distributed.scheduler.effects import ToClient
from distributed.scheduler.records import ClientRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["NAMES_MAX", "coordinate", "leave_desk", "next_warning", "take_items", "warn_of_waits", "withdraw_requests"]

NAMES_MAX = 100_000  # of all places together: about 50 MB
NAMES_OF_REQUEST_MAX = 1_000  # locks at once
HELD_MAX = 10_000  # leases, and subscriptions, of one client

_Handler = Callable[[SchedulerState, Request], None]

_HANDLERS: dict[tuple[str, str], _Handler] = {
    ("lock", "acquire"): locks.acquire_locks,
    ("lock", "release"): locks.release,
    ("lock", "look"): locks.is_locked,
    ("semaphore", "acquire"): locks.acquire_semaphore,
    ("semaphore", "release"): locks.release,
    ("semaphore", "look"): locks.leases_in_use,
    ("event", "wait"): signals.wait_for_event,
    ("event", "set"): signals.set_event,
    ("event", "clear"): signals.clear_event,
    ("event", "look"): signals.is_event_set,
    ("queue", "put"): queues.put,
    ("queue", "get"): queues.get,
    ("queue", "look"): queues.qsize,
    ("queue", "close"): queues.close_queue,
    ("variable", "set"): signals.set_variable,
    ("variable", "get"): signals.get_variable,
    ("variable", "delete"): signals.delete_variable,
    ("topic", "subscribe"): topics.subscribe,
    ("topic", "unsubscribe"): topics.unsubscribe,
    ("topic", "publish"): topics.publish,
    ("topic", "next"): topics.next_messages,
    ("dataset", "publish"): topics.publish_dataset,
    ("dataset", "get"): topics.get_dataset,
    ("dataset", "list"): topics.list_datasets,
    ("dataset", "unpublish"): topics.unpublish_dataset,
}
_HOLD = frozenset({"acquire", "subscribe"})
_BRING_ITEMS = {("queue", "put"), ("variable", "set"), ("topic", "publish"), ("dataset", "publish")}


def coordinate(state: SchedulerState, client: ClientRecord, message: Coordinate) -> None:
    """A client asks for something. Cost: O(names), and what it sets free."""
    own = state.coordination
    desk = own.desks.get(client.client)
    if desk is None:
        desk = own.desks[client.client] = Desk(client)
    if message.request <= desk.last:
        return  # it has come twice
    desk.last = message.request
    request = Request(
        own.next_serial(),
        desk,
        message.request,
        message.kind,
        tuple(dict.fromkeys(message.names)),
        message.verb,
        message.task,
        message.waits,
        message.number,
        state.now,
    )
    outcome, text = _fault(state, request, message)
    if outcome:
        answer(state, request, outcome, text)
        return
    if message.items:
        request.item = make_item(state, message.items[0], message.item_keys[0])
        outcome, text = _excess(state, request)
        if outcome:
            answer(state, request, outcome, text)
            return
    _HANDLERS[message.kind, message.verb](state, request)


def _fault(state: SchedulerState, request: Request, message: Coordinate) -> tuple[str, str]:
    """Outcome and text for a request that makes no sense; else empty."""
    what = (request.kind, request.verb)
    if what not in _HANDLERS:
        return "refused", f"a {request.kind[:50]!r} cannot {request.verb[:50]!r}"
    if not (request.task is None or is_key(request.task)):
        return "refused", "the key of a task has 1 to 1,000 characters"
    if len(message.items) != (what in _BRING_ITEMS):
        return "refused", f"{request.verb!r} of a {request.kind!r} comes with {len(message.items)} items"
    count_max = NAMES_OF_REQUEST_MAX if request.kind == "lock" else 1
    if not 1 <= len(request.names) <= count_max or not all(map(is_key, request.names)):
        return "refused", f"a {request.kind} has a name of 1 to 1,000 characters, {count_max:,} of them at most"
    if max(len(request.desk.leases), len(request.desk.subscriptions)) >= HELD_MAX and request.verb in _HOLD:
        return "limit", f"{HELD_MAX:,} of them are held by this client already"
    if state.coordination.places >= NAMES_MAX:
        return "limit", f"{NAMES_MAX:,} locks, queues and their like are in use already"
    return "", ""


def _excess(state: SchedulerState, request: Request) -> tuple[str, str]:
    """Outcome and text for an item that is too much; else empty."""
    item, nbytes_max = request.item, state.settings.coordination_nbytes_max
    assert item is not None
    if item.nbytes > 2 * ITEM_NBYTES_MAX:  # its own client refuses it at half of that
        return "limit", f"an item of {item.nbytes:,} bytes; scatter it, and use the future"
    if state.coordination.nbytes + item.nbytes > nbytes_max:
        kept = f"{state.coordination.nbytes:,} bytes of items are kept, {nbytes_max:,} at most"
        return "limit", f"{kept}: get some, or delete them"
    return "", ""


def take_items(state: SchedulerState, client: ClientRecord, message: TakeItems) -> None:
    """The client has what these requests were answered with; unknown ones are no error."""
    desk = state.coordination.desks.get(client.client)
    for number in message.requests if desk is not None else ():
        taking = desk.taking.pop(number, None) if desk is not None else None
        for item in taking.items if taking is not None else ():
            drop_item(state, item)


def withdraw_requests(state: SchedulerState, client: ClientRecord, message: WithdrawRequests) -> None:
    """Undo these requests; unknown ones are no error."""
    desk = state.coordination.desks.get(client.client)
    if desk is not None:
        _undo(state, desk, message.requests)


def leave_desk(state: SchedulerState, client: str) -> None:
    """A client is gone: what it waits for is withdrawn, what it holds is free, what it has not taken is back."""
    desk = state.coordination.desks.pop(client, None)
    if desk is not None:
        _undo(state, desk, list(desk.waiting))
        _undo(state, desk, [*desk.leases, *desk.taking, *desk.subscriptions])


def _undo(state: SchedulerState, desk: Desk, numbers: Iterable[int]) -> None:
    waiting = [request for number in numbers if (request := desk.waiting.get(number)) is not None]
    places = {place: None for request in waiting for place in step_out(state, request)}
    for request in waiting:
        if request.taken:
            queues.give_back(state, request.names[0], request.taken)
        if request.item is not None:
            drop_item(state, request.item)
    for number in numbers:
        locks.end_lease(state, desk, number)
        topics.end_subscription(state, desk, number)
        taking = desk.taking.pop(number, None)
        if taking is not None:
            _return(state, taking.items, taking.queue)
    for place in places:
        _serve(state, place)


def _return(state: SchedulerState, items: list[Item], queue: str | None) -> None:
    if queue is not None:
        queues.give_back(state, queue, items)  # which keeps them on
    else:
        for item in items:
            drop_item(state, item)


def _serve(state: SchedulerState, place: Place) -> None:
    """Somebody has stepped out of a row of `place`: others may be first there now, or it may be of no use any more."""
    if isinstance(place, Lock):
        locks.serve_locks(state, [place])
    elif isinstance(place, Semaphore):
        locks.serve_semaphore(state, place)
    elif isinstance(place, Queue):
        queues.serve_queue(state, place)
    elif isinstance(place, Event):
        signals.serve_event(state, place)
    elif isinstance(place, Variable):
        signals.serve_variable(state, place)
    elif isinstance(place, Subscription):
        topics.serve_subscription(state, place)


# ---------------------------------------------------------------- time


def next_warning(state: SchedulerState) -> float | None:
    """When `warn_of_waits` has something to say; None: never. Cost: O(1)."""
    return next(iter(state.coordination.unwarned.values()), None)


def warn_of_waits(state: SchedulerState) -> None:
    """Tell clients, once for each request, whom it has been waiting for for so long."""
    unwarned = state.coordination.unwarned
    while unwarned and (request := next(iter(unwarned))) and unwarned[request] <= state.now:
        del unwarned[request]
        text = wait_of(state, request).text
        state.effects.append(ToClient(request.desk.client.client, RequestWaits(request.number, text)))
