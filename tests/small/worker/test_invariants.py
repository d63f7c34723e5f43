"""The checker sees what is wrong: one contradiction at a time, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distributed.errors import InvariantError
from distributed.worker import invariants
from distributed.worker.records import CopyState, TaskState, WorkerState

P, Q = "tcp://p:1", "tcp://q:1"


def break_key(state: WorkerState) -> None:
    state.tasks["other"] = state.tasks.pop("u")


def break_state(state: WorkerState) -> None:
    state.tasks["u"].state = TaskState.MEMORY


def break_waiting(state: WorkerState) -> None:
    state.tasks["u"].state = TaskState.WAITING


def break_missing(state: WorkerState) -> None:
    state.tasks["u"].missing = {}


def break_copies(state: WorkerState) -> None:
    del state.copies["x"]


def break_waiters(state: WorkerState) -> None:
    state.copies["x"].waiters.clear()


def break_waited(state: WorkerState) -> None:
    state.copies["x"].waiters[9] = state.tasks["u"]


def break_waiter(state: WorkerState) -> None:
    state.copies["y"].waiters[9] = state.copies["y"].waiters.pop(1)


def break_memory(state: WorkerState) -> None:
    state.memory["x"] = 5


def break_size(state: WorkerState) -> None:
    state.memory["z"] = -5


def break_copy_state(state: WorkerState) -> None:
    state.copies["x"].state = CopyState.HELD


def break_copy_peer(state: WorkerState) -> None:
    state.copies["x"].peer = None


def break_copy_place(state: WorkerState) -> None:
    state.copies["x"].state = CopyState.WANTED


def break_holders(state: WorkerState) -> None:
    state.copies["x"].holders.append(P)


def break_own_holder(state: WorkerState) -> None:
    state.copies["x"].holders.append(state.address)


def break_peer_size(state: WorkerState) -> None:
    state.peers[P].nbytes += 1


def break_idle_peer(state: WorkerState) -> None:
    state.peers[Q] = type(state.peers[P])(Q)


def break_waiting_peer(state: WorkerState) -> None:
    state.waiting_peers[P] = None


def break_count(state: WorkerState) -> None:
    state.fetches += 1


def break_tickets(state: WorkerState) -> None:
    state.tickets = 1


BREAKS: dict[Callable[[WorkerState], None], str] = {
    break_key: "a record is listed under its key: other",
    break_state: "only waiting and ready tasks have a record: u",
    break_waiting: "a task waits while something is missing: u",
    break_missing: "missing is None or not empty: u",
    break_copies: "what is missing is a known copy: x",
    break_waiters: "a copy knows who waits for it: x",
    break_waited: "a waiter knows what it waits for: x",
    break_waiter: "a copy knows who waits for it: y",
    break_memory: "a wanted copy is not in memory: x",
    break_size: "sizes are >= 0: memory",
    break_copy_state: "only wanted copies have a record: x",
    break_copy_peer: "a copy has a peer: x",
    break_copy_place: "a copy is queued or under way at its peer: x",
    break_holders: "a holder is asked once: x",
    break_own_holder: "a holder is never ourselves: x",
    break_peer_size: f"a peer's size is the sum of its copies: {P}",
    break_idle_peer: f"a peer has something to do, or rests: {Q}",
    break_waiting_peer: f"a peer waits if it has a queue, no fetch and no rest: {P}",
    break_count: "fetches are counted: 1",
    break_tickets: "tickets grow in the order of tasks",
}


@pytest.mark.parametrize("damage", BREAKS)
def test_a_contradiction_is_named(worker: Any, damage: Callable[[WorkerState], None]) -> None:
    worker.run("t", "u", who_has={"x": [P], "y": [P]}, dependencies=[["x", "y"], None])
    worker.take()
    damage(worker.machine.state)
    with pytest.raises(InvariantError, match="tcp://me:1: ") as caught:
        invariants.check(worker.machine)
    assert BREAKS[damage] in str(caught.value)
