"""Invariants of second attempts: who has them, where and when, and whose answer counts."""

from __future__ import annotations

from typing import Any

from distributed.messages import RunTasks, TasksDone
from distributed.scheduler import invariants
from distributed.scheduler.effects import ToWorker
from distributed.scheduler.events import FromWorker
from distributed.scheduler.records import TaskState
from distributed.testing.simulation.rulebook import Moment, invariant

__all__ = ["second_of"]


def second_of(engine: Any, task: Any) -> tuple[str, int] | None:
    """Where and with what number the second attempt of `task` runs, if one does."""
    second = engine.machine.state.seconds.get(task)
    return None if second is None or second.worker is None else (second.worker.incarnation, second.attempt)


@invariant(Moment.EVENT, "only a task that may run anywhere, twice and for a while already is tried a second time")
def seconds_are_sent_late(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Its client said so, nothing binds it to a worker, and it was sent to another worker long enough ago."""
    if engine is not world.scheduler:
        return None
    sent = world.memory.setdefault(("sent at", engine.life), {})
    state = engine.machine.state
    for effect in effects:
        if type(effect) is not ToWorker or type(effect.message) is not RunTasks:
            continue
        for key, attempt in zip(effect.message.keys, effect.message.attempts, strict=True):
            second = state.workers[effect.address].seconds.get(key)
            if second is None or second.attempt != attempt:
                sent[key] = world.seconds()
                continue
            recipe = world.work.recipes[key]
            spec = recipe.spec
            is_bound = spec.workers or spec.resources or spec.platform or spec.memory_limit_nbytes or spec.actor
            if not spec.redundant or is_bound or spec.threads > 1 or state.tasks[key].deaths:
                return f"{key} to {effect.address}, though it may not"
            if world.seconds() - sent[key] < state.settings.redundant_least_s:
                return f"{key} to {effect.address}, {world.seconds() - sent[key]:.3f} s after the first attempt"
            if state.ready.live:
                return f"{key} to {effect.address}, while {state.ready.live} tasks wait for the first time"
    return None


@invariant(Moment.EVENT, "second attempts are where they may be, and known on both sides")
def seconds_add_up(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """The scheduler's own rule."""
    if engine is world.scheduler:
        invariants.check_seconds(engine.machine.state)
    return None


@invariant(Moment.EVENT, "the first result of a task counts, whichever of its attempts it is of")
def results_count(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Then the task is done."""
    if type(event) is not FromWorker or type(event.message) is not TasksDone:
        return None
    answered = dict(zip(event.message.keys, event.message.attempts, strict=True))
    for task, worker, attempt, _, _, state, second in world.memory["asked"]:
        said = (event.incarnation, answered[task.key])
        is_awaited = state is TaskState.PROCESSING and said in ((worker.incarnation, attempt), second)
        if is_awaited and (task.state is TaskState.PROCESSING or task in engine.machine.state.seconds):
            return f"{task.key}, attempt {answered[task.key]} of {event.incarnation}"
    return None
