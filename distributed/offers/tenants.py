"""`Tenants`: who uses an offer, which rooms they have, what waits, and what ends when. A pure machine.

A wish is taken up when there are cores, a place and memory for its room; the Main with the fewest rooms comes first,
those of its tickets counted. Until then it waits in its tenant's queue. When memory or places are short, idle rooms are
retired, whosever they are; when memory is short and none is idle, the biggest room of the Main that takes most is
killed (it puts the tasks back and asks again, and waits until there is memory). With a tenant's lease everything of it
ends.

What is not here: who may call what (the server), who gets which slot at which moment (`shares`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from distributed.errors import LeaseOverError, OfferFullError, OfferWithdrawnError, WorkerStartError
from distributed.offers.records import (
    Allow,
    Answer,
    Begin,
    Cast,
    CloseOffer,
    CloseRoom,
    Disconnected,
    End,
    Forget,
    Heard,
    Join,
    Leave,
    Limits,
    Notify,
    Refuse,
    ReturnOffer,
    Room,
    RoomFailed,
    RoomGone,
    RoomOpened,
    RoomSeen,
    State,
    Tenant,
    Tick,
    Unwish,
    Wish,
    WithdrawOffer,
)
from distributed.offers.retirement import FRESH_S, busiest_beyond, fattest, idle_room, nbytes_staying, nbytes_taken
from distributed.offers.wire import TICKETS, tenant_root
from distributed.units import format_nbytes, format_seconds

__all__ = ["Tenants"]

REQUESTS_MAX = 64  # calls that wait for one room; a Main has one
LOOK_AGAIN_S = 1.0  # while somebody waits for what only becomes idle


class Tenants:
    """The machine of an offer.

    Args:
        limits: what is lent.
        offer: its address, for error texts; may be set later.
    Attributes:
        cores, memory_nbytes: what is lent at the moment.
        is_withdrawn: nothing is; is_closed: nor will be.
    """

    def __init__(self, limits: Limits, offer: str = "") -> None:
        self.limits = limits
        self.offer = offer
        self.cores = limits.cores
        self.memory_nbytes = limits.memory_nbytes
        self.is_withdrawn = False
        self.is_closed = False
        self.tenants: dict[str, Tenant] = {}
        self.rooms: dict[str, Room] = {}
        self._effects: list[Any] = []
        self._number = 0
        self._enforced: float | None = None  # when the grace of a withdrawal of a part is over
        self._look_again: float | None = None
        self._handlers: dict[type, Any] = {
            Join: self._on_join,
            Heard: self._on_heard,
            Disconnected: self._on_disconnected,
            Leave: self._on_leave,
            Wish: self._on_wish,
            Unwish: self._on_unwish,
            CloseRoom: self._on_close_room,
            RoomOpened: self._on_opened,
            RoomFailed: self._on_failed,
            RoomGone: self._on_gone,
            RoomSeen: self._on_seen,
            WithdrawOffer: self._on_withdraw,
            ReturnOffer: self._on_return,
            CloseOffer: self._on_close,
            Tick: self._on_tick,
        }

    @property
    def next_wakeup(self) -> float | None:
        """When a lease, the patience of a wish or a grace is over."""
        times = [tenant.ends for tenant in self.tenants.values()]
        times += [room.deadline for room in self.rooms.values() if room.state is State.ASKED]
        times += [time for time in (self._enforced, self._look_again) if time is not None]
        return min(times, default=None)

    def handle(self, event: Any, now: float) -> None:
        """Change state; events about tenants, rooms and calls that are gone are late, and change nothing."""
        self._handlers[type(event)](event, now)
        if not isinstance(event, Heard):
            self._settle(now)

    def take_effects(self) -> list[Any]:
        """What is to be done now, in order."""
        effects, self._effects = self._effects, []
        return effects

    def tenant_of(self, tenant: str, owner: str | None) -> Tenant:
        """The tenant of that name, if `owner` is who admitted it. Raises LeaseOverError."""
        found = self.tenants.get(tenant)
        if found is None or found.owner != owner:
            raise LeaseOverError(self.offer)
        return found

    def tenant_by_root(self, root: str) -> Tenant:
        """The tenant whose tickets have that name. Raises LeaseOverError."""
        for tenant in self.tenants.values():
            if tenant_root(tenant.id) == root:
                return tenant
        raise LeaseOverError(self.offer)

    def payer_of(self, tenant: str) -> str:
        """The tenant whose share and contents are used: itself, or the Main above it that made its ticket."""
        return self.tenants[tenant].payer

    def space_of(self, tenant: str) -> str:
        """Whose contents count as sent: the grant's that admitted the payer, or the owner's, which is empty."""
        payer = self.tenants[self.payer_of(tenant)]
        return payer.owner or ""

    def grant_of(self, name: str) -> str:
        """The grant behind the name of a grant or of a tenant's tickets; empty: the owner. Raises LeaseOverError."""
        return self.space_of(self.tenant_by_root(name).id) if name.startswith(TICKETS) else name

    def why_not_joined(self, tenant: str, owner: str | None) -> Exception | None:
        """Why nobody can join under that name; None: let it come."""
        found = self.tenants.get(tenant)
        if found is not None:
            return None if found.owner == owner else LeaseOverError(self.offer)
        if self.is_closed:
            return OfferWithdrawnError(self.offer)
        cure = "use another offer, or wait until one leaves"
        if len(self.tenants) >= self.limits.tenants_max:
            return OfferFullError(self.offer, f"it has {self.limits.tenants_max} tenants", cure)
        try:
            grant = self.grant_of(owner or "")
        except LeaseOverError as error:
            return error
        guests = [self.space_of(other) for other in self.tenants]
        count_max = self.limits.tenants_per_grant_max
        if grant and guests.count(grant) >= count_max:
            return OfferFullError(self.offer, f"the grant {grant!r} has {count_max} tenants", cure)
        return None

    # ------------------------------------------------------------ tenants

    def _on_join(self, event: Join, now: float) -> None:
        tenant = self.tenants.get(event.tenant)
        is_again = tenant is not None
        if tenant is None:
            payer = self._payer(event.tenant, event.owner)
            tenant = Tenant(event.tenant, event.owner, payer, event.name, event.lease_s, 0.0, now, None)
            self.tenants[tenant.id] = tenant
        tenant.name, tenant.lease_s, tenant.connection = event.name, event.lease_s, event.connection
        tenant.ends = now + tenant.lease_s
        rooms = [room.place for room in tenant.rooms.values() if room.state is State.OPEN]
        self._effects.append(
            Notify(tenant.id, {"notice": "joined", "lease_s": tenant.lease_s, "is_again": is_again, "rooms": rooms})
        )

    def _payer(self, tenant: str, owner: str | None) -> str:
        """Of one that joins: a Main that a ticket was made by is here before, and does not outlive, who shows it."""
        if owner is None or not owner.startswith(TICKETS):
            return tenant
        return next((above.payer for above in self.tenants.values() if tenant_root(above.id) == owner), tenant)

    def _on_heard(self, event: Heard, now: float) -> None:
        tenant = self.tenants.get(event.tenant)
        if tenant is not None:
            tenant.ends = now + tenant.lease_s

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        tenant = self.tenants.get(event.tenant)
        if tenant is not None and tenant.connection == event.connection:
            tenant.connection = None

    def _on_leave(self, event: Leave, now: float) -> None:
        if event.tenant in self.tenants:
            self._forget(event.tenant, event.reason)

    def _forget(self, tenant_id: str, reason: str) -> None:
        tenant = self.tenants.pop(tenant_id)
        for room in list(tenant.rooms.values()):
            self._refuse(room, LeaseOverError(self.offer))
            if room.state is State.ASKED:
                self._drop(room)
            else:
                self._end(room, f"its tenant is gone: {reason}", 0.0)
        root = tenant_root(tenant_id)
        for below in [other.id for other in self.tenants.values() if other.owner == root]:
            if below in self.tenants:
                self._forget(below, f"its Main is gone: {reason}")
        self._effects.append(Forget(tenant_id, reason))

    # ------------------------------------------------------------ wishes

    def _on_wish(self, event: Wish, now: float) -> None:
        tenant = self.tenants.get(event.tenant)
        if tenant is None or tenant.owner != event.owner:
            self._effects.append(Refuse(event.request, LeaseOverError(self.offer)))
            return
        tenant.ends = now + tenant.lease_s
        for room in tenant.rooms.values():
            if room.wish.identity == event.wish.identity and room.state is not State.RETIRING:
                self._wait_for(room, event.request, now)
                return
        if self.is_withdrawn:
            self._effects.append(Refuse(event.request, OfferWithdrawnError(self.offer)))
            return
        asked = [room for room in self._of_main(tenant.id, self.rooms.values()) if room.state is State.ASKED]
        if len(asked) >= self.limits.wishes_per_tenant_max:
            what = f"{self.limits.wishes_per_tenant_max} wishes for rooms of this Main wait already"
            self._effects.append(Refuse(event.request, OfferFullError(self.offer, what, "wait for some of them first")))
            return
        self._number += 1
        threads = min(event.wish.threads or self.limits.cores, self.limits.cores)
        room = Room(f"room-{self._number}", tenant.id, event.wish, threads, now, now + event.wish.wait_s)
        room.requests.append(event.request)
        self._add(tenant, room)

    def _wait_for(self, room: Room, request: int, now: float) -> None:
        if room.state is State.OPEN:
            assert room.place is not None
            room.used = now  # it is about to be
            self._effects.append(Answer(request, room.place))
        elif len(room.requests) >= REQUESTS_MAX:
            what = f"{REQUESTS_MAX} calls wait for the same room"
            self._effects.append(Refuse(request, OfferFullError(self.offer, what, "wait for one of them")))
        else:
            room.requests.append(request)

    def _on_unwish(self, event: Unwish, now: float) -> None:
        for room in self.rooms.values():
            if event.request in room.requests:
                room.requests.remove(event.request)
                if room.state is State.ASKED and not room.requests:
                    self._drop(room)
                return

    def _on_close_room(self, event: CloseRoom, now: float) -> None:
        room = self.rooms.get(event.room)
        if room is None:
            return
        if room.state is State.ASKED:
            self._refuse(room, LeaseOverError(self.offer))
            self._drop(room)
            return
        room.is_expected = True
        self._end(room, "closed by its Main", self.limits.retire_grace_s if event.is_graceful else 0.0)

    # ------------------------------------------------------------ what happens to rooms

    def _on_opened(self, event: RoomOpened, now: float) -> None:
        room = self.rooms.get(event.room)
        if room is None or room.state is not State.STARTING:
            return
        room.state, room.place, room.used = State.OPEN, event.place, now
        tenant = self.tenants[room.tenant]
        tenant.opened += 1
        for request in room.requests:
            self._effects.append(Answer(request, event.place))
        room.requests.clear()

    def _on_failed(self, event: RoomFailed, now: float) -> None:
        room = self.rooms.get(event.room)
        if room is not None:
            self._refuse(room, event.error)
            self._drop(room)

    def _on_gone(self, event: RoomGone, now: float) -> None:
        room = self.rooms.get(event.room)
        if room is None:
            return
        cause = room.cause or event.cause
        is_withdrawn = self.is_withdrawn and room.state is State.RETIRING
        early = WorkerStartError(f"the room ended before it was open: {cause}")
        self._refuse(room, OfferWithdrawnError(self.offer) if is_withdrawn else early)
        self._drop(room)
        notice = {"notice": "room-ended", "room": room.id, "cause": cause, "is_expected": room.is_expected}
        self._effects.append(Notify(room.tenant, notice))

    def _on_seen(self, event: RoomSeen, now: float) -> None:
        room = self.rooms.get(event.room)
        if room is None:
            return
        room.memory_nbytes, room.holds_nbytes, room.running = event.memory_nbytes, event.holds_nbytes, event.running
        if not event.is_idle or not room.is_idle:
            room.used = now
        room.is_idle = event.is_idle

    # ------------------------------------------------------------ the owner's will

    def _on_withdraw(self, event: WithdrawOffer, now: float) -> None:
        is_all = event.cores is None and event.memory_nbytes is None
        self.cores = 0 if is_all else max(0, self.cores - (event.cores or 0))
        if self.memory_nbytes is not None:
            self.memory_nbytes = 0 if is_all else max(0, self.memory_nbytes - (event.memory_nbytes or 0))
        self.is_withdrawn = is_all or not self.cores or self.memory_nbytes == 0
        self._effects.append(Allow(0 if self.is_withdrawn else self.cores))
        left = {"cores": self.cores, "memory_nbytes": self.memory_nbytes, "grace_s": event.grace_s}
        self._effects.append(Cast({"notice": "withdrawn", **left}))
        self._enforced = now + event.grace_s
        if self.is_withdrawn:
            self._enforced = None
            self._end_all("its owner has withdrawn the offer", event.grace_s)

    def _on_return(self, event: ReturnOffer, now: float) -> None:
        if self.is_closed:
            return
        self.cores, self.memory_nbytes = self.limits.cores, self.limits.memory_nbytes
        self.is_withdrawn, self._enforced = False, None
        self._effects.append(Allow(self.cores))
        self._effects.append(Cast({"notice": "returned", "cores": self.cores, "memory_nbytes": self.memory_nbytes}))

    def _on_close(self, event: CloseOffer, now: float) -> None:
        self.is_closed = True
        self._on_withdraw(WithdrawOffer(None, None, event.grace_s), now)

    def _end_all(self, cause: str, grace_s: float) -> None:
        for room in list(self.rooms.values()):
            if room.state is State.ASKED:
                self._refuse(room, OfferWithdrawnError(self.offer))
                self._drop(room)
            else:
                self._end(room, cause, grace_s)

    def _on_tick(self, event: Tick, now: float) -> None:
        for tenant in [tenant for tenant in self.tenants.values() if tenant.ends <= now]:
            if tenant.id not in self.tenants:  # gone with its Main
                continue
            self._forget(tenant.id, f"not heard of for {format_seconds(tenant.lease_s)}, its lease")
        for room in [r for r in self.rooms.values() if r.state is State.ASKED and r.deadline <= now]:
            what = f"no place or memory for a room within {format_seconds(room.wish.wait_s)}; {self._shortage()}"
            self._refuse(room, OfferFullError(self.offer, what, "wait longer, or use another offer"))
            self._drop(room)

    def _shortage(self) -> str:
        taken = format_nbytes(nbytes_taken(self.rooms.values()))
        limit = "no limit" if self.memory_nbytes is None else format_nbytes(self.memory_nbytes)
        return f"{self._count()} of {self.limits.rooms_max} rooms, {taken} of {limit} of memory are taken"

    # ------------------------------------------------------------ after every event

    def _settle(self, now: float) -> None:
        """Enforce what was withdrawn, relieve memory, take up wishes."""
        self._look_again = None
        is_enforcing = self._enforced is not None and now >= self._enforced
        if is_enforcing:
            while (room := busiest_beyond(self.rooms.values(), self.cores)) is not None:
                self._end(room, "its owner has withdrawn cores", 0.0)
            self._enforced = None
        is_in_grace = self._enforced is not None
        self._relieve(now, may_kill=not is_in_grace)
        while (room := self._next_wish()) is not None and self._has_room_for(room, now):
            room.state, room.memory_nbytes = State.STARTING, self._estimate()
            self._effects.append(Begin(room.id))

    def _relieve(self, now: float, may_kill: bool) -> None:
        """Bring what rooms take below the limit, when those that retire have gone."""
        if self.memory_nbytes is None:
            return
        high = int(self.limits.retire_fraction * self.memory_nbytes)
        while nbytes_staying(self.rooms.values()) > high and self._count(State.STARTING) + self._count(State.OPEN) > 1:
            room = idle_room(self.rooms.values(), now)
            if room is None:
                break
            self._retire(room)
        is_over = nbytes_taken(self.rooms.values()) > self.memory_nbytes
        if not may_kill or not is_over or self._count(State.OPEN) < 2:  # a single one has its nanny's limit
            return
        while nbytes_staying(self.rooms.values()) > self.memory_nbytes and self._count(State.OPEN) > 1:
            room = fattest(self.rooms.values(), self.payer_of)
            assert room is not None
            limit = format_nbytes(self.memory_nbytes)
            self._end(room, f"all rooms of the offer together are over its memory of {limit}", 0.0)

    def _next_wish(self) -> Room | None:
        """Of the Main with the fewest rooms, the one that was asked for first."""
        payer_of = {tenant: record.payer for tenant, record in self.tenants.items()}
        asked = [room for room in self.rooms.values() if room.state is State.ASKED]
        taken = Counter(payer_of.get(r.tenant, r.tenant) for r in self.rooms.values() if r.state is not State.ASKED)
        return min(asked, key=lambda room: (taken[payer_of[room.tenant]], room.asked), default=None)

    def _of_main(self, tenant: str, rooms: Iterable[Room]) -> list[Room]:
        """Those of the Main of this tenant: its own, and of tenants that its tickets have let in."""
        payer = self.tenants[tenant].payer
        return [room for room in rooms if room.tenant in self.tenants and self.tenants[room.tenant].payer == payer]

    def _has_room_for(self, wish: Room, now: float) -> bool:
        """Whether `wish` can be taken up now; else makes room for it, if anything can be retired."""
        if self.is_withdrawn:
            return False
        there = [room for room in self.rooms.values() if room.state is not State.ASKED]
        theirs = self._of_main(wish.tenant, there)
        for rooms, count_max in ((there, self.limits.rooms_max), (theirs, self.limits.rooms_per_tenant_max)):
            if len(rooms) >= count_max:
                self._make_room(
                    rooms, sum(room.state is State.RETIRING for room in rooms) > len(rooms) - count_max, now
                )
                return False
        if self.memory_nbytes is None or not there:
            return True
        high = int(self.limits.retire_fraction * self.memory_nbytes)
        if nbytes_taken(there) + self._estimate() <= high:
            return True
        self._make_room(there, nbytes_staying(there) + self._estimate() <= high, now)
        return False

    def _make_room(self, rooms: list[Room], is_coming: bool, now: float) -> None:
        """Retire one of `rooms` unless enough of them `is_coming` free already."""
        if is_coming:
            return
        room = idle_room(rooms, now)
        if room is not None:
            self._retire(room)
        else:
            self._look_again = now + min(LOOK_AGAIN_S, FRESH_S)

    def _retire(self, room: Room) -> None:
        room.is_expected = True
        self._end(room, "it was idle, and others needed its place", self.limits.retire_grace_s)

    def _estimate(self) -> int:
        """What the next room will take, as far as we can tell."""
        limit = self.memory_nbytes
        return self.limits.room_nbytes if limit is None else min(self.limits.room_nbytes, limit // 4)

    def _count(self, state: State | None = None) -> int:
        return sum(r.state is state if state else r.state is not State.ASKED for r in self.rooms.values())

    # ------------------------------------------------------------ relations

    def _add(self, tenant: Tenant, room: Room) -> None:
        tenant.rooms[room.id] = self.rooms[room.id] = room

    def _drop(self, room: Room) -> None:
        del self.rooms[room.id]
        tenant = self.tenants.get(room.tenant)
        if tenant is not None:
            tenant.rooms.pop(room.id, None)

    def _refuse(self, room: Room, error: Exception) -> None:
        self._effects.extend(Refuse(request, error) for request in room.requests)
        room.requests.clear()

    def _end(self, room: Room, cause: str, grace_s: float) -> None:
        """Let a room that has, or will have, a process end; one that retires already may be told to hurry."""
        if room.state is not State.RETIRING:
            room.cause = cause
            room.state = State.RETIRING
        self._effects.append(End(room.id, cause, grace_s))
