"""Queues: items in the order in which they came, each for one who gets.

An item leaves the queue with the answer, and is kept until the client says that it has it. If the client leaves before
that, or does not want it any more, the item comes back to where it was: so none is lost on the way, and none is given
to two, unless the first was given up.
"""

from __future__ import annotations

from collections import deque

from distributed.scheduler.coordination.answering import answer, first, forget, line_up, refuse_to_wait
from distributed.scheduler.coordination.items import drop_item, keep_item
from distributed.scheduler.coordination.records import Item, Queue, Request
from distributed.scheduler.state import SchedulerState

__all__ = ["BATCH_COUNT_MAX", "close_queue", "get", "give_back", "put", "qsize", "serve_queue"]

BATCH_COUNT_MAX, BATCH_NBYTES_MAX = 1_000, 4 * 1024 * 1024  # of one answer; who wants more asks again


def _queue(state: SchedulerState, name: str) -> Queue:
    return state.coordination.queues.setdefault(name, Queue(name))


def put(state: SchedulerState, request: Request) -> None:
    """Append the item, when there is room; the first who says a bound of ``number`` items sets it."""
    queue = _queue(state, request.names[0])
    queue.count_max = queue.count_max or request.count
    assert request.item is not None
    keep_item(state, request.item)
    line_up(state, request, [queue], [queue.putting])
    serve_queue(state, queue)
    if request.places:
        refuse_to_wait(state, request)
        if not request.places:
            drop_item(state, request.item)
        serve_queue(state, queue)


def get(state: SchedulerState, request: Request) -> None:
    """The next ``number`` items, when they have come; 0: those that are there, also none."""
    queue = _queue(state, request.names[0])
    if not request.count:
        _give(state, queue, request, _next_items(queue, BATCH_COUNT_MAX, 0))
        serve_queue(state, queue)
        return
    line_up(state, request, [queue], [queue.waiting])
    serve_queue(state, queue)
    if request.places:
        refuse_to_wait(state, request)
        if not request.places:
            give_back(state, queue.name, request.taken)


def qsize(state: SchedulerState, request: Request) -> None:
    """How many items there are."""
    queue = state.coordination.queues.get(request.names[0])
    answer(state, request, number=0 if queue is None else len(queue.items))


def close_queue(state: SchedulerState, request: Request) -> None:
    """Drop all items. Those who wait go on waiting."""
    queue = state.coordination.queues.get(request.names[0])
    if queue is not None:
        items, queue.items = queue.items, deque()
        for item in items:
            drop_item(state, item)
        serve_queue(state, queue)
    answer(state, request)


def give_back(state: SchedulerState, name: str, items: list[Item]) -> None:
    """These items, which were given out and not taken, are in the queue again, in their order."""
    queue = _queue(state, name)
    if items:
        queue.items = deque(sorted((*items, *queue.items), key=lambda item: item.serial))
        items.clear()
    serve_queue(state, queue)


def serve_queue(state: SchedulerState, queue: Queue) -> None:
    """Give items to whoever waits the longest, take in those of whoever finds room; forget an empty queue."""
    while True:
        getter, putter = first(queue.waiting), first(queue.putting)
        if getter is not None and queue.items:
            nbytes = sum(item.nbytes for item in getter.taken)
            wanted = min(getter.count, BATCH_COUNT_MAX)
            getter.taken += _next_items(queue, wanted - len(getter.taken), nbytes)
            nbytes = sum(item.nbytes for item in getter.taken)
            if len(getter.taken) >= wanted or nbytes >= BATCH_NBYTES_MAX:
                _give(state, queue, getter, getter.taken)
        elif putter is not None and not (queue.count_max and len(queue.items) >= queue.count_max):
            assert putter.item is not None  # kept by the request, and from here on by the queue
            queue.items.append(putter.item)
            answer(state, putter, number=len(queue.items))
        else:
            break
    if not queue.items and not queue.waiting and not queue.putting:
        forget(state.coordination.queues, queue)


def _next_items(queue: Queue, count_max: int, nbytes: int) -> list[Item]:
    items: list[Item] = []
    while queue.items and len(items) < count_max and nbytes < BATCH_NBYTES_MAX:
        items.append(queue.items.popleft())
        nbytes += items[-1].nbytes
    return items


def _give(state: SchedulerState, queue: Queue, request: Request, items: list[Item]) -> None:
    answer(state, request, number=len(queue.items), items=items, queue=queue.name)
    for item in items:
        drop_item(state, item)  # the answer has it
    request.taken = []
