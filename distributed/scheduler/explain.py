"""Why a task is where it is: one sentence for people, and the keys or addresses that it waits for."""

from __future__ import annotations

from distributed.scheduler.placement import candidates, effective
from distributed.scheduler.queues import UNRESTRICTED, Restriction, restriction_of
from distributed.scheduler.records import Room, TaskRecord, TaskState
from distributed.scheduler.state import SchedulerState

__all__ = ["Why", "why"]

BLOCKERS_MAX = 20  # named; the sentence says how many there are


class Why(str):
    """A sentence, with what it was made of.

    Attributes:
        state: the task's state in lower case, "unknown" if there is no such task.
        reason: a word for programs: ``unknown``, ``done``, ``failed``, ``released``, ``running``, ``lent``,
            ``asked-back``, ``dependencies``, ``lost``, ``no-workers``, ``no-match``, ``paused``, ``suspect``,
            ``resources``, ``busy``.
        blockers: keys (``dependencies``) or addresses (others) that it waits for, at most 20.
    """

    __slots__ = ("blockers", "reason", "state")

    state: str
    reason: str
    blockers: list[str]

    def __new__(cls, text: str, state: str, reason: str, blockers: list[str] | None = None) -> Why:
        self = super().__new__(cls, text)
        self.state, self.reason, self.blockers = state, reason, (blockers or [])[:BLOCKERS_MAX]
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return Why, (str(self), self.state, self.reason, self.blockers)


def why(state: SchedulerState, key: str) -> Why:
    """Why `key` is not done, or that it is. Cost: O(dependencies), for a restricted READY task O(workers)."""
    task = state.tasks.get(key)
    if task is None:
        return Why(f"{key} is not known: never submitted, released or cancelled.", "unknown", "unknown")
    name = task.state.name.lower()
    if task.state is TaskState.MEMORY:
        holders = [worker.address for worker in task.who_has or ()]
        return Why(f"{key} is done; {len(holders)} worker(s) hold it.", name, "done", holders)
    if task.state is TaskState.ERRED:
        kind, text = (task.failure or ["", ""])[:2]
        return Why(f"{key} failed: {kind}: {text}", name, "failed")
    if task.state is TaskState.RELEASED:
        return Why(f"{key} was computed and let go; it is computed again when somebody needs it.", name, "released")
    if task.state is TaskState.PROCESSING:
        return _processing(task, name)
    if task.state is TaskState.WAITING:
        waits = [d.key for d in task.dependencies or () if d.state is not TaskState.MEMORY]
        return Why(f"{key} waits for {len(waits)} dependencies, first {waits[0]}.", name, "dependencies", waits)
    return _ready(state, task, name)


def _processing(task: TaskRecord, name: str) -> Why:
    worker = task.processing_on
    assert worker is not None
    if not worker.is_alive:
        text = f"{task.key} was on {worker.address}, which is lost; its nanny is given time to say what happened."
        return Why(text, name, "lost", [worker.address])
    if worker.asked_until is not None and worker.asked.get(task.key) == task.attempt:
        text = f"{task.key} waits at {worker.address} and is asked back, because threads idle elsewhere."
        return Why(text, name, "asked-back", [worker.address])
    if worker.lent.get(task.key):
        text = f"{task.key} runs at {worker.address} and waits there, for other tasks or outside; its slot is lent."
        return Why(text, name, "lent", [worker.address])
    return Why(f"{task.key} is with {worker.address} (attempt {task.attempt}).", name, "running", [worker.address])


def _ready(state: SchedulerState, task: TaskRecord, name: str) -> Why:
    key = task.key
    if not state.workers:
        return Why(f"{key} could start, but there are no workers.", name, "no-workers")
    restriction = restriction_of(task)
    if restriction == UNRESTRICTED:
        if not any(worker.is_serving for worker in state.workers.values()):
            return _paused(key, name, list(state.workers))
        return Why(f"{key} could start, but all {len(state.workers)} workers are busy.", name, "busy")
    restriction = effective(state, state.queues[restriction])
    matching = candidates(state, restriction)
    addresses = [worker.address for worker in matching]
    if not matching:
        text = f"{key} may only run {_where(restriction)}; none of the {len(state.workers)} workers is such a one."
        return Why(text, name, "no-match")
    if not any(worker.is_serving for worker in matching):
        return _paused(key, name, addresses)
    if restriction.is_suspect:
        text = f"{key} ran when {task.deaths} worker(s) died, so it waits for one of {len(matching)} to be empty."
        return Why(text, name, "suspect", addresses)
    if restriction.is_loose:
        wish = ", ".join(restriction.workers or ())
        return Why(f"{key} prefers {wish}; all {len(matching)} matching workers are busy.", name, "busy", addresses)
    if restriction.resources is not None and any(worker.room is not Room.CLOSED for worker in matching):
        text = f"{key} may only run {_where(restriction)}; at {len(matching)} matching workers others use them now."
        return Why(text, name, "resources", addresses)
    text = f"{key} may only run {_where(restriction)}; all {len(matching)} matching workers are busy."
    return Why(text, name, "busy", addresses)


def _paused(key: str, name: str, addresses: list[str]) -> Why:
    text = f"{key} could start, but all {len(addresses)} workers that may run it are short of memory or about to leave."
    return Why(text, name, "paused", addresses)


def _where(restriction: Restriction) -> str:
    parts = []
    if restriction.workers is not None:
        parts.append(f"on {', '.join(restriction.workers) or 'nobody'}")
    if restriction.platform is not None:
        parts.append(f"where a tag matches {restriction.platform!r}")
    if restriction.resources is not None:
        parts.append("with " + ", ".join(f"{name}={amount:g}" for name, amount in restriction.resources))
    return " ".join(parts) or "anywhere"
