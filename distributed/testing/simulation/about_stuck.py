"""Invariants of tasks that no worker can run: all of them are reported in time, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from math import inf
from typing import Any

from distributed.messages import KeysStuck
from distributed.scheduler.effects import ToClient
from distributed.scheduler.records import TaskState, amounts_of
from distributed.testing.simulation.rulebook import Moment, invariant

LATE_S = 3.0  # what we promise


def _may_run(task: Any, worker: Any) -> bool:
    """The rule in other words than the scheduler's."""
    spec, limits = task.spec, dict(worker.resources)
    limits.setdefault("memory", worker.memory_limit_nbytes or inf)
    return not (
        worker.is_retiring
        or (
            spec.workers is not None
            and not spec.allow_other_workers
            and not {worker.address, worker.name, worker.host} & set(spec.workers)
        )
        or spec.threads > worker.nthreads
        or (spec.platform is not None and not any(fnmatchcase(tag, spec.platform) for tag in worker.tags))
        or any(limits.get(name, 0.0) < amount for name, amount in amounts_of(spec) or ())
    )


def _is_hopeless(state: Any, task: Any) -> bool:
    return task.state is TaskState.READY and not any(_may_run(task, worker) for worker in state.workers.values())


def _told(effects: list[Any]) -> Iterator[tuple[str, list[str], int, str]]:
    for effect in effects:
        if type(effect) is ToClient and type(effect.message) is KeysStuck:
            message = effect.message
            for keys, count, blocked in zip(message.waiting, message.counts, message.blocked, strict=True):
                yield effect.client, keys, count, blocked


@invariant(Moment.EVENT, "a task is reported as stuck only if no worker can run it, to those who wait for it")
def reports_are_true(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """And it is remembered who was told what, for the next rule."""
    if engine is not world.scheduler:
        return None
    state = engine.machine.state
    for client, keys, count, blocked in _told(effects):
        task = state.tasks.get(blocked)
        if task is None or not _is_hopeless(state, task):
            return f"{client} hears of {blocked}: {task}"
        for key in keys:
            family = [blocked] if key == keys[0] else world.work.ancestors(key)
            roots = [state.tasks[name] for name in family if name in state.tasks]
            if key not in state.clients[client].wanted or not any(_is_hopeless(state, root) for root in roots):
                return f"{client} hears of {key} because of {blocked}"
        if blocked not in world.work.ancestors(keys[0]):
            return f"{client} hears that {keys[0]} needs {blocked}"
        told = world.memory.setdefault(("stuck told", engine.life), {})
        told.update(((client, key), state.tasks[key]) for key in keys)
        if count > len(keys):
            told[client, ""] = None  # the names of some were left out
    return None


@invariant(Moment.CLUSTER, "whoever holds a task that no worker can run hears of it within three seconds")
def reports_are_in_time(world: Any) -> str | None:
    """Looked at now and then: a task counts from when it was seen first, if nobody has joined meanwhile."""
    scheduler = world.scheduler
    if not scheduler.is_alive or scheduler.is_paused:
        return None
    state = scheduler.machine.state
    told = world.memory.get(("stuck told", scheduler.life), {})
    since = world.memory.setdefault(("stuck since", scheduler.life), {})
    seen: dict[Any, tuple[float, int]] = {}
    is_due = state.stuck_at is not None and state.stuck_at <= state.now  # the timer fires after what came before it
    for task in _held_up(state):
        first, joined = since.get(task, (state.now, state.workers_seen))
        seen[task] = (first, joined) if joined == state.workers_seen else (state.now, state.workers_seen)
        if state.now - seen[task][0] > LATE_S and not is_due:
            for client in task.wanted_by or ():
                if (
                    client.is_told
                    and told.get((client.client, task.key)) is not task
                    and (client.client, "") not in told
                ):
                    return f"{client.client} has not heard of {task.key} since {seen[task][0]:.3f}"
    world.memory["stuck since", scheduler.life] = seen
    return None


def _held_up(state: Any) -> dict[Any, None]:
    """The tasks that no worker can run, and those that wait for one of them, at any level."""
    found: dict[Any, None] = {}
    todo = [task for task in state.tasks.values() if _is_hopeless(state, task)]
    while todo:
        task = todo.pop()
        if task not in found:
            found[task] = None
            todo.extend(other for other in task.dependents or () if other.state is TaskState.WAITING)
    return found
