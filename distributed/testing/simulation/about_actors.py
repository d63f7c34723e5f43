"""Actors in the simulation: which tasks make them, and what must hold for their objects.

An object is a number that its worker gives it when it is made. Nobody calls it: calls go past the machines.
"""

from __future__ import annotations

from typing import Any

from distributed.messages import KeysDone, KeysFailed
from distributed.testing.simulation.chance import Stream
from distributed.testing.simulation.rulebook import Moment, invariant
from distributed.testing.simulation.work import Recipe

__all__ = ["give_actors", "is_lost_actor"]

PERCENT = 30  # of the seeds have actors
ACTORS_MAX = 12


def give_actors(draws: Stream, recipes: list[Recipe]) -> None:
    """Some of these tasks make actors; their results are small, as proxies are."""
    if not draws.percent(PERCENT):
        return
    for recipe in draws.some(recipes, ACTORS_MAX):
        recipe.spec = recipe.spec._replace(actor=True)
        recipe.nbytes = 8


@invariant(Moment.WORKER, "a worker has the objects of those actors that its machine knows")
def objects_are_known(world: Any, worker: Any, keys: list[str]) -> str | None:
    """Kept and ended in the right order."""
    if worker.actors.keys() != worker.machine.state.actors.keys():
        return f"{worker.name}: {sorted(worker.actors.keys() ^ worker.machine.state.actors.keys())[:5]}"
    return None


@invariant(Moment.KEY, "an actor that was made is never made again in silence")
def actors_have_one_life(world: Any, key: str) -> str | None:
    """A task that was an actor somewhere is one there, or it has failed, or it was forgotten."""
    state = world.scheduler.machine.state
    task = state.tasks.get(key)
    if task is None or not task.spec.actor:
        return None
    home, known = state.actors.get(task), world.memory.get(("home", key))
    if known is not None and known[0] is task:
        if task.failure is not None:
            del world.memory["home", key]  # everybody was told; whoever retries it wants another one
        elif home is not known[1]:
            return f"{key} lived at {known[1].address}, and now it is {task}, at {home and home.address}"
    elif home is not None:
        world.memory["home", key] = task, home
    return None


@invariant(Moment.CLUSTER, "where the scheduler believes that an actor lives there is its object, and nowhere else")
def objects_are_where_they_are_believed(world: Any) -> str | None:
    """At workers that have nothing under way from or to the scheduler."""
    scheduler = world.scheduler
    if not scheduler.is_alive:
        return None
    for worker in world.workers:
        if not worker.is_alive or worker.is_busy or worker.scheduler is None or not worker.scheduler.is_quiet():
            continue
        record = scheduler.machine.state.workers.get(worker.address)
        if record is None or record.incarnation != worker.incarnation:
            continue
        believed = {task.key for task, home in scheduler.machine.state.actors.items() if home is record}
        if believed != set(worker.actors):
            return f"{worker.name}: {sorted(believed ^ set(worker.actors))[:5]}"
    return None


def is_lost_actor(key: str, message: KeysDone | KeysFailed) -> bool:
    """Whether `message` tells that the actor `key` itself is lost, not what needs it."""
    if isinstance(message, KeysDone):
        return False
    name, _, _, detail = message.failures[message.keys.index(key)]
    return name.endswith("ActorLostError") and isinstance(detail, dict) and detail["key"] == key
