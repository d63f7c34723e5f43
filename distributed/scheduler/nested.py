"""Tasks that run tasks: they lend their slot while they wait, and clients inside workers end with their worker.

A task that lent its slot stays PROCESSING with its worker and keeps its resources, but takes no room: others are placed
in its stead, its own children first, which are deeper (`queues.level_of`). A client that a worker's tasks use is told
by the process it lives in. When that worker's death is final its session is ended, and what it holds is let go a
little later: the parents run again meanwhile, and find under the same keys what their children had done.
"""

from __future__ import annotations

from collections.abc import Iterator

from distributed.messages import TasksLent, TasksRejoined
from distributed.scheduler import redundant
from distributed.scheduler.effects import EndClient
from distributed.scheduler.estimates import share_s
from distributed.scheduler.graph import leave_client
from distributed.scheduler.placement import touch
from distributed.scheduler.records import TaskRecord, WorkerRecord, lend_slot, rejoin_slot
from distributed.scheduler.state import SchedulerState

__all__ = ["drop_orphans", "orphan_clients", "tasks_lent", "tasks_rejoined"]


def tasks_lent(state: SchedulerState, worker: WorkerRecord, message: TasksLent) -> None:
    """These wait: their slots are free for others."""
    redundant.wait_alone(state, worker, message)
    for task in _those_here(worker, message):
        lend_slot(task, worker)
    touch(state, worker)


def tasks_rejoined(state: SchedulerState, worker: WorkerRecord, message: TasksRejoined) -> None:
    """These go on; with what was placed in their stead the worker may now have more than it has slots."""
    for task in _those_here(worker, message):
        rejoin_slot(task, worker, share_s(state, task, worker))
    touch(state, worker)


def _those_here(worker: WorkerRecord, message: TasksLent | TasksRejoined) -> Iterator[TaskRecord]:
    for key, attempt in zip(message.keys, message.attempts, strict=True):
        task = worker.processing.get(key)
        if task is not None and task.attempt == attempt:
            yield task


def orphan_clients(state: SchedulerState, worker: WorkerRecord) -> None:
    """The death of `worker` is final: end the sessions of the clients in its process. Cost: O(clients)."""
    if not worker.process:
        return
    for client in state.clients.values():
        if client.process == worker.process and client.orphaned_at is None:
            client.orphaned_at = state.now
            state.orphans[client.client] = state.now + state.settings.orphan_patience_s
            state.effects.append(EndClient(client.client, f"the worker {worker.address}, in which it was, died"))


def drop_orphans(state: SchedulerState) -> None:
    """Let go of what the clients of dead workers held, when its time has come."""
    while state.orphans:
        client, deadline = next(iter(state.orphans.items()))
        if deadline > state.now:
            return
        leave_client(state, client)
