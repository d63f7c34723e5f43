"""The records of coordination: places, the requests that wait there, leases, items, and one desk for each client.

A place exists while there is something to remember: a holder, an item, a set flag, or somebody who waits.
A request waits in one row or several (a lock for each of its names), always behind those that came before.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from distributed.messages import Payload
from distributed.scheduler.records import ClientRecord

__all__ = [
    "Coordination",
    "Desk",
    "Event",
    "Item",
    "Lease",
    "Lock",
    "Place",
    "Queue",
    "Request",
    "Row",
    "Semaphore",
    "Subscription",
    "Taking",
    "Topic",
    "Variable",
]


@dataclass(slots=True, eq=False, repr=False)
class Item:
    """An opaque payload, kept while some place or some answer under way refers to it.

    Attributes:
        serial: the order in which items came.
        keys: of the futures in the payload; they are held for us as long as the item is kept.
        nbytes: what it counts for.
        references: places, requests and answers that have it.
    """

    serial: int
    payload: Payload
    keys: tuple[str, ...]
    nbytes: int
    references: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Place:
    """Something with a name at which requests may wait."""

    name: str
    waiting: Row = field(default_factory=dict)


@dataclass(slots=True, eq=False, repr=False)
class Lock(Place):
    """One holder at a time."""

    lease: Lease | None = None


@dataclass(slots=True, eq=False, repr=False)
class Semaphore(Place):
    """So many holders at a time."""

    leases_max: int = 1
    leases: dict[Lease, None] = field(default_factory=dict)


@dataclass(slots=True, eq=False, repr=False)
class Event(Place):
    """A flag: those who wait for it wait until it is set."""

    is_set: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Queue(Place):
    """Items, first in, first out; ``waiting`` are those who get, ``putting`` those who put and find it full.

    ``count_max`` 0: no bound of its own.
    """

    count_max: int = 0
    items: deque[Item] = field(default_factory=deque)
    putting: Row = field(default_factory=dict)


@dataclass(slots=True, eq=False, repr=False)
class Variable(Place):
    """One item that everybody may read and replace."""

    item: Item | None = None


@dataclass(slots=True, eq=False, repr=False)
class Topic(Place):
    """Whoever subscribed gets every message; nobody waits at the topic itself."""

    subscriptions: dict[Subscription, None] = field(default_factory=dict)


@dataclass(slots=True, eq=False, repr=False)
class Subscription(Place):
    """What a subscriber has not fetched yet, the oldest dropped when it is too much; ``dropped`` since he was told."""

    topic: str = ""
    count_max: int = 1
    items: deque[Item] = field(default_factory=deque)
    nbytes: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Lease:
    """What was granted to a request, until it is released or its client leaves: one semaphore, or some locks."""

    number: int
    desk: Desk
    task: str | None
    since: float
    places: tuple[Place, ...] = ()


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """What a client asked for.

    Attributes:
        serial: the order in which requests came, of all clients.
        count: what ``number`` of the message says.
        rows, places: where it waits, both empty unless it does.
        taken: items that it has so far, of several that it wants from a queue.
        item: what it brings.
    """

    serial: int
    desk: Desk
    number: int
    kind: str
    names: tuple[str, ...]
    verb: str
    task: str | None
    waits: bool
    count: int
    since: float
    item: Item | None = None
    rows: tuple[Row, ...] = ()
    places: tuple[Place, ...] = ()
    taken: list[Item] = field(default_factory=list)


Row = dict[Request, None]


@dataclass(slots=True, eq=False, repr=False)
class Taking:
    """Items on their way to a client that has not said yet that it has them; of a queue they come back otherwise."""

    items: list[Item]
    queue: str | None


@dataclass(slots=True, eq=False, repr=False)
class Desk:
    """One client's: what it waits for, holds and is about to take, by number of the request.

    ``last`` is the highest number that came: one that is not higher has come twice.
    """

    client: ClientRecord
    last: int = -1
    waiting: dict[int, Request] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    taking: dict[int, Taking] = field(default_factory=dict)
    subscriptions: dict[int, Subscription] = field(default_factory=dict)


@dataclass(slots=True)
class Coordination:
    """All of it.

    Attributes:
        datasets: published items by name.
        desks: by client, made with its first request.
        holder: stands for all items with keys among the clients that want tasks, as long as there are any.
        held: by key, how many items there are with a future of it.
        nbytes, requests: of all items; all requests that wait.
        unwarned: requests that wait and whose clients were not told for whom, by the time when they will be.
    """

    locks: dict[str, Lock] = field(default_factory=dict)
    semaphores: dict[str, Semaphore] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    topics: dict[str, Topic] = field(default_factory=dict)
    datasets: dict[str, Item] = field(default_factory=dict)
    desks: dict[str, Desk] = field(default_factory=dict)
    holder: ClientRecord = field(default_factory=lambda: ClientRecord(""))
    held: dict[str, int] = field(default_factory=dict)
    nbytes: int = 0
    requests: int = 0
    serial: int = 0
    unwarned: OrderedDict[Request, float] = field(default_factory=OrderedDict)

    def next_serial(self) -> int:
        """1, 2, 3, ..."""
        self.serial += 1
        return self.serial

    @property
    def places(self) -> int:
        """How many names there are."""
        tables = (self.locks, self.semaphores, self.events, self.queues, self.variables, self.topics, self.datasets)
        return sum([len(table) for table in tables])
