"""Invariants of what clients ask of tasks that exist: retries by hand, and cancels of what has not begun."""

from __future__ import annotations

from typing import Any

from distributed.messages import CancelQueued, CancelTasks, KeysCancelled, RetryKeys, StopTasks
from distributed.scheduler.effects import ToWorker
from distributed.scheduler.events import FromClient
from distributed.scheduler.records import TaskRecord, TaskState
from distributed.testing.simulation.rulebook import Moment, invariant


@invariant(Moment.EVENT, "a late cancel takes no task from a worker")
def late_cancels_spare_workers(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Nor one that another client holds, except what an earlier run of such a task had submitted."""
    if engine is not world.scheduler or type(event) is not FromClient or type(event.message) is not CancelQueued:
        return None
    for effect in effects:
        if type(effect) is ToWorker and isinstance(effect.message, CancelTasks | StopTasks):
            named = set(event.message.keys)
            # Others: what only those needed. Children go with a parent that is queued again.
            taken = [key for key in effect.message.keys if key in named and not _has_relatives(world, key, named)]
            if taken:
                return f"{sorted(taken)} from {effect.address}"
        if getattr(effect, "client", event.client) != event.client and not _is_of_children(world, effect, event):
            return f"{effect.client} is told of it"
    return None


def _has_relatives(world: Any, key: str, named: set[str]) -> bool:
    return any(other in named for other in world.work.relatives(key) if other != key)


def _is_of_children(world: Any, effect: Any, event: FromClient) -> bool:
    """Whether this tells of tasks that went with their parent, and of none that was named.

    What had run may be queued again; the client of the worker that ran it still holds what it had submitted there.
    """
    named = set(getattr(event.message, "keys", ()))
    return type(getattr(effect, "message", None)) is KeysCancelled and all(
        key not in named and not named.isdisjoint(world.work.relatives(key)) for key in effect.message.keys
    )


@invariant(Moment.EVENT, "a retry leaves nothing failed that can run, and counts from nothing")
def retries_begin_anew(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Unless something that it needs cannot be computed."""
    if engine is not world.scheduler or type(event) is not FromClient or type(event.message) is not RetryKeys:
        return None
    state = engine.machine.state
    for key in event.message.keys:
        task = state.tasks.get(key)
        if task is None or event.client not in [client.client for client in task.wanted_by or ()]:
            continue
        if task.state is TaskState.ERRED and not _lacks_something(task):
            return f"{key} is {task.state.name} still"
    return None


def _lacks_something(task: TaskRecord) -> bool:
    todo, seen = [task], {task}
    while todo:
        current = todo.pop()
        if current.state is TaskState.ERRED and current.function is None:
            return True
        for dependency in current.dependencies or ():
            if dependency not in seen:
                seen.add(dependency)
                todo.append(dependency)
    return False
