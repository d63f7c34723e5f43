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

SAMPLE = 10_000  # newest tasks that are counted by function: some 8 ms
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
    count = len(worker.processing) - worker.lent_count
    return {
        "name": worker.name,
        "address": worker.address,
        "status": status_of(worker),
        "nthreads": worker.nthreads,
        "running": min(count, worker.nthreads),
        "queued": max(0, count - worker.nthreads),
        "lent": worker.lent_count,
        "holds": len(worker.holds),
        "cpu_percent": worker.metrics.get("cpu_percent"),
        "memory_nbytes": worker.metrics.get("memory_nbytes"),
        "memory_limit_nbytes": worker.memory_limit_nbytes,
    }


def _functions(state: SchedulerState) -> list[dict[str, Any]]:
    """By function, as the keys name it: how many of its tasks are in which state, how long one takes; most first."""
    found: dict[str, list[int]] = {}
    functions: dict[str, FunctionRecord] = {}
    for task in islice(reversed(state.tasks.values()), SAMPLE):
        if task.function is not None:
            name = name_of_key(task.key)
            row = found.get(name)
            if row is None:
                row = found[name] = [0] * len(TaskState)
                functions[name] = task.function
            row[task.state] += 1
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))[:FUNCTIONS_MAX]
    return [
        {
            "name": name,
            "tasks": {kind.name.lower(): row[kind] for kind in TaskState if row[kind]},
            "mean_s": None if functions[name].estimate_s is None else functions[name].mean_s,
        }
        for name, row in ranked
    ]
