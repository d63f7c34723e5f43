"""READY tasks by the worker that holds most of what they need, so that whoever has room begins with those.

A wide layer of tasks waits in one queue, from which workers take what they have room for. Were it in the queue's order
only, nearly every task would run where its inputs are not. So unrestricted tasks with dependencies are filed under a
holder, too, and a worker takes first what is filed under itself. With nothing left there it has done its share, see
`shares`, and takes of those of others only what keeps it busy until it can ask again (``Settings.steal_patience_s``).

These are hints: an entry whose task has gone elsewhere is skipped, and all are dropped when no task is queued. Where
data goes later changes nothing. Not here: the queue itself (`queues`), who gets what (`placement`).
"""

from __future__ import annotations

from collections import deque

from distributed.scheduler.estimates import estimate_s
from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["clear_near", "file_near", "forget_near", "pop_near", "should_leave"]

HOLDERS_MAX = 16  # holders looked at per dependency
STALE_MAX = 1000  # entries left behind, beside as many as there are queued tasks

_READY = TaskState.READY


def file_near(state: SchedulerState, task: TaskRecord, level: int) -> None:
    """`task`, unrestricted and just READY, is the first of its level near the holder of most of its input's bytes.

    Ties: the holder named first. Cost: O(dependencies * min(holders, HOLDERS_MAX)).
    """
    best = _holder_of(task)
    if best is None:
        return
    levels = best.near
    queued = levels.get(level)
    if queued is None:
        queued = levels[level] = deque()
        state.near[best] = None
    queued.appendleft(task)
    state.near_entries += 1
    if state.near_entries > 2 * state.ready.live + STALE_MAX:
        _drop_stale(state)


def pop_near(state: SchedulerState, worker: WorkerRecord, level: int) -> TaskRecord | None:
    """The next task of `level` that waits near `worker`; None: there is none. Cost: O(1), amortised."""
    queued = worker.near.get(level)
    while queued:
        task: TaskRecord = queued.popleft()
        state.near_entries -= 1
        if task.state is _READY and not task.deaths:
            return task
    if queued is not None:
        del worker.near[level]
        if not worker.near:
            del state.near[worker]
    return None


def should_leave(state: SchedulerState, task: TaskRecord, worker: WorkerRecord, occupancy_s: float) -> bool:
    """Whether `worker`, all of whose threads have work, leaves `task` to others, who hold inputs of it.

    So it does when it has enough until it can ask again, or when they will be through with all that soon.

    Args:
        occupancy_s: of the worker, as of now. Cost: as `file_near`.
    """
    patience_s = state.settings.steal_patience_s
    left_s = state.ready.live * estimate_s(state, task) / (max(1, len(state.near)) * worker.nthreads)
    if occupancy_s < patience_s * worker.nthreads and left_s > patience_s:
        return False
    has_holder = False
    for dependency in task.dependencies or ():
        if dependency.key in worker.holds:
            return False
        holders = zip(dependency.who_has or (), range(HOLDERS_MAX), strict=False)
        has_holder = has_holder or any(holder.is_serving for holder, _ in holders)
    return has_holder


def forget_near(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` is dead: nothing waits near it."""
    if worker in state.near:
        state.near_entries -= sum(map(len, worker.near.values()))
        worker.near.clear()
        del state.near[worker]


def clear_near(state: SchedulerState) -> None:
    """No unrestricted task is queued: drop what is left behind."""
    for worker in list(state.near):
        forget_near(state, worker)


def _holder_of(task: TaskRecord) -> WorkerRecord | None:
    dependencies = task.dependencies or ()
    if len(dependencies) == 1:
        holders = dependencies[0].who_has
        return next(iter(holders)) if holders else None
    held_by: dict[WorkerRecord, int] = {}
    for dependency in dependencies:
        for holder, _ in zip(dependency.who_has or (), range(HOLDERS_MAX), strict=False):
            held_by[holder] = held_by.get(holder, 0) + dependency.nbytes
    return max(held_by, key=held_by.__getitem__, default=None)


def _drop_stale(state: SchedulerState) -> None:
    for worker in list(state.near):
        for level, queued in list(worker.near.items()):
            live = deque(dict.fromkeys(task for task in queued if task.state is _READY and not task.deaths))
            state.near_entries -= len(queued) - len(live)
            if live:
                worker.near[level] = live
            else:
                del worker.near[level]
        if not worker.near:
            del state.near[worker]
