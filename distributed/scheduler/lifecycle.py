"""How tasks come to life, fail, are needed no more and are forgotten.

A task is *needed* while a client wants it or a dependent is WAITING, READY or PROCESSING. Whatever takes the last need
away puts the task on ``state.unneeded``; `sweep`, once per event, drops what is still unneeded then. All walks over
graphs use a stack of their own, so a chain of a million tasks is no deep recursion.
Not here: which worker runs a task (`placement`), what a dead worker means (`failures`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distributed.errors import DistributedError, LostDataError
from distributed.messages import Failure
from distributed.scheduler import redundant
from distributed.scheduler.actors import end_of
from distributed.scheduler.placement import leave_queue, push_ready
from distributed.scheduler.records import (
    TaskRecord,
    TaskState,
    remove_replica,
    unlink_dependencies,
)
from distributed.scheduler.state import SchedulerState, transition
from distributed.scheduler.withdrawal import withdraw

__all__ = [
    "ACTIVE",
    "activate",
    "drop_replicas",
    "fail",
    "failure_of",
    "forget_function_if_unused",
    "is_needed",
    "leave_family",
    "lose_replicas",
    "rest",
    "run_again",
    "settle_done",
    "sweep",
]

_RELEASED, _WAITING, _READY, _PROCESSING, _MEMORY, _ERRED, _FORGOTTEN = TaskState
ACTIVE = _ACTIVE = frozenset({_WAITING, _READY, _PROCESSING})


def failure_of(error: DistributedError, data: dict[str, object] | None = None) -> Failure:
    """An error of ours in the form in which failures travel; `data` lets the client rebuild it with its attributes."""
    return [f"{type(error).__module__}.{type(error).__qualname__}", str(error), "", data]


def is_needed(task: TaskRecord) -> bool:
    """Whether a client wants `task` or a dependent that is not finished needs it."""
    return task.wanted_by is not None or task.needed_by > 0


def actor_lost(state: SchedulerState, task: TaskRecord, reason: str) -> Failure:
    """The failure of an actor that is gone for `reason`; asked for before it leaves MEMORY."""
    error = end_of(state, task, reason)
    return failure_of(error, error.data())


def activate(
    state: SchedulerState,
    tasks: Iterable[TaskRecord],
    because: str,
    *,
    order: Iterable[TaskRecord] | None = None,
    is_front: bool = False,
) -> None:
    """Have RELEASED `tasks` computed, and first whatever of their dependencies is RELEASED too.

    Those that depend on something ERRED fail at once. Tasks in other states are left alone. What can start is queued
    in `order` (default: that of `tasks`); dependencies which are not in it come before.
    """
    ready: list[TaskRecord] = []
    roots = [task for task in tasks if task.state is _RELEASED]
    stack: list[TaskRecord] = []
    visited: list[TaskRecord] = []
    for root in roots:
        stack.append(root)
        while stack:
            task = stack.pop()
            if task.state is not _RELEASED or task in state.expected:
                continue
            visited.append(task)
            if task.function is None:
                transition(state, task, _ERRED, "its data is gone and it has no recipe")
                task.failure = failure_of(LostDataError(task.key), {"key": task.key})
                continue
            transition(state, task, _WAITING, because)
            for dependency in task.dependencies or ():
                dependency.needed_by += 1
                if dependency.state is _RELEASED:
                    stack.append(dependency)
    for task in visited:
        if task.state is _WAITING:
            enter_queue_or_wait(state, task, ready, because)
        elif task.function is None:
            _tell_failed(state, task)
    if len(ready) > 1:
        rank = {task: index for index, task in enumerate(roots if order is None else order)}
        ready.sort(key=lambda task: rank.get(task, -1))
    push_ready(state, ready, is_front)


def enter_queue_or_wait(state: SchedulerState, task: TaskRecord, ready: list[TaskRecord], because: str) -> None:
    """WAITING or PROCESSING `task` (with no worker) becomes READY and is put on `ready`, or WAITING, or ERRED.

    The caller gives `ready` to `placement.push_ready`.
    """
    waiting_on = 0
    for dependency in task.dependencies or ():
        if dependency.state is _ERRED:
            assert dependency.failure is not None
            fail(state, task, dependency.failure, f"{dependency.key} failed")
            return
        waiting_on += dependency.state is not _MEMORY
    task.waiting_on = waiting_on
    if not waiting_on:
        transition(state, task, _READY, because)
        ready.append(task)
        return
    if task.state is not _WAITING:
        transition(state, task, _WAITING, because)
    if state.stuck:
        state.stuck_late.append((task, None))


def run_again(state: SchedulerState, tasks: Sequence[TaskRecord], because: str) -> None:
    """PROCESSING `tasks` that no worker has any more are queued again, before others: they have waited longest.

    One that has a second attempt goes on with that.
    """
    ready: list[TaskRecord] = []
    for task in tasks:
        if task.state is _PROCESSING and not (state.seconds and redundant.take_over(state, task)):
            enter_queue_or_wait(state, task, ready, because)
    push_ready(state, ready, is_front=True)


def settle_done(state: SchedulerState, tasks: Iterable[TaskRecord], because: str) -> None:
    """`tasks` have just come to MEMORY: their dependents may start, their dependencies may go."""
    ready: list[TaskRecord] = []
    for task in tasks:
        for dependent in task.dependents or ():
            if dependent.state is _WAITING:
                dependent.waiting_on -= 1
                if not dependent.waiting_on:
                    transition(state, dependent, _READY, because)
                    ready.append(dependent)
        need_dependencies_no_more(state, task)
    push_ready(state, ready, is_front=True)


def need_dependencies_no_more(state: SchedulerState, task: TaskRecord) -> None:
    """`task` has left WAITING, READY and PROCESSING."""
    for dependency in task.dependencies or ():
        dependency.needed_by -= 1
        if not dependency.needed_by and dependency.wanted_by is None:
            state.unneeded.append(dependency)


def fail(state: SchedulerState, task: TaskRecord, failure: Failure, because: str) -> None:
    """`task` (with no worker any more) and all that wait for it, at every level, become ERRED; clients are told.

    A dependent that is PROCESSING goes on: it has its data, or will report that it is missing. None is READY.
    """
    stack = [(task, because)]
    while stack:
        task, because = stack.pop()
        origin = task.state
        if origin is _ERRED:
            continue
        if origin is _PROCESSING and state.seconds:
            redundant.end(state, task)
        transition(state, task, _ERRED, because)
        task.failure = failure
        task.waiting_on = 0
        if origin in _ACTIVE:
            need_dependencies_no_more(state, task)
        _tell_failed(state, task)
        because = f"{task.key} failed"
        stack.extend(
            (dependent, because) for dependent in reversed(tuple(task.dependents or ())) if dependent.state is _WAITING
        )


def _tell_failed(state: SchedulerState, task: TaskRecord) -> None:
    assert task.failure is not None
    for client in task.wanted_by or ():
        state.outbox.tell_failed(client, task.key, task.failure)
    if not is_needed(task):
        state.unneeded.append(task)


def drop_replicas(state: SchedulerState, task: TaskRecord) -> None:
    """Every holder of `task` drops its data; the caller changes the state."""
    for worker in tuple(task.who_has or ()):
        remove_replica(task, worker)
        state.outbox.release.setdefault(worker, []).append(task.key)


def sweep(state: SchedulerState) -> None:
    """Drop what nobody needs: stop it, drop its data, and forget it unless a dependent's record remains."""
    unneeded = state.unneeded
    while unneeded:
        task = unneeded.pop()
        if task.wanted_by is not None or task.needed_by or task.state is _FORGOTTEN:
            continue
        if not task.dependents:
            _forget(state, task, "nobody needs it")
        elif task in state.actors:  # its object ends, and a later need must not make another one in silence
            failure = actor_lost(state, task, "nobody held it any more")
            rest(state, task, _ERRED, "nobody needs it")
            task.failure = failure
        elif task.state is not _ERRED and task.state is not _RELEASED:
            rest(state, task, _RELEASED, "nobody needs it")


