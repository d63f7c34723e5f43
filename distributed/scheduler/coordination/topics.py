"""Publish and subscribe; and datasets, which are published once and found by name."""

from __future__ import annotations

from distributed.scheduler.coordination.answering import answer, first, line_up, refuse_to_wait
from distributed.scheduler.coordination.items import drop_item, keep_item
from distributed.scheduler.coordination.records import Desk, Item, Request, Subscription, Topic
from distributed.scheduler.state import SchedulerState

__all__ = [
    "end_subscription",
    "get_dataset",
    "list_datasets",
    "next_messages",
    "publish",
    "publish_dataset",
    "serve_subscription",
    "subscribe",
    "unpublish_dataset",
    "unsubscribe",
]

BUFFER_COUNT_MAX, BUFFER_NBYTES_MAX = 10_000, 16 * 1024 * 1024  # of one subscriber who does not fetch
BATCH_COUNT_MAX, BATCH_NBYTES_MAX = 100, 1024 * 1024  # of one answer


def subscribe(state: SchedulerState, request: Request) -> None:
    """Every message of the topic from now on, ``number`` of them at most while nobody fetches."""
    name, desk = request.names[0], request.desk
    count_max = min(max(1, request.count), BUFFER_COUNT_MAX)
    subscription = Subscription(f"{name} ({request.number})", topic=name, count_max=count_max)
    desk.subscriptions[request.number] = subscription
    state.coordination.topics.setdefault(name, Topic(name)).subscriptions[subscription] = None
    answer(state, request)


def unsubscribe(state: SchedulerState, request: Request) -> None:
    """No more messages for the subscription ``number``."""
    end_subscription(state, request.desk, request.count)
    answer(state, request)


def end_subscription(state: SchedulerState, desk: Desk, number: int) -> None:
    """The subscription is gone with what it has; who waits there hears that. An unknown one is no error."""
    subscription = desk.subscriptions.pop(number, None)
    if subscription is None:
        return
    for request in list(subscription.waiting):
        answer(state, request, "unknown")
    for item in subscription.items:
        drop_item(state, item)
    topic = state.coordination.topics[subscription.topic]
    del topic.subscriptions[subscription]
    if not topic.subscriptions:
        del state.coordination.topics[topic.name]


def publish(state: SchedulerState, request: Request) -> None:
    """For all who have subscribed; answers how many they are."""
    topic = state.coordination.topics.get(request.names[0])
    item = request.item
    assert item is not None
    subscriptions = list(topic.subscriptions) if topic is not None else []
    for subscription in subscriptions:
        keep_item(state, item)
        subscription.items.append(item)
        subscription.nbytes += item.nbytes
        while len(subscription.items) > subscription.count_max or subscription.nbytes > BUFFER_NBYTES_MAX:
            _drop_oldest(state, subscription)
            subscription.dropped += 1
    answer(state, request, number=len(subscriptions))
    for subscription in subscriptions:
        serve_subscription(state, subscription)


def _drop_oldest(state: SchedulerState, subscription: Subscription) -> None:
    item = subscription.items.popleft()
    subscription.nbytes -= item.nbytes
    drop_item(state, item)


def next_messages(state: SchedulerState, request: Request) -> None:
    """Messages for the subscription ``number``, once there are any; the answer says how many were dropped before."""
    subscription = request.desk.subscriptions.get(request.count)
    if subscription is None:
        answer(state, request, "unknown")
        return
    line_up(state, request, [subscription], [subscription.waiting])
    serve_subscription(state, subscription)
    if request.places:
        refuse_to_wait(state, request)


def serve_subscription(state: SchedulerState, subscription: Subscription) -> None:
    """Give what there is to whoever waits the longest."""
    while subscription.items and (request := first(subscription.waiting)) is not None:
        items: list[Item] = []
        nbytes = 0
        for item in subscription.items:
            if len(items) == BATCH_COUNT_MAX or (items and nbytes + item.nbytes > BATCH_NBYTES_MAX):
                break
            items.append(item)
            nbytes += item.nbytes
        answer(state, request, number=subscription.dropped, items=items)
        subscription.dropped = 0
        for _ in items:
            _drop_oldest(state, subscription)


def publish_dataset(state: SchedulerState, request: Request) -> None:
    """Keep the item under this name, until it is unpublished; ``number`` 1: in the place of another one."""
    name, table = request.names[0], state.coordination.datasets
    if name in table and not request.count:
        answer(state, request, "taken")
        return
    assert request.item is not None
    old, table[name] = table.get(name), request.item
    keep_item(state, request.item)
    if old is not None:
        drop_item(state, old)
    answer(state, request)


def get_dataset(state: SchedulerState, request: Request) -> None:
    """The item of this name."""
    item = state.coordination.datasets.get(request.names[0])
    if item is None:
        answer(state, request, "unknown")
    else:
        answer(state, request, items=[item])


def list_datasets(state: SchedulerState, request: Request) -> None:
    """All names, in order of publication."""
    answer(state, request, names=list(state.coordination.datasets))


def unpublish_dataset(state: SchedulerState, request: Request) -> None:
    """Keep it no more."""
    item = state.coordination.datasets.pop(request.names[0], None)
    if item is not None:
        drop_item(state, item)
    answer(state, request, "done" if item is not None else "unknown")
