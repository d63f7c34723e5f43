"""What must hold in a worker's machine between two events; called by tests after each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from distributed.errors import InvariantError
from distributed.worker.copies import FETCHES_MAX
from distributed.worker.machine import WorkerMachine
from distributed.worker.records import CopyState, TaskState, WorkerState

__all__ = ["check"]


def check(machine: WorkerMachine) -> None:
    """Check every rule.

    Raises:
        InvariantError: names the rule that is broken, and where.
    Cost: linear in the size of the state.
    """
    state = machine.state
    for rule, where, holds in _rules(state):
        if not holds:
            raise InvariantError(f"{state.address}: {rule}: {where}")


def _rules(state: WorkerState) -> Iterator[tuple[str, str, bool]]:
    yield from _task_rules(state)
    yield from _copy_rules(state)
    yield from _peer_rules(state)
    yield "an actor's proxy is in memory", "actors", all(key in state.memory for key in state.actors)
    yield from _equipment_rules(state)
    yield "sizes are >= 0", "memory", all(nbytes >= 0 for nbytes in state.memory.values())


def _task_rules(state: WorkerState) -> Iterator[tuple[str, str, bool]]:
    tickets = [record.task.ticket for record in state.tasks.values()]
    yield "tickets grow in the order of tasks", str(tickets[:10]), _grows([0, *tickets, state.tickets + 1])
    here = {record.task.ticket for record in state.tasks.values()}
    yield "what is being stopped has no record", str(state.stopping), not here & set(state.stopping)
    for key, record in state.tasks.items():
        yield "a record is listed under its key", key, record.task.key == key
        yield "only waiting and ready tasks have a record", key, record.state in (TaskState.WAITING, TaskState.READY)
        yield (
            "a task waits while something is missing",
            key,
            (record.state is TaskState.WAITING) == bool(record.missing),
        )
        yield "missing is None or not empty", key, record.missing is None or bool(record.missing)
        for name, copy in (record.missing or {}).items():
            yield "what is missing is a known copy", name, state.copies.get(name) is copy
            yield "a copy knows who waits for it", name, copy.waiters.get(record.task.ticket) is record


def _copy_rules(state: WorkerState) -> Iterator[tuple[str, str, bool]]:
    for key, copy in state.copies.items():
        yield "a copy is listed under its key", key, copy.key == key
        yield "only wanted copies have a record", key, copy.state in (CopyState.WANTED, CopyState.FETCHING)
        yield "a wanted copy is not in memory", key, key not in state.memory
        peer = state.peers.get(copy.peer or "")
        yield "a copy has a peer", key, peer is not None
        assert peer is not None
        place = peer.queue if copy.state is CopyState.WANTED else peer.fetching
        yield "a copy is queued or under way at its peer", key, place.get(key) is copy
        yield "somebody waits for a copy", key, copy.is_wanted
        for ticket, record in copy.waiters.items():
            yield "a waiter is a known task", key, state.tasks.get(record.task.key) is record
            yield (
                "a waiter knows what it waits for",
                key,
                ticket == record.task.ticket and key in (record.missing or {}),
            )
        tried = [address for _, address in copy.gone]
        yield "a holder is asked once", key, _differ([*copy.holders, *copy.refused, *tried, copy.peer])
        yield "a holder is never ourselves", key, state.address not in (copy.peer, *copy.holders)


def _peer_rules(state: WorkerState) -> Iterator[tuple[str, str, bool]]:
    for address, peer in state.peers.items():
        rests = peer.resume_at is not None
        yield "a peer has something to do, or rests", address, bool(peer.queue or peer.fetching) or rests
        yield "who rests is listed", address, rests == (address in state.resting_peers)
        yield "who rests has no fetch under way", address, not (rests and peer.fetching)
        waits = bool(peer.queue and not peer.fetching and not rests)
        yield "a peer waits if it has a queue, no fetch and no rest", address, waits == (address in state.waiting_peers)
        both = [*peer.queue.values(), *peer.fetching.values()]
        yield "a peer's size is the sum of its copies", address, peer.nbytes == sum(copy.nbytes for copy in both)
        for copy in peer.queue.values():
            yield "what is queued is a wanted copy", copy.key, state.copies.get(copy.key) is copy
    busy = sum(bool(peer.fetching) for peer in state.peers.values())
    yield "fetches are counted", str(busy), busy == state.fetches
    yield "fetches are bounded", str(busy), busy <= FETCHES_MAX
    yield "peers wait only if all fetches are used", str(busy), busy == FETCHES_MAX or not state.waiting_peers
    yield "who rests is a known peer", str(busy), all(address in state.peers for address in state.resting_peers)
    yield "who waits is a known peer", str(busy), all(address in state.peers for address in state.waiting_peers)


def _equipment_rules(state: WorkerState) -> Iterator[tuple[str, str, bool]]:
    yield "tasks are held only for equipment", str(len(state.held)), bool(state.equipping) or not state.held
    for ticket, task in state.held.items():
        record = state.tasks.get(task.key)
        is_right = record is not None and record.task is task and record.state is TaskState.READY
        yield "what is held is ready", task.key, is_right and ticket == task.ticket
    serials = [serial for batch in state.equipping.values() for serial in batch]
    yield "equipment comes in order", str(serials), _grows([0, *serials, state.equipment_serial + 1])


def _grows(numbers: list[int]) -> bool:
    return all(one < next_one for one, next_one in itertools.pairwise(numbers))


def _differ(names: Iterable[str | None]) -> bool:
    listed = list(names)
    return len(set(listed)) == len(listed)
