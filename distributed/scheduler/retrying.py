"""Tasks that failed run once more, and tasks that have not begun are dropped, because a client asks for it.

A retry takes whatever failed before the task along: those failures are the reason of its own. It starts from nothing:
with all of its retries, and without the deaths of workers. Not here: retries after a raise by themselves (`answers`).
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.messages import CancelQueued, RetryKeys
from distributed.scheduler.graph import want
from distributed.scheduler.lifecycle import activate
from distributed.scheduler.records import ClientRecord, TaskRecord, TaskState
from distributed.scheduler.state import SchedulerState, transition
from distributed.scheduler.stopping import cancel

__all__ = ["cancel_queued", "retry_keys"]


def retry_keys(state: SchedulerState, client: ClientRecord, message: RetryKeys) -> None:
    """Run ERRED ones of these again; tell `client` of the others what it would hear if it had just asked for them."""
    known: dict[TaskRecord, None] = {}
    for key in message.keys:
        task = client.wanted.get(key)
        if task is None:
            state.outbox.cancelled.setdefault((client, "the scheduler does not know this key"), []).append(key)
        else:
            known[task] = None
    because = f"{client.client} retries it"
    revived = _erred_before(known)
    for task in revived:
        transition(state, task, TaskState.RELEASED, because)
        task.failure = None
        task.retries_left = task.spec.retries
        task.deaths, task.certificates, task.misses = 0, None, 0
        for holder in task.wanted_by or ():
            state.outbox.lost.setdefault((holder, True), []).append(task.key)
    activate(state, [task for task in revived if task.wanted_by is not None], because)
    # Of those that wait no answer is due but their end; what ended meanwhile is told again.
    want(state, client, [task for task in known if task not in revived])
    state.unneeded.extend(task for task in revived if task.wanted_by is None)


def _erred_before(tasks: Iterable[TaskRecord]) -> dict[TaskRecord, None]:
    """Of `tasks` and all that they need those which are ERRED and have a recipe, each after what it needs.

    What was let go and has to be computed again may need such ones too: an actor that was lost since, for example.
    """
    found: dict[TaskRecord, None] = {}
    stack = [task for task in tasks if task.state is TaskState.ERRED and task.function is not None]
    while stack:
        task = stack.pop()
        if task not in found:
            found[task] = None
            stack.extend(
                dependency
                for dependency in task.dependencies or ()
                if dependency.function is not None and dependency.state in (TaskState.ERRED, TaskState.RELEASED)
            )
    return dict.fromkeys(task for task in reversed(found) if task.state is TaskState.ERRED)


def cancel_queued(state: SchedulerState, client: ClientRecord, message: CancelQueued) -> None:
    """Cancel those of these that only `client` wants and no worker has; it hears of them, the others go on."""
    queued = [
        key
        for key in message.keys
        if (task := client.wanted.get(key)) is not None
        and len(task.wanted_by or ()) == 1
        and not task.dependents
        and (task.state is TaskState.WAITING or task.state is TaskState.READY)
    ]
    cancel(state, queued, f"cancelled by {client.client} before it began")
