"""How much of a worker's queue a task takes, before it has run."""

from __future__ import annotations

from distributed.scheduler.records import TaskRecord, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["QUEUE_MEMORY", "estimate_s", "share_s"]

BIG_NBYTES = 1024 * 1024  # results from here on: making one takes so long that a queue behind it hides nothing
QUEUE_MEMORY = 0.1  # of a worker's memory limit: what results of tasks queued there may take, by their mean


def share_s(state: SchedulerState, task: TaskRecord, worker: WorkerRecord) -> float:
    """What `task` takes of its worker's queue: its time, or more if its result is big.

    Big results come one per thread; smaller ones fill no more than QUEUE_MEMORY of the worker's memory. So a wide layer
    of tasks that make data does not run far ahead of those which use it up. Actors come one per thread too: where they
    are made they stay, and quick answers should not draw all of them. A task of several threads takes all their time.
    """
    assert task.function is not None
    share_s, target_s = estimate_s(state, task), state.settings.queue_target_s
    nbytes = task.function.mean_nbytes
    if nbytes >= BIG_NBYTES or task.spec.actor:
        return target_s
    if worker.memory_limit_nbytes:
        share_s = max(share_s, target_s * worker.nthreads * nbytes / (QUEUE_MEMORY * worker.memory_limit_nbytes))
    return min(share_s, target_s) * task.spec.threads


def estimate_s(state: SchedulerState, task: TaskRecord) -> float:
    """How long `task` will take: what its function usually takes, but never more than one thread's queue.

    Unknown functions count as that much too, so each thread gets one task until the first answer. Without the limit
    one long task would close the queue of a worker's other threads as well.
    """
    assert task.function is not None
    usual_s, target_s = task.function.estimate_s, state.settings.queue_target_s
    return target_s if usual_s is None or usual_s > target_s else usual_s
