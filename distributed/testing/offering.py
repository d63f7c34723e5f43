"""`Play`: the machine of an offer, a clock, and what it says, for tests that drive it."""

from __future__ import annotations

from typing import Any

from distributed.offers.records import (
    Begin,
    Join,
    Limits,
    RoomOpened,
    RoomSeen,
    State,
    Tick,
    Wish,
)
from distributed.offers.tenants import Tenants
from distributed.offers.wire import RoomWish
from distributed.units import MiB

__all__ = ["Play", "check", "of_kind"]


class Play:
    """A machine, a clock, and what it said since the last look."""

    def __init__(self, **limits: Any) -> None:
        self.machine = Tenants(Limits(**{"cores": 2, **limits}), "tcp://o:1")
        self.now = 0.0
        self.requests = 0

    def tell(self, event: Any) -> list[Any]:
        """Handle an event; what it causes, with all invariants checked."""
        self.machine.handle(event, self.now)
        check(self.machine)
        return self.machine.take_effects()

    def later(self, seconds: float) -> list[Any]:
        """Let time pass, with every wake-up on its way."""
        until, effects = self.now + seconds, []
        while (when := self.machine.next_wakeup) is not None and when <= until:
            self.now = max(self.now, when)
            effects += self.tell(Tick())
        self.now = until
        return effects

    def join(
        self, tenant: str = "a", lease_s: float = 1000.0, connection: int = 1, owner: str | None = None
    ) -> list[Any]:
        """A Main comes."""
        return self.tell(Join(tenant, owner, tenant.upper(), lease_s, connection))

    def wish(self, tenant: str = "a", workspace: str = "w", wait_s: float = 60.0) -> list[Any]:
        """It wants a room; calls are numbered from 1 on."""
        self.requests += 1
        wish = RoomWish("tcp://s:1", workspace, wait_s=wait_s)
        joined = self.machine.tenants.get(tenant)
        return self.tell(Wish(tenant, None if joined is None else joined.owner, self.requests, wish))

    def open(self, tenant: str = "a", workspace: str = "w") -> str:
        """An open room, seen idle a while ago."""
        (begin,) = of_kind(self.wish(tenant, workspace), Begin)
        self.tell(RoomOpened(begin.room, {"room": begin.room}))
        self.see(begin.room, 10 * MiB)
        return str(begin.room)

    def see(self, room: str, nbytes: int, is_idle: bool = True, holds: int = 0, running: int = 0) -> list[Any]:
        """The room is looked at."""
        return self.tell(RoomSeen(room, nbytes, is_idle, holds, running))


def of_kind(effects: list[Any], kind: type) -> list[Any]:
    """Those of one type, in order."""
    return [effect for effect in effects if type(effect) is kind]


def check(machine: Tenants) -> None:
    """What holds after every event."""
    for room in machine.rooms.values():
        tenant = machine.tenants.get(room.tenant)
        assert tenant is not None or room.state is State.RETIRING
        assert tenant is None or tenant.rooms[room.id] is room
        assert (room.place is not None) or room.state is not State.OPEN
        assert not (room.requests and room.state is State.OPEN)
    for tenant in machine.tenants.values():
        assert all(machine.rooms[name] is room for name, room in tenant.rooms.items())
    there = [room for room in machine.rooms.values() if room.state is not State.ASKED]
    assert len(there) <= machine.limits.rooms_max
    if machine.is_withdrawn:
        assert all(room.state is State.RETIRING for room in machine.rooms.values())
