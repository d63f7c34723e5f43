"""Data without a recipe that outlives its process: a nanny took it out before it ended the process.

The nanny says so first (`WorkerReplacing`); when the worker is gone, that data is *expected*: RELEASED, though it has
no recipe and may be needed. Whoever needs it waits. The next life of the worker brings it (`DataRescued`). What has not
come in time is lost.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.errors import LostDataError
from distributed.messages import DataRescued
from distributed.scheduler.events import WorkerReplacing
from distributed.scheduler.lifecycle import fail, failure_of, is_needed, settle_done
from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord, add_replica
from distributed.scheduler.state import SchedulerState, transition

__all__ = ["data_rescued", "expect", "expire_expected", "rescue_deadline", "worker_replacing"]

RESCUED_MAX = 1_000_000  # keys of one worker


def worker_replacing(state: SchedulerState, event: WorkerReplacing, now: float) -> None:
    """A nanny is about to end this life of a worker, and has what it held of `event.rescued`."""
    worker = state.workers.get(event.address)
    if worker is not None and worker.incarnation == event.incarnation:
        worker.rescued = dict.fromkeys(event.rescued[:RESCUED_MAX])


def expect(state: SchedulerState, worker: WorkerRecord, lost: Iterable[TaskRecord]) -> None:
    """`worker` is gone; of what was `lost` with it, that comes back which its nanny has."""
    for task in lost:
        if task.function is None and task.key in worker.rescued:
            state.expected[task] = state.now + state.settings.rescue_patience_s


def data_rescued(state: SchedulerState, worker: WorkerRecord, message: DataRescued) -> None:
    """`worker` has data of its former life again; what is not expected is dropped, it may be of an older task."""
    back: list[TaskRecord] = []
    for key, nbytes in zip(message.keys, message.nbytes, strict=True):
        task = state.tasks.get(key)
        if key in worker.holds:  # said twice
            continue
        if task is None or task not in state.expected or task.state is not TaskState.RELEASED:
            state.outbox.release.setdefault(worker, []).append(key)
            continue
        del state.expected[task]
        transition(state, task, TaskState.MEMORY, f"rescued by {worker.address}")
        task.nbytes = nbytes
        add_replica(task, worker)
        back.append(task)
        for client in task.wanted_by or ():
            state.outbox.tell_done(client, key, None, nbytes)
    settle_done(state, back, "rescued data is back")
    state.unneeded.extend(task for task in back if not is_needed(task))


def rescue_deadline(state: SchedulerState) -> float | None:
    """When the first of what is expected counts as lost."""
    return next(iter(state.expected.values()), None)


def expire_expected(state: SchedulerState) -> None:
    """What has not come back in time is lost."""
    for task, deadline in list(state.expected.items()):  # earliest first
        if deadline > state.now:
            return
        del state.expected[task]
        if task.state is TaskState.RELEASED:
            fail(state, task, failure_of(LostDataError(task.key), {"key": task.key}), "it was not rescued in time")
