"""Read-only copies of the machine's state: all that servers, pages, metrics and the command line see.

Plain dicts, lists, numbers and texts, in joining or submitting order; nothing in them changes afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord
from distributed.scheduler.state import SchedulerState, Transition

__all__ = [
    "clients_info",
    "counts",
    "has_what",
    "nbytes_of",
    "ncores",
    "processing",
    "status_of",
    "story_of",
    "task_info",
    "who_has",
    "worker_info",
    "workers_info",
]


def counts(state: SchedulerState) -> dict[str, int]:
    """Tasks by state (``{"released": 0, "waiting": 3, ...}``; forgotten ones since the start). Cost: O(1)."""
    return {kind.name.lower(): state.counts[kind] for kind in TaskState}


def worker_info(worker: WorkerRecord) -> dict[str, Any]:
    """What there is to say about one worker; ``metrics`` are those of its last heartbeat."""
    return {
        "type": "Worker",
        "id": worker.name,
        "name": worker.name,
        "address": worker.address,
        "host": worker.host,
        "incarnation": worker.incarnation,
        "nanny": worker.nanny,
        "nthreads": worker.nthreads,
        "memory_limit": worker.memory_limit_nbytes,
        "resources": dict(worker.resources),
        "resources_free": dict(worker.resources_free),
        "processing": len(worker.processing) + len(worker.seconds),
        "holds": len(worker.holds),
        "occupancy_s": worker.occupancy_s,
        "status": status_of(worker),
        "metrics": dict(worker.metrics),
    }


def status_of(worker: WorkerRecord) -> str:
    """``running``, ``paused`` (no memory left), ``hung`` (works but says nothing), ``retiring`` or ``lost``."""
    if not worker.is_alive:
        return "lost"
    if worker.is_retiring:
        return "retiring"
    if worker.is_hung:
        return "hung"
    return "paused" if worker.is_paused else "running"


def workers_info(state: SchedulerState) -> dict[str, dict[str, Any]]:
    """``{address: worker_info}`` of living workers, in joining order."""
    return {address: worker_info(worker) for address, worker in state.workers.items()}


def clients_info(state: SchedulerState) -> dict[str, dict[str, int]]:
    """``{client: {"wanted": ..., "functions": ...}}`` in joining order."""
    return {
        name: {"wanted": len(client.wanted), "functions": len(client.functions)}
        for name, client in state.clients.items()
        if name  # else it is the holder of `coordination`
    }


def ncores(state: SchedulerState, addresses: Iterable[str] | None = None) -> dict[str, int]:
    """``{address: nthreads}`` of living workers; asked for by address, unknown ones are left out."""
    return {worker.address: worker.nthreads for worker in _workers(state, addresses)}


def has_what(state: SchedulerState, addresses: Iterable[str] | None = None) -> dict[str, list[str]]:
    """``{address: [key, ...]}`` of living workers; asked for by address, unknown ones have an empty list."""
    if addresses is None:
        return {address: list(worker.holds) for address, worker in state.workers.items()}
    return {
        address: list(worker.holds) if (worker := state.workers.get(address)) is not None else []
        for address in addresses
    }


def processing(state: SchedulerState, addresses: Iterable[str] | None = None) -> dict[str, list[str]]:
    """``{address: [key, ...]}``: what living workers have been sent and not answered, in the order sent."""
    return {worker.address: [*worker.processing, *worker.seconds] for worker in _workers(state, addresses)}


def who_has(state: SchedulerState, keys: Iterable[str] | None = None) -> dict[str, list[str]]:
    """``{key: [address, ...]}``; asked for by key, unknown keys have an empty list."""
    if keys is None:
        return {key: [w.address for w in task.who_has or ()] for key, task in state.tasks.items()}
    found = {key: state.tasks.get(key) for key in keys}
    return {key: [] if task is None else [w.address for w in task.who_has or ()] for key, task in found.items()}


def nbytes_of(state: SchedulerState, keys: Iterable[str] | None = None) -> dict[str, int]:
    """``{key: size}`` of results that exist."""
    tasks = state.tasks.values() if keys is None else [state.tasks[key] for key in keys if key in state.tasks]
    return {task.key: task.nbytes for task in tasks if task.state is TaskState.MEMORY}


def task_info(state: SchedulerState, key: str) -> dict[str, Any] | None:
    """What there is to say about one task, without its payloads; None if it is unknown."""
    task = state.tasks.get(key)
    if task is None:
        return None
    return {
        "key": key,
        "state": task.state.name.lower(),
        "attempt": task.attempt,
        "deaths": task.deaths,
        "retries_left": task.retries_left,
        "priority": task.spec.priority,
        "workers": None if task.spec.workers is None else list(task.spec.workers),
        "resources": dict(task.spec.resources or ()),
        "nbytes": task.nbytes,
        "dependencies": [dependency.key for dependency in task.dependencies or ()],
        "dependents": [dependent.key for dependent in task.dependents or ()],
        "wanted_by": [client.client for client in task.wanted_by or ()],
        "who_has": [worker.address for worker in task.who_has or ()],
        "processing_on": None if task.processing_on is None else task.processing_on.address,
    }


def story_of(state: SchedulerState, key: str) -> list[dict[str, Any]]:
    """What happened to `key`, oldest first, as far as the log reaches back. Cost: O(length of the log).

    Each step has ``at`` (monotonic seconds of the scheduler), ``start`` and ``finish`` (states), ``because``, and
    ``worker`` and ``attempt``, which are None unless it concerns a try to run the task.
    """
    steps = state.log.of(key)
    attempts = _attempts_of(state.tasks.get(key), steps)
    worker: str | None = None
    attempt_at: dict[str, int | None] = {}
    story: list[dict[str, Any]] = []
    for (_, origin, to, because, at), attempt in zip(steps, attempts, strict=True):
        if to is TaskState.PROCESSING:
            worker = because  # which names it, see `placement`
            attempt_at[worker] = attempt
        elif origin is TaskState.PROCESSING and because in attempt_at:
            worker, attempt = because, attempt_at[because]  # of two attempts the one that counted
        is_try = TaskState.PROCESSING in (origin, to)
        story.append({
            "at": at,
            "start": origin.name.lower(),
            "finish": to.name.lower(),
            "because": because,
            "worker": worker if is_try else None,
            "attempt": attempt if is_try else None,
        })  # fmt: skip
    return story


def _attempts_of(task: TaskRecord | None, steps: Sequence[Transition]) -> list[int | None]:
    """The number of the attempt at each step: counted back from that of the task; None in lives before this one."""
    attempts: list[int | None] = []
    attempt = None if task is None else task.attempt
    for _, _, to, _, _ in reversed(steps):
        if to is TaskState.FORGOTTEN:
            attempt = None
        attempts.append(attempt)
        if to is TaskState.PROCESSING and attempt is not None:
            attempt -= 1
    return attempts[::-1]


def _workers(state: SchedulerState, addresses: Iterable[str] | None) -> list[WorkerRecord]:
    if addresses is None:
        return list(state.workers.values())
    return [state.workers[address] for address in addresses if address in state.workers]
