"""Invariants of the order in which the effects of one event leave: they are performed one after the other."""

from __future__ import annotations

from typing import Any

from distributed.messages import CancelTasks, DataAdded, ReleaseData, RunTasks, StopTasks, TasksDone
from distributed.scheduler.effects import ToWorker
from distributed.testing.simulation.rulebook import Moment, invariant
from distributed.worker.effects import Execute, Keep, Stop, ToScheduler, Withdraw


@invariant(Moment.EVENT, "a worker is told to drop a key before it is told to run it, not after")
def drops_come_before_runs(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Else it drops what it was just given to do, or the new result."""
    run: set[tuple[str, str]] = set()
    for effect in effects:
        if type(effect) is ToWorker:
            named = {(effect.address, key) for key in getattr(effect.message, "keys", ())}
            if type(effect.message) is RunTasks:
                run |= named
            elif isinstance(effect.message, (CancelTasks, StopTasks, ReleaseData)) and named & run:
                return f"{sorted(named & run)[:5]}"
    return None


@invariant(Moment.EVENT, "tasks are handed over when what they need is kept and what they replace is withdrawn")
def hand_over_comes_last(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """An executor with an idle thread begins at once."""
    begun: set[str] = set()
    needed: set[str] = set()
    for effect in effects:
        if type(effect) is Execute:
            begun.update(task.key for task in effect.tasks)
            needed.update(key for task in effect.tasks for key in task.dependencies or ())
        elif type(effect) is Keep and needed.intersection(effect.keys):
            return f"{engine.name}: {sorted(needed.intersection(effect.keys))[:5]} are kept too late"
        elif type(effect) is Withdraw and begun.intersection(effect.keys):
            return f"{engine.name}: {sorted(begun.intersection(effect.keys))[:5]} are withdrawn too late"
        elif type(effect) is Stop and begun.intersection(effect.tickets):
            return f"{engine.name}: {sorted(begun.intersection(effect.tickets))[:5]} are stopped too late"
    return None


@invariant(Moment.EVENT, "a worker reports a result before it reports the same as a copy")
def results_come_before_copies(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """The scheduler would take the copy for one that it should not have, and have it dropped."""
    added: set[str] = set()
    for effect in effects:
        if type(effect) is ToScheduler and type(effect.message) is DataAdded:
            added.update(effect.message.keys)
        elif type(effect) is ToScheduler and type(effect.message) is TasksDone and added & set(effect.message.keys):
            return f"{engine.name}: {sorted(added & set(effect.message.keys))[:5]}"
    return None
