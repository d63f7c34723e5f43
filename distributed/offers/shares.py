"""Which room of an offer may use how many of its slots now: fair queueing among tenants, on slots times seconds. Pure.

A tenant's *time* is what its tasks have had of slots, in seconds, by its weight. Whoever wants slots and has the least
time gets the next one, so tenants that want as much as they can get have equal times, however many rooms and tasks they
have and however long these are. Who has all that it wants, or wants nothing, earns nothing by it: its time is at least
that of those who wait. Rooms of one tenant share its part by the same rule.

Nothing that runs is interrupted: a room that has too many is allowed fewer, and gives slots back as its tasks end. It
keeps a slot for a *quantum* before another tenant takes it over. What a room was allowed counts as its own until it has
confirmed less, so there are never more tasks than slots. While nobody waits, slots that are left over are allowed to
rooms in advance, and taken back when somebody else wants them. A task of several threads gets them together.

Not here: the sockets (`sharing`), and what a worker does with it (`distributed.worker.allowed`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace
from math import inf
from typing import NamedTuple

from distributed.dataclass import dataclass, field

__all__ = ["QUANTUM_S", "News", "Shares"]

QUANTUM_S = 0.05  # slot-seconds by which another tenant must be behind before it takes a slot over
LINGER_S = 2.0  # who waited for a slot so recently may make up for it; longer than most tasks hold others up


class News(NamedTuple):
    """What a room has to be told, see `sharing`."""

    room: str
    allowed: int
    most: int
    serial: int


@dataclass(slots=True, eq=False, repr=False)
class _Tenant:
    name: str
    weight: float
    number: int  # order of arrival, for ties
    rooms: dict[str, _Room] = field(default_factory=dict)
    time_s: float = 0.0
    slot_seconds: float = 0.0
    wanted_at: float = -inf  # when it last waited for a slot
    floor_s: float = 0.0  # time of a room that comes now


@dataclass(slots=True, eq=False, repr=False)
class _Room:
    """``told`` has what it was allowed and has not confirmed yet, oldest first, after ``confirmed``, which it has."""

    name: str
    tenant: _Tenant
    nthreads: int
    number: int
    running: int = 0
    waiting: int = 0
    least: int = 0  # slots with which its next task could begin, those that run included
    allowed: int = 0
    serial: int = 0
    is_linked: bool = False  # it can be told
    linked_at: int | None = None  # the serial when that began, until it has spoken
    confirmed: int = 0
    told: deque[tuple[int, int]] = field(default_factory=deque)
    time_s: float = 0.0
    wanted_at: float = -inf
    target: int = 0
    given: int = 0  # while targets are found
    rank: int = 0  # likewise: when it was given its last slot

    @property
    def held(self) -> int:
        """Slots that nobody else may use now."""
        return max(self.running, self.confirmed, max((allowed for _, allowed in self.told), default=0))

    @property
    def wanted(self) -> int:
        """Slots that it could use now."""
        return min(self.running + self.waiting, self.nthreads)


class Shares:
    """The slots of one offer.

    Args:
        cores: how many there are, >= 0.
    Attributes:
        next_wakeup: when it wants a `tick`; None: never.
    """

    def __init__(self, cores: int, quantum_s: float = QUANTUM_S) -> None:
        self.cores = cores
        self.next_wakeup: float | None = None
        self._quantum_s = quantum_s
        self._rooms: dict[str, _Room] = {}
        self._tenants: dict[str, _Tenant] = {}
        self._floor_s = 0.0  # time of who comes now
        self._numbers = 0
        self._charged_at: float | None = None
        self._news: dict[_Room, None] = {}
        self._is_due = False  # something has happened since slots were shared out

    # ------------------------------------------------------------ events

    def open_room(self, room: str, tenant: str, nthreads: int, weight: float, now: float) -> None:
        """A room that has `nthreads` slots of its own and may use none of them yet; its name must be new.

        Args:
            weight: > 0, of the tenant; it is entitled to so many times what one of weight 1 gets.
        """
        self._charge(now)
        self._numbers += 1
        owner = self._tenants.get(tenant)
        if owner is None:
            owner = self._tenants[tenant] = _Tenant(tenant, weight, self._numbers, time_s=self._floor_s)
        owner.weight = weight
        self._rooms[room] = owner.rooms[room] = _Room(room, owner, nthreads, self._numbers, time_s=owner.floor_s)
        self._is_due = True

    def close_room(self, room: str, now: float) -> None:
        """It has ended, and nothing of it runs. Unknown ones are no error."""
        self._charge(now)
        ended = self._rooms.pop(room, None)
        if ended is not None:
            del ended.tenant.rooms[room]
            self._news.pop(ended, None)
            self._is_due = True

    def set_cores(self, cores: int, now: float) -> None:
        """There are so many slots from now on; what runs beyond them ends by itself."""
        self._charge(now)
        self.cores = cores
        self._news.update(dict.fromkeys(self._rooms.values()))  # `most` has changed
        self._is_due = True

    def report(self, room: str, running: int, waiting: int, least: int, serial: int, now: float) -> None:
        """What a room says of itself, having taken in all up to the news `serial`. Unknown rooms are no error."""
        self._charge(now)
        here = self._rooms.get(room)
        if here is None:
            return
        here.running = min(running, here.nthreads)
        here.waiting = min(waiting, here.nthreads)
        here.least = min(max(least, here.running + 1), here.nthreads)
        if serial == 0 and here.linked_at is not None:  # a new process: it knows of nothing that was said before
            here.confirmed = 0
            here.told = deque(said for said in here.told if said[0] > here.linked_at)
        here.linked_at = None
        while here.told and here.told[0][0] <= serial:
            here.confirmed = here.told.popleft()[1]
        self._is_due = True

    def link(self, room: str, is_linked: bool) -> None:
        """The room can be told from now on, or no more; then it has what it had. Unknown rooms are no error."""
        here = self._rooms.get(room)
        if here is not None:
            here.is_linked = is_linked
            here.linked_at = here.serial if is_linked else None
            self._news[here] = None  # it may have missed the last

    def tick(self, now: float) -> None:
        """Look whether somebody has had enough."""
        self._charge(now)
        self._is_due = True

    def take_news(self) -> list[News]:
        """What has changed since the last call for rooms that can be told.

        Slots are shared out now, however much has happened. Cost: O(slots * rooms) if more are wanted than there are.
        """
        if self._is_due:
            self._is_due = False
            self._share(self._charged_at or 0.0)
        news = []
        for room in [room for room in self._news if room.is_linked]:
            del self._news[room]
            room.serial += 1
            room.told.append((room.serial, room.allowed))
            most = max(1, min(self.cores, room.nthreads))
            news.append(News(room.name, room.allowed, most, room.serial))
        return news

    def shares(self) -> dict[str, dict[str, float]]:
        """By tenant: ``slots`` that its tasks have, slots that it waits for, and ``slot_seconds`` it has had in all."""
        return {
            name: {
                "slots": sum(room.running for room in tenant.rooms.values()),
                "waiting": sum(room.waiting for room in tenant.rooms.values()),
                "slot_seconds": tenant.slot_seconds,
            }
            for name, tenant in self._tenants.items()
        }

    # ------------------------------------------------------------ times

    def _charge(self, now: float) -> None:
        """Count what was used since the last time, and who wants something now."""
        passed_s = 0.0 if self._charged_at is None else max(0.0, now - self._charged_at)
        self._charged_at = now
        for room in self._rooms.values():
            if room.running:
                used_s = passed_s * room.running
                room.time_s += used_s
                room.tenant.slot_seconds += used_s
                room.tenant.time_s += used_s / room.tenant.weight
        for room in self._rooms.values():
            if room.waiting:
                room.wanted_at = room.tenant.wanted_at = now
        self._floor_s = _level(list(self._tenants.values()), self._floor_s, now)
        for tenant in list(self._tenants.values()):
            tenant.floor_s = _level(list(tenant.rooms.values()), tenant.floor_s, now)
            if not tenant.rooms and tenant.time_s <= self._floor_s:  # what it has had too much of is made up for
                del self._tenants[tenant.name]

    # ------------------------------------------------------------ sharing out

    def _share(self, now: float) -> None:
        """Allow what should be allowed."""
        rooms = list(self._rooms.values())
        self._find_targets(rooms)
        hungry = [room for room in rooms if room.target > room.allowed]
        if hungry:
            self._take_back(rooms, sum(room.target - room.allowed for room in hungry))
        free = self.cores - sum(max(room.held, room.allowed) for room in rooms)
        for room in sorted(hungry, key=lambda room: room.rank):
            needs = min(room.least, room.target) - room.allowed
            if needs > 1 and free < needs:  # a task of several threads: they are saved up for it
                free = 0
            if free <= 0:
                break
            more = min(free, room.target - room.allowed)
            self._allow(room, room.allowed + more)
            free -= more
        if free > 0 and not any(room.target > room.allowed for room in rooms):
            self._allow_in_advance(rooms, free)
        if sum(max(room.held, room.allowed) for room in rooms) > self.cores:  # the owner lends fewer
            for room in rooms:
                if room.allowed > room.target:
                    self._allow(room, room.target)
        is_contended = sum(room.wanted for room in rooms) > self.cores
        self.next_wakeup = now + self._quantum_s if is_contended and self.cores else None

    def _find_targets(self, rooms: list[_Room]) -> None:
        """How many slots each room should have, were all of them free now: the least time first, one by one."""
        if sum(room.wanted for room in rooms) <= self.cores:
            for each in rooms:
                each.target, each.rank = each.wanted, 0
            return
        left = self.cores
        for each in rooms:
            each.given = each.rank = 0
        turns = [(self._key(tenant), tenant.number, tenant) for tenant in self._tenants.values()]
        heapify(turns)
        skipped: dict[_Room, None] = {}
        count = 0
        while turns and left:
            tenant = turns[0][2]
            room = self._next_room(tenant, skipped)
            if room is None:
                heappop(turns)
                continue
            least = min(room.least, room.wanted, self.cores)
            step = least - room.given if room.running <= room.given < least else 1
            if step > left:
                skipped[room] = None
                continue
            count += 1
            room.given += step
            room.rank = room.rank or count
            left -= step
            heapreplace(turns, (self._key(tenant), tenant.number, tenant))
        for each in rooms:
            each.target = each.given

    def _key(self, tenant: _Tenant) -> float:
        """Whose turn it is: the least. Keeping a slot comes before getting one, for a quantum."""
        given = sum(room.given for room in tenant.rooms.values())
        kept = sum(min(room.allowed, room.wanted) for room in tenant.rooms.values())
        return tenant.time_s + self._quantum_s * (given - (given < kept)) / tenant.weight

    def _next_room(self, tenant: _Tenant, skipped: dict[_Room, None]) -> _Room | None:
        """The room of `tenant` that gets its next slot, by the same rule."""
        best: _Room | None = None
        best_key = (0.0, 0)
        for room in tenant.rooms.values():
            if room.given < room.wanted and room not in skipped:
                key = (room.time_s + self._quantum_s * (room.given - (room.given < room.allowed)), room.number)
                if best is None or key < best_key:
                    best, best_key = room, key
        return best

    def _take_back(self, rooms: list[_Room], wanted: int) -> None:
        """Allow rooms that have too many fewer, as far as that is needed beside what is free or on its way back."""
        missing = wanted - (self.cores - sum(room.allowed for room in rooms))
        for room in sorted(rooms, key=lambda room: (room.wanted - room.allowed, room.rank, room.number)):
            if missing <= 0:
                break
            less = min(missing, room.allowed - room.target)
            if less > 0:
                self._allow(room, room.allowed - less)
                missing -= less

    def _allow_in_advance(self, rooms: list[_Room], free: int) -> None:
        """Nobody waits: what is left may be used at once by whoever wants it first; in turn, those that run first."""
        able = sorted(rooms, key=lambda room: (not room.running, room.number))
        more = dict.fromkeys(able, 0)
        while free:
            able = [room for room in able if room.allowed + more[room] < room.nthreads]
            if not able:
                break
            for room in able[:free]:
                more[room] += 1
            free -= len(able[:free])
        for room, count in more.items():
            if count:
                self._allow(room, room.allowed + count)

    def _allow(self, room: _Room, allowed: int) -> None:
        room.allowed = allowed
        self._news[room] = None


def _level(members: Sequence[_Tenant] | Sequence[_Room], floor_s: float, now: float) -> float:
    """Nobody who has what it wants has less time than those who wait; if nobody waits, than anybody. The least time."""
    times = [member.time_s for member in members if now - member.wanted_at <= LINGER_S]
    floor_s = max([floor_s, min(times)] if times else [floor_s, *(member.time_s for member in members)])
    for member in members:
        if now - member.wanted_at > LINGER_S:
            member.time_s = max(member.time_s, floor_s)
    return floor_s