def rest(
    state: SchedulerState,
    task: TaskRecord,
    to: TaskState,
    because: str,
    *,
    is_cancelled: bool = False,
    is_forced: bool = False,
) -> None:
    """Bring `task` to rest in state `to`: no worker has it or its data, no queue counts it."""
    origin = task.state
    if origin is _PROCESSING:
        withdraw(state, task, is_cancelled=is_cancelled, is_forced=is_forced)
        if state.seconds:
            redundant.end(state, task, is_cancelled=is_cancelled, is_forced=is_forced)
    elif origin is _MEMORY:
        drop_replicas(state, task)
    transition(state, task, to, because)
    task.waiting_on = 0
    if origin is _READY:
        leave_queue(state, task)
    if origin in _ACTIVE:
        need_dependencies_no_more(state, task)


def _forget(state: SchedulerState, task: TaskRecord, because: str) -> None:
    """Stop `task`, which has no dependents, and take it out of every table; its dependencies may follow."""
    rest(state, task, _FORGOTTEN, because)
    del state.tasks[task.key]
    if state.expected:
        state.expected.pop(task, None)
    if state.parents:
        leave_family(state, task)
    for dependency in unlink_dependencies(task):
        if dependency.wanted_by is None and not dependency.needed_by:
            state.unneeded.append(dependency)
    function = task.function
    if function is not None:
        function.ntasks -= 1
        if not function.ntasks:
            forget_function_if_unused(state, function.digest)


