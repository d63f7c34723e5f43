"""How many workers the queued work would keep busy: what adaptive clusters ask.

Not here: starting and ending workers (`deploy`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from math import ceil

from distributed.scheduler.placement import candidates, effective
from distributed.scheduler.queues import ReadyQueue
from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["desired_workers"]

UNKNOWN_S = 0.5  # a task of a function that has not ended yet, as in dask
SAMPLE = 1000  # tasks of a queue that stand for all of it
SAMPLE_HERE = 8  # tasks of a worker that stand for all of its
QUEUES_MAX = 1000  # restricted queues looked at; the rest wait for another time
MEMORY_HIGH = 0.6  # of all limits together: there spilling begins, and another worker would help


def desired_workers(state: SchedulerState, target_s: float) -> int:
    """Workers, of as many threads as those of today have in the mean, that would do all queued work in `target_s`.

    Never more than there are tasks to run, at least one if there is any, one more than today when memory is short;
    tasks that no worker of today could run do not count. Cost: O(workers), and a sample of every queue.

    Args:
        target_s: seconds, > 0.
    """
    tasks, work_s = 0, 0.0  # tasks that take several threads count as so many
    for worker in state.workers.values():
        tasks += len(worker.processing) - worker.lent_count + worker.wide
        work_s += _work_at(state, worker)
    for queue in chain((state.ready,), islice(state.queues.values(), QUEUES_MAX)):
        if queue.live and _can_run(state, queue):
            sample = islice((task for level in queue.levels.values() for task in level), SAMPLE)
            wanted = queue.live * queue.restriction.threads
            tasks += wanted
            work_s += wanted * _mean_s(task for task in sample if queue.has(task))
    present = len(state.workers)
    nthreads = sum(worker.nthreads for worker in state.workers.values()) / present if present else 1.0
    desired = ceil(min(tasks, max(work_s / target_s, 1.0)) / nthreads) if tasks else 0
    return max(desired, present + 1) if _is_memory_short(state) else desired


def _work_at(state: SchedulerState, worker: WorkerRecord) -> float:
    """Seconds of work at `worker`; what has been running for long will, for all we know, run as long again."""
    count = len(worker.processing) - worker.lent_count
    if not count:
        return 0.0
    silent_s = state.now - worker.reported_s
    return max(count * _mean_s(islice(worker.processing.values(), SAMPLE_HERE)), min(count, worker.nthreads) * silent_s)


def _mean_s(tasks: Iterable[TaskRecord]) -> float:
    """Seconds that one of `tasks` takes in the mean."""
    seconds = [
        UNKNOWN_S if task.function is None or task.function.estimate_s is None else task.function.mean_s
        for task in tasks
    ]
    return sum(seconds) / len(seconds) if seconds else UNKNOWN_S


def _can_run(state: SchedulerState, queue: ReadyQueue) -> bool:
    return queue is state.ready or not state.workers or bool(candidates(state, effective(state, queue)))


def _is_memory_short(state: SchedulerState) -> bool:
    limited = [worker for worker in state.workers.values() if worker.memory_limit_nbytes]
    used = sum(worker.metrics.get("memory_nbytes", 0.0) for worker in limited)
    is_work_left = state.counts[TaskState.READY] + state.counts[TaskState.PROCESSING] + state.counts[TaskState.WAITING]
    return bool(is_work_left) and used > MEMORY_HIGH * sum(worker.memory_limit_nbytes or 0 for worker in limited)
