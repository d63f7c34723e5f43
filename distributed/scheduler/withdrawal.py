"""How an attempt is taken from its worker, which is told, and what it leaves behind there is dropped.

Not here: what becomes of the task (`lifecycle`), and who has cause to do it (`stopping`, `silence`, `redundant`).
"""

from __future__ import annotations

from distributed.messages import StopTasks
from distributed.scheduler.placement import touch
from distributed.scheduler.records import TaskRecord, WorkerRecord, end_processing
from distributed.scheduler.state import SchedulerState

__all__ = ["awaits_copy", "call_off", "drop_rejected", "withdraw"]


def withdraw(state: SchedulerState, task: TaskRecord, *, is_cancelled: bool = False, is_forced: bool = False) -> None:
    """Take PROCESSING `task` from its worker, which is told if it lives; the caller changes the state.

    If it `is_cancelled` it is interrupted there, and has a thread until the worker says that it has stopped.
    """
    worker = task.processing_on
    assert worker is not None
    end_processing(task)
    call_off(state, task, worker, task.attempt, is_cancelled=is_cancelled, is_forced=is_forced)


def call_off(
    state: SchedulerState, task: TaskRecord, worker: WorkerRecord, attempt: int, *, is_cancelled: bool, is_forced: bool
) -> None:
    """Have `worker` give up this attempt, which it has no more as far as the books go.

    Its answer may be on the way. Should another task of that key come, it must not be taken for its answer.
    """
    state.attempts_withdrawn = max(state.attempts_withdrawn, attempt)
    worker.rejected.pop(task.key, None)  # cancelling drops data too
    touch(state, worker)
    if is_cancelled and worker.is_alive:
        message = state.outbox.stop.setdefault(worker, StopTasks([], []))
        message.keys.append(task.key)
        message.attempts.append(attempt)
        worker.stopping[task.key, attempt] = task.spec.threads - 1
        worker.wide += task.spec.threads - 1
        if is_forced:
            state.forced[worker, task.key, attempt] = state.now + state.settings.force_patience_s
    else:
        state.outbox.cancel.setdefault(worker, []).append(task.key)
    for dependency in task.dependencies or ():
        # It may have a copy that we have not heard of, or fetch one: later on, a task of that key may be another one.
        if worker.holds.get(dependency.key) is not dependency and not awaits_copy(dependency, worker):
            state.outbox.release.setdefault(worker, []).append(dependency.key)


def awaits_copy(task: TaskRecord, worker: WorkerRecord) -> bool:
    """Whether `worker` has a task that needs `task`, so that it fetches a copy. Cost: O(fewer of the two's tasks)."""
    if worker.seconds and any(task in (second.task.dependencies or ()) for second in worker.seconds.values()):
        return True
    dependents, processing = task.dependents or (), worker.processing
    if len(dependents) < len(processing):
        return any(dependent.processing_on is worker for dependent in dependents)
    return any(task in (other.dependencies or ()) for other in processing.values())


def drop_rejected(state: SchedulerState, worker: WorkerRecord, key: str) -> None:
    """An attempt of `key` at `worker` has ended without a result: data of that key which came otherwise has to go."""
    if key in worker.rejected:
        del worker.rejected[key]
        state.outbox.release.setdefault(worker, []).append(key)