def forget_function_if_unused(state: SchedulerState, digest: bytes) -> None:
    """Forget a known function that no task and no client has any more; workers are told."""
    function = state.functions[digest]
    if function.ntasks or function.clients:
        return
    del state.functions[digest]
    for worker in function.workers:
        del worker.functions[digest]
        state.outbox.forget.setdefault(worker, []).append(digest)


def leave_family(state: SchedulerState, task: TaskRecord) -> None:
    """`task` is nobody's child any more, and nobody's parent."""
    for parent in state.parents.pop(task, ()):
        children = state.children[parent]
        del children[task]
        if not children:
            del state.children[parent]
    for child in state.children.pop(task.key, ()):
        parents = state.parents[child]
        del parents[task.key]
        if not parents:
            del state.parents[child]


def lose_replicas(state: SchedulerState, lost: Sequence[TaskRecord], because: str) -> None:
    """MEMORY `lost` have no holder left: compute again what has a recipe and is needed, tell clients, fail the rest.

    What a nanny has rescued (``state.expected``) waits to come back. An actor that its home has no more has failed, and
    copies of its proxy go. First every state is put right, then tasks are started: they may depend on each other.
    """
    failures: dict[TaskRecord, Failure] = {}
    for task in lost:
        has_recipe = task.function is not None or task in state.expected
        if task in state.actors:
            failures[task] = actor_lost(state, task, because)
            drop_replicas(state, task)
            has_recipe = False
        elif not has_recipe:
            failures[task] = failure_of(LostDataError(task.key), {"key": task.key})
        transition(state, task, _RELEASED if has_recipe else _ERRED, because)
        for client in task.wanted_by or ():
            if task.function is not None and not has_recipe:
                state.outbox.tell_failed(client, task.key, failures[task])
            else:
                state.outbox.lost.setdefault((client, has_recipe), []).append(task.key)
        for dependent in task.dependents or ():
            if dependent.state is _READY:
                transition(state, dependent, _WAITING, f"{task.key} is lost")
                leave_queue(state, dependent)
                dependent.waiting_on = 1
            elif dependent.state is _WAITING:
                dependent.waiting_on += 1
    for task, failure in failures.items():
        task.failure = failure
        for dependent in tuple(task.dependents or ()):
            if dependent.state is _WAITING:
                fail(state, dependent, failure, f"{task.key} is lost")
    state.unneeded.extend(task for task in lost if not is_needed(task))
    activate(state, [task for task in lost if is_needed(task)], because, is_front=True)
