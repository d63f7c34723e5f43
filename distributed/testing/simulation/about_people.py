"""Invariants of what people see and give: output of tasks, equipment of workers."""

from __future__ import annotations

from typing import Any

from distributed.messages import KeysPrinted
from distributed.testing.simulation.rulebook import Moment, invariant


@invariant(Moment.TOLD, "a client hears what tasks print whose results, or what was made of them, it has wanted")
def only_own_output(world: Any, client: Any, message: Any) -> str | None:
    """And exactly what they print."""
    if type(message) is not KeysPrinted:
        return None
    for key, stream, text in zip(message.keys, message.streams, message.texts, strict=True):
        if key in world.addresses_seen:
            continue  # a worker says what it goes on without
        if stream != "stdout" or text != f"{key} says\n":
            return f"{client.name}: {key} does not print {text!r}"
        names = _with_parents(world, key)
        if not any(names & world.work.ancestors(wanted).keys() for wanted in client.ever_held):
            return f"{client.name} has never wanted anything of {key}"
    return None


def _with_parents(world: Any, key: str) -> set[str]:
    """`key`, the task that submitted it, and so on; asked only for membership."""
    names = {key}
    while (recipe := world.work.recipes.get(key)) is not None and recipe.spec.parent is not None:
        key = recipe.spec.parent
        names.add(key)
    return names


@invariant(Moment.BEGIN, "a task begins when its worker has all equipment that came before it")
def equipped_first(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """Whether or not all of it could be taken in."""
    required = worker.toolbox.required(task.ticket)
    if required > worker.toolbox.taken:
        return f"{task.key} on {worker.name}: {required} came before it, {worker.toolbox.taken} was taken in"
    return None


@invariant(Moment.REST, "every worker has the equipment that there is, and no other")
def all_are_equipped(world: Any) -> str | None:
    """But for what it could not take in; and nobody waits for an answer."""
    state = world.scheduler.machine.state
    if state.kit.under_way:
        return f"{sorted(state.kit.under_way)} are under way"
    for worker in world.workers:
        if not worker.is_alive or worker.scheduler is None:
            continue
        failed = worker.toolbox.failed
        there = {place: bytes(item.payload) for place, item in state.kit.items.items() if item.serial not in failed}
        if worker.toolbox.items != there:
            return f"{worker.name} has {sorted(worker.toolbox.items)}, not {sorted(there)}"
    return None


@invariant(Moment.REST, "nothing is remembered of the output of clients that have left")
def output_is_forgotten(world: Any) -> str | None:
    """Neither bounds nor what was left out."""
    printing = world.scheduler.machine.state.printing
    return None if not printing.allowances and not printing.omitted else "of some client"
