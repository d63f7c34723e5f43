"""What the whole cluster does, small enough for one screen: workers, tasks by state and function, what is stuck."""

from __future__ import annotations

from itertools import islice
from typing import Any

from distributed.ids import name_of_key
from distributed.scheduler.explain import why_stuck
from distributed.scheduler.records import FunctionRecord, TaskState, WorkerRecord
from distributed.scheduler.snapshot import counts, status_of
from distributed.scheduler.state import SchedulerState

__all__ = ["SAMPLE", "overview"]

SAMPLE = 20_000  # newest tasks that are counted by function: some ms
WORKERS_MAX = 1_000
FUNCTIONS_MAX = 50
STUCK_MAX = 20
RATE_S = 5.0  # over which tasks per second are counted


def overview(state: SchedulerState, now: float) -> dict[str, Any]:
    """Plain data, bounded whatever the cluster's size. Cost: O(SAMPLE + workers)."""
    stuck = [
        [task.key, queue.live, why_stuck(state, queue.restriction)]
        for queue in islice(state.stuck, STUCK_MAX)
        if (task := next((t for level in queue.levels.values() for t in level if queue.has(t)), None)) is not None
    ]
    return {
        "workers": [_worker(worker) for worker in islice(state.workers.values(), WORKERS_MAX)],
        "workers_count": len(state.workers),
        "clients_count": len(state.clients),
        "tasks": counts(state),
        "functions": _functions(state),
        "counted": min(len(state.tasks), SAMPLE),
        "stuck": stuck,
        "tasks_per_s": state.ended.rate(now, RATE_S),
    }


def _worker(worker: WorkerRecord) -> dict[str, Any]:
    count = len(worker.processing)
    return {
        "name": worker.name,
        "address": worker.address,
        "status": status_of(worker),
        "nthreads": worker.nthreads,
        "running": min(count, worker.nthreads),
        "queued": max(0, count - worker.nthreads),
        "holds": len(worker.holds),
        "cpu_percent": worker.metrics.get("cpu_percent"),
        "memory_nbytes": worker.metrics.get("memory_nbytes"),
        "memory_limit_nbytes": worker.memory_limit_nbytes,
    }


def _functions(state: SchedulerState) -> list[dict[str, Any]]:
    """By function: its name, how many of its tasks are in which state, and how long one takes; most tasks first."""
    found: dict[FunctionRecord, list[int]] = {}
    names: dict[FunctionRecord, str] = {}
    for task in islice(reversed(state.tasks.values()), SAMPLE):
        function = task.function
        if function is None:
            continue
        row = found.get(function)
        if row is None:
            row = found[function] = [0] * len(TaskState)
            names[function] = name_of_key(task.key)
        row[task.state] += 1
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1]), names[item[0]]))[:FUNCTIONS_MAX]
    return [
        {
            "name": names[function],
            "tasks": {kind.name.lower(): row[kind] for kind in TaskState if row[kind]},
            "mean_s": None if function.estimate_s is None else function.mean_s,
        }
        for function, row in ranked
    ]
