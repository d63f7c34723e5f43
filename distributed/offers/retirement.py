"""Which room ends when memory, rooms or cores are short. Pure; the decisions are `tenants`'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from distributed.offers.records import Room, State

__all__ = ["FRESH_S", "busiest_beyond", "fattest", "idle_room", "nbytes_staying", "nbytes_taken"]

FRESH_S = 0.3  # a room that was opened or used just now is not retired: its first task may be on its way


def nbytes_taken(rooms: Iterable[Room]) -> int:
    """By all rooms that have, or will soon have, a process."""
    return sum(room.memory_nbytes for room in rooms if room.state is not State.ASKED)


def nbytes_staying(rooms: Iterable[Room]) -> int:
    """By all rooms, when those that retire have gone."""
    return sum(room.memory_nbytes for room in rooms if room.state in (State.STARTING, State.OPEN))


def idle_room(rooms: Iterable[Room], now: float) -> Room | None:
    """The room to be retired next: idle ones only, without data first, then the one that was used longest ago."""
    idle = [room for room in rooms if room.state is State.OPEN and room.is_idle and now - room.used >= FRESH_S]
    return min(idle, key=lambda room: (room.holds_nbytes > 0, room.used, room.id), default=None)


def fattest(rooms: Iterable[Room], payer_of: Callable[[str], str]) -> Room | None:
    """The room to be killed when nothing is idle: the biggest of the payer who takes most; tenants have one each."""
    there = [room for room in rooms if room.state is State.OPEN]
    by_payer: Counter[str] = Counter()
    for room in there:
        by_payer[payer_of(room.tenant)] += room.memory_nbytes
    return max(there, key=lambda room: (by_payer[payer_of(room.tenant)], room.memory_nbytes, room.id), default=None)


def busiest_beyond(rooms: Iterable[Room], cores: int) -> Room | None:
    """The room to be killed because more than `cores` slots run, so that least is lost; None: none has to."""
    there = [room for room in rooms if room.state in (State.STARTING, State.OPEN)]
    excess = sum(room.running for room in there) - cores
    if excess <= 0:
        return None
    enough = [room for room in there if room.running >= excess]
    if enough:
        return min(enough, key=lambda room: (room.running, room.id))
    return max(there, key=lambda room: (room.running, room.id))
