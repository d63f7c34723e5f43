"""Actors: objects that tasks made and that stay on one worker, their *home*; the proxy is the task's result.

The proxy may be copied to workers whose tasks need it, like any small result. The object cannot: its task is done while
its home has it, and has failed with `ActorLostError` from then on, whoever else has copies of the proxy. So an actor is
never copied by an order, never computed again, and ends when nobody needs it. Before it is made its task is a task like
any other. Not here: ways of tasks (`lifecycle`), orders (`movement`, `retirement`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice

from distributed.errors import ActorLostError
from distributed.scheduler.records import TaskRecord, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["actors_of", "best_home", "end_of", "is_home", "made", "movable"]


HOMES_MAX = 64  # workers looked at for an actor that is to be made


def made(state: SchedulerState, tasks: Iterable[TaskRecord], worker: WorkerRecord) -> None:
    """Of `tasks`, which have just come to MEMORY at `worker`, those that are actors live there."""
    for task in tasks:
        if task.spec.actor:
            state.actors[task] = worker
            worker.nactors += 1


def is_home(state: SchedulerState, task: TaskRecord, worker: WorkerRecord) -> bool:
    """Whether `task` is an actor that lives at `worker`."""
    return state.actors.get(task) is worker


def actors_of(state: SchedulerState, worker: WorkerRecord) -> list[TaskRecord]:
    """The actors that live at `worker`, in the order in which they were made. Cost: O(actors)."""
    return [task for task, home in state.actors.items() if home is worker]


def best_home(state: SchedulerState, otherwise: WorkerRecord) -> WorkerRecord:
    """The worker with room, of the first ones, that has fewest actors and tasks per thread. Ties: joined earlier."""
    best, best_rank = otherwise, _crowd(otherwise)
    for worker in islice(chain(state.idle, state.open), HOMES_MAX):
        rank = _crowd(worker)
        if rank < best_rank:
            best, best_rank = worker, rank
    return best


def _crowd(worker: WorkerRecord) -> tuple[float, int]:
    return (worker.nactors + len(worker.processing)) / worker.nthreads, worker.serial


def movable(state: SchedulerState, tasks: Iterable[TaskRecord]) -> list[TaskRecord]:
    """`tasks` without actors: what orders may copy."""
    return [task for task in tasks if task not in state.actors] if state.actors else list(tasks)


def end_of(state: SchedulerState, task: TaskRecord, reason: str) -> ActorLostError:
    """What is said of an actor that is gone, for `reason`; before it leaves MEMORY."""
    home = state.actors.get(task)
    return ActorLostError(task.key, "its worker" if home is None else home.address, reason)
