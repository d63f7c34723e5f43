"""Invariants of locks, queues and their like: who holds what, whose turn it is, and where every item is."""

from __future__ import annotations

from typing import Any

from distributed.errors import InvariantError
from distributed.scheduler.coordination.invariants import check_coordination
from distributed.scheduler.events import ClientLeft
from distributed.testing.simulation.rulebook import Moment, invariant

_ROWS, _LEFT, _TAKEN = "rows before the event", "clients that left", "items taken"


def _rows(state: Any) -> dict[str, list[Any]]:
    own = state.coordination
    rows = {f"semaphore {name}": list(place.waiting) for name, place in own.semaphores.items()}
    rows.update((f"queue {name}", list(place.waiting)) for name, place in own.queues.items())
    rows.update((f"full queue {name}", list(place.putting)) for name, place in own.queues.items())
    rows.update((f"lock {name}", [r for r in place.waiting if len(r.names) == 1]) for name, place in own.locks.items())
    return rows


@invariant(Moment.BEFORE, "what is about to be handled is remembered")
def rows_are_remembered(world: Any, process: Any, event: Any) -> str | None:
    """No rule; for the next one."""
    if process is world.scheduler and process.machine.state.coordination.requests:
        world.memory[_ROWS] = _rows(process.machine.state)
    else:
        world.memory.pop(_ROWS, None)
    return None


@invariant(Moment.EVENT, "who waits the longest at a place is served first")
def turns_are_kept(world: Any, process: Any, event: Any, effects: list[Any]) -> str | None:
    """Of those in one row, none is answered while one before it still waits."""
    if process is not world.scheduler or _ROWS not in world.memory:
        return None
    own = process.machine.state.coordination
    for name, row in world.memory.pop(_ROWS).items():
        waits = None
        for request in row:
            desk = own.desks.get(request.desk.client.client)
            if desk is request.desk and desk.waiting.get(request.number) is request:
                waits = waits or request
            elif waits is not None and (request.number in request.desk.leases or request.number in request.desk.taking):
                return f"{name}: {request.desk.client.client} before {waits.desk.client.client}"
    return None


@invariant(Moment.EVENT, "coordination at the scheduler is in order")
def coordination_is_in_order(world: Any, process: Any, event: Any, effects: list[Any]) -> str | None:
    """All of its own invariants."""
    if process is not world.scheduler:
        return None
    if isinstance(event, ClientLeft):
        left = world.memory.setdefault(_LEFT, {})
        left[event.client] = left.get(event.client, 0) + 1
    if isinstance(event, ClientLeft) or getattr(getattr(event, "message", None), "op", "") in _OPS:
        try:
            check_coordination(process.machine.state)
        except InvariantError as error:
            return str(error)
    return None


_OPS = frozenset({"coordinate", "withdraw-requests", "take-items", "release-keys", "cancel-keys"})


@invariant(Moment.CLUSTER, "a client holds what it was told that it holds")
def holders_hold(world: Any) -> str | None:
    """Unless the scheduler has forgotten it, which it hears when it comes back."""
    if not world.scheduler.is_alive:
        return None
    state = world.scheduler.machine.state
    for client in world.clients:
        if client.is_alive and client.scheduler is not None and client.scheduler_life == world.scheduler.life:
            desk = state.coordination.desks.get(client.client)
            if desk is not None and client.client in state.clients and client.client not in world.memory.get(_LEFT, {}):
                lost = set(client.coordinator.held) - set(desk.leases)
                if lost:
                    return f"{client.name}: {sorted(lost)}"
    return None


@invariant(Moment.TAKEN, "no item is given to two")
def items_are_given_once(world: Any, client: Any, value: bytes) -> str | None:
    """Unless the first one was forgotten, so that nobody knows whether he had it."""
    taken = world.memory.setdefault(_TAKEN, {})
    life, left = world.scheduler.life, world.memory.get(_LEFT, {})
    before = taken.get(value)
    taken[value] = (client.client, left.get(client.client, 0), life)
    if before is None or before[2] != life or left.get(before[0], 0) != before[1]:
        return None
    return f"{value.decode()}: {before[0]} and {client.client}"


@invariant(Moment.CLUSTER, "no item is lost")
def items_are_somewhere(world: Any) -> str | None:
    """In a queue, with who waits for several, on its way, or taken; as long as the scheduler lives."""
    if not world.put_items or world.memory.get("queues were emptied") or not world.scheduler.is_alive:
        return None
    own = world.scheduler.machine.state.coordination
    there = {item.payload for queue in own.queues.values() for item in queue.items}
    there.update(i.payload for queue in own.queues.values() for request in queue.waiting for i in request.taken)
    there.update(i.payload for desk in own.desks.values() for taking in desk.taking.values() for i in taking.items)
    taken = world.memory.get(_TAKEN, {})
    for value, life in world.put_items.items():
        if life == world.scheduler.life and value not in there and value not in taken:
            return str(value.decode())
    return None


@invariant(Moment.REST, "nothing of coordination is left when every client has left")
def coordination_is_over(world: Any) -> str | None:
    """Places, desks, items."""
    own = world.scheduler.machine.state.coordination
    if own.places or own.desks or own.nbytes or own.held or own.requests:
        return f"{own.places} places, {sorted(own.desks)}, {own.nbytes} bytes"
    return None
