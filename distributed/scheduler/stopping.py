"""Cancelling: whatever runs is interrupted, and with force its process is replaced if that does not help.

A task that runs is taken from its worker with `StopTasks`; until the worker says `TasksStopped` it has a thread of the
worker, though no record. With force there is a deadline; when it has passed, the worker's nanny is asked to replace
the process (`ReplaceWorker`). The nanny decides whether that is still needed, and `failures` hears of the rest.

Tasks that were submitted by a task (``spec.parent``) are its children: they are cancelled with it, unless another
parent or another client wants them too.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.messages import CancelKeys, SubmitTasks, TasksStopped
from distributed.scheduler import redundant
from distributed.scheduler.effects import ReplaceWorker
from distributed.scheduler.events import ForgetTasks
from distributed.scheduler.lifecycle import ACTIVE, rest
from distributed.scheduler.placement import touch
from distributed.scheduler.records import ClientRecord, TaskRecord, TaskState, WorkerRecord, remove_want
from distributed.scheduler.state import SchedulerState

__all__ = ["adopt", "cancel", "cancel_keys", "forget_tasks", "replace_stubborn", "stopping_deadline", "tasks_stopped"]

_RELEASED, _ERRED = TaskState.RELEASED, TaskState.ERRED


def cancel_keys(state: SchedulerState, client: ClientRecord, message: CancelKeys) -> None:
    """Cancel these keys, their dependents and children for all clients; who asks is told of unknown keys, too.

    It waits for that: a scheduler that was started anew does not know what the client still holds.
    """
    reason = message.reason or f"cancelled by {client.client}"
    unknown = [key for key in message.keys if key not in state.tasks]
    if unknown:
        state.outbox.cancelled[client, reason] = unknown
        if message.force:
            _force_stopping(state, unknown)
    cancel(state, message.keys, reason, is_forced=message.force)


def cancel(state: SchedulerState, keys: Iterable[str], reason: str, *, is_forced: bool = False) -> None:
    """Stop these tasks, their dependents and children for every client; unknown keys are no error."""
    found = _with_relatives(state, keys)
    for task in found:
        for other in tuple(task.wanted_by or ()):
            remove_want(task, other)
            state.outbox.cancelled.setdefault((other, reason), []).append(task.key)
        if task.state is not _ERRED and task.state is not _RELEASED:
            rest(state, task, _RELEASED, f"cancelled: {reason}", is_cancelled=True, is_forced=is_forced)
    # With all of them at rest nothing needs them: the sweep forgets dependents first, then what they depended on.
    state.unneeded.extend(found)


def forget_tasks(state: SchedulerState, event: ForgetTasks, now: float) -> None:
    """Cancel everything, for everybody; scattered data goes too."""
    cancel(state, list(state.tasks), event.reason)


def _with_relatives(state: SchedulerState, keys: Iterable[str]) -> dict[TaskRecord, None]:
    """The tasks of `keys`, all that depend on them, and the children that nobody else wants."""
    found: dict[TaskRecord, None] = {}
    stack = [task for key in keys if (task := state.tasks.get(key)) is not None][::-1]
    doomed = set(stack)  # asked only for membership
    while stack:
        task = stack.pop()
        if task in found:
            continue
        found[task] = None
        related = [*(task.dependents or ())]
        for child in list(reversed(state.children.get(task.key, {}))):  # the last first: it may need those before
            if _leave_parent(state, child, task.key, doomed):
                related.append(child)
                doomed.add(child)
        doomed.update(task.dependents or ())
        stack.extend(reversed(related))
    return found


# ---------------------------------------------------------------- children


def adopt(state: SchedulerState, client: ClientRecord, message: SubmitTasks) -> None:
    """The tasks that `client` has just submitted are children of the tasks that their specs name."""
    parents = [spec.parent for spec in message.specs]
    for index, key in enumerate(message.keys):
        parent = parents[0 if message.spec_of is None else message.spec_of[index]]
        child = state.tasks.get(key)
        if parent is not None and parent in state.tasks and child is not None and parent != key:
            state.children.setdefault(parent, {})[child] = client
            state.parents.setdefault(child, {})[parent] = None
            if state.seconds:
                redundant.drop(state, state.tasks[parent])


def _leave_parent(state: SchedulerState, child: TaskRecord, parent: str, doomed: set[TaskRecord]) -> bool:
    """`child` is the child of `parent` no more; whether nobody wants it now but those that are `doomed` too."""
    client = state.children[parent].pop(child)
    if not state.children[parent]:
        del state.children[parent]
    others = state.parents[child]
    del others[parent]
    if others:
        return False
    del state.parents[child]
    for dependent in child.dependents or ():
        if dependent not in doomed and (dependent.wanted_by or dependent.state in ACTIVE):
            return False
    return all(other is client for other in child.wanted_by or ())


# ---------------------------------------------------------------- what runs on


def _force_stopping(state: SchedulerState, keys: list[str]) -> None:
    """Some of `keys` may have been cancelled without force before, and run on."""
    named = frozenset(keys)
    for worker in state.workers.values():
        for key, attempt in worker.stopping:
            if key in named and (worker, key, attempt) not in state.forced:
                state.forced[worker, key, attempt] = state.now + state.settings.force_patience_s


def tasks_stopped(state: SchedulerState, worker: WorkerRecord, message: TasksStopped) -> None:
    """These run no more: `worker` has threads free."""
    for pair in zip(message.keys, message.attempts, strict=True):
        worker.wide -= worker.stopping.pop(pair, 0)
        state.forced.pop((worker, *pair), None)
    touch(state, worker)


def stopping_deadline(state: SchedulerState) -> float | None:
    """When the first task that was cancelled with force has had its time."""
    return next(iter(state.forced.values()), None)


def replace_stubborn(state: SchedulerState) -> None:
    """Have the processes replaced in which tasks run on that were cancelled with force.

    A worker without a nanny keeps them: nobody else could start it again.
    """
    due: dict[WorkerRecord, list[str]] = {}
    for (worker, key, attempt), deadline in list(state.forced.items()):  # earliest deadline first
        if deadline > state.now:
            break
        del state.forced[worker, key, attempt]
        if worker.is_alive and worker.nanny is not None:
            due.setdefault(worker, []).append(key)
    for worker, keys in due.items():
        assert worker.nanny is not None
        state.effects.append(ReplaceWorker(worker.nanny, worker.address, worker.incarnation, keys))
