"""Why a task is where it is: one sentence for people, and the keys or addresses that it waits for."""

from __future__ import annotations

from distributed.scheduler.coordination.answering import waits_of
from distributed.scheduler.placement import candidates, effective
from distributed.scheduler.queues import UNRESTRICTED, Restriction, restriction_of
from distributed.scheduler.records import Room, TaskRecord, TaskState
from distributed.scheduler.reserving import has_threads
from distributed.scheduler.state import SchedulerState
from distributed.why import Why

__all__ = ["why", "why_stuck"]

CHAIN_MAX = 1000  # dependencies of dependencies that are followed to the one that holds up the rest


def why(state: SchedulerState, key: str) -> Why:
    """Why `key` is not done, or that it is. Cost: O(dependencies), for a restricted READY task O(workers)."""
    task = state.tasks.get(key)
    if task is None:
        return Why(f"{key} is not known: never submitted, released or cancelled.", "unknown", "unknown")
    name = task.state.name.lower()
    if task.state is TaskState.MEMORY:
        holders = [worker.address for worker in task.who_has or ()]
        home = state.actors.get(task)
        if home is not None:
            return Why(f"{key} is an actor; it lives on {home.address}.", name, "actor", [home.address])
        return Why(f"{key} is done; {len(holders)} worker(s) hold it.", name, "done", holders)
    if task.state is TaskState.ERRED:
        kind, text = (task.failure or ["", ""])[:2]
        return Why(f"{key} failed: {kind}: {text}", name, "failed")
    if task in state.expected:
        text = f"{key} was taken out of a process that had to be replaced, and comes back with the next one."
        return Why(text, name, "rescued")
    if task.state is TaskState.RELEASED:
        return Why(f"{key} was computed and let go; it is computed again when somebody needs it.", name, "released")
    if task.state is TaskState.PROCESSING:
        return _processing(state, task, name)
    if task.state is TaskState.WAITING:
        return _waiting(state, task, name)
    return _ready(state, task, name)


def _waiting(state: SchedulerState, task: TaskRecord, name: str) -> Why:
    """It and, of those that it waits for, the first that waits for nobody else's result."""
    waits = [d.key for d in task.dependencies or () if d.state is not TaskState.MEMORY]
    root, steps = task, 0
    while root.state is TaskState.WAITING and steps < CHAIN_MAX:
        root = next(d for d in root.dependencies or () if d.state is not TaskState.MEMORY)
        steps += 1
    end = f" {why(state, root.key)}" if root.state is not TaskState.WAITING else ""
    return Why(f"{task.key} waits for {len(waits)} dependencies, first {waits[0]}.{end}", name, "dependencies", waits)


def _processing(state: SchedulerState, task: TaskRecord, name: str) -> Why:
    worker = task.processing_on
    assert worker is not None
    if not worker.is_alive:
        text = f"{task.key} was on {worker.address}, which is lost; its nanny is given time to say what happened."
        return Why(text, name, "lost", [worker.address])
    if worker.is_hung:
        text = (
            f"{task.key} is with {worker.address}, which is hung: it works but says nothing, its nanny vouches for it."
        )
        return Why(text, name, "hung", [worker.address])
    if worker.asked_until is not None and worker.asked.get(task.key) == task.attempt:
        text = f"{task.key} waits at {worker.address} and is asked back, because threads idle elsewhere."
        return Why(text, name, "asked-back", [worker.address])
    waits = waits_of(state, task.key)
    if waits:
        text = f"{task.key} runs at {worker.address}: {waits[0].text}."
        return Why(text, name, "coordination", waits[0].blockers)
    if worker.lent.get(task.key):
        text = f"{task.key} runs at {worker.address} and waits there, for other tasks or outside; its slot is lent."
        return Why(text, name, "lent", [worker.address])
    second = state.seconds.get(task)
    if second is not None and second.worker is not None:
        other = second.worker.address
        text = f"{task.key} takes long at {worker.address}, so {other} tries it too; the first result counts."
        return Why(text, name, "redundant", [worker.address, other])
    return Why(f"{task.key} is with {worker.address} (attempt {task.attempt}).", name, "with-worker", [worker.address])


def why_stuck(state: SchedulerState, restriction: Restriction) -> str:
    """Why no worker can run tasks of `restriction`, as the end of a sentence that begins with a key."""
    if not state.workers:
        return "could start, but there are no workers."
    matching = candidates(state, restriction.loosened())
    if not matching:
        return f"may only run {_where(restriction)}; none of the {len(state.workers)} workers is such a one."
    return f"could start, but all {len(matching)} workers that may run it are about to leave."


def _ready(state: SchedulerState, task: TaskRecord, name: str) -> Why:
    key = task.key
    if not state.workers:
        return Why(f"{key} {why_stuck(state, UNRESTRICTED)}", name, "no-workers")
    restriction = restriction_of(task)
    if restriction == UNRESTRICTED:
        matching = list(state.workers.values())
    else:
        restriction = effective(state, state.queues[restriction])
        matching = candidates(state, restriction)
    addresses = [worker.address for worker in matching]
    if not matching:
        return Why(f"{key} {why_stuck(state, restriction)}", name, "no-match")
    if all(worker.is_retiring for worker in matching):
        return Why(f"{key} {why_stuck(state, restriction)}", name, "retiring", addresses)
    if all(worker.is_hung for worker in matching):
        text = (
            f"{key} could start, but all {len(matching)} workers that may run it are hung: they work but say nothing."
        )
        return Why(text, name, "hung", addresses)
    if not any(worker.is_serving for worker in matching):
        text = (
            f"{key} could start, but all {len(matching)} workers that may run it are short of memory or about to leave."
        )
        return Why(text, name, "paused", addresses)
    if restriction == UNRESTRICTED:
        return Why(f"{key} could start, but all {len(matching)} workers are busy.", name, "busy")
    if restriction.is_suspect:
        text = f"{key} ran when {task.deaths} worker(s) died, so it waits for one of {len(matching)} to be empty."
        return Why(text, name, "suspect", addresses)
    if restriction.is_loose:
        wish = ", ".join(restriction.workers or ())
        return Why(f"{key} prefers {wish}; all {len(matching)} matching workers are busy.", name, "busy", addresses)
    where = f"{key} may only run {_where(restriction)};"
    if restriction.threads > 1 and not any(has_threads(worker, restriction.threads) for worker in matching):
        text = f"{where} at none of {len(matching)} matching workers so many are free now."
        return Why(text, name, "threads", addresses)
    if restriction.resources is not None and any(worker.room is not Room.CLOSED for worker in matching):
        text = f"{where} at {len(matching)} matching workers others use them now."
        return Why(text, name, "resources", addresses)
    return Why(f"{where} all {len(matching)} matching workers are busy.", name, "busy", addresses)


def _where(restriction: Restriction) -> str:
    parts = []
    if restriction.workers is not None:
        parts.append(f"on {', '.join(restriction.workers) or 'nobody'}")
    if restriction.platform is not None:
        parts.append(f"where a tag matches {restriction.platform!r}")
    if restriction.threads > 1:
        parts.append(f"with {restriction.threads} threads of one worker")
    if restriction.resources is not None:
        parts.append("with " + ", ".join(f"{name}={amount:g}" for name, amount in restriction.resources))
    return " ".join(parts) or "anywhere"
