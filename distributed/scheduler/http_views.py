"""What the scheduler's JSON routes show: small copies of the machine's state, bounded whatever the cluster's size.

Each view is ``(value, left_out)``: what is too much for one answer is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from distributed.ids import name_of_key
from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord
from distributed.scheduler.snapshot import counts, ncores, status_of
from distributed.scheduler.state import SchedulerState

__all__ = ["info", "memory_load", "memory_load_by_key", "processing", "resources", "tasks", "workers"]

KEYS_MAX = 50_000  # that one answer looks at: some 30 ms, during which nobody is served
WORKERS_MAX = 10_000  # likewise

View = tuple[dict[str, Any], int]


def info(state: SchedulerState) -> View:
    """``ncores`` by worker, and how many workers, clients and threads there are."""
    threads = ncores(state, list(islice(state.workers, WORKERS_MAX)))
    return {
        "ncores": threads,
        "workers": len(state.workers),
        "clients": sum(1 for name in state.clients if name),  # one without a name is the holder of `coordination`
        "nthreads": sum(worker.nthreads for worker in state.workers.values()),
    }, _beyond(state)


def tasks(state: SchedulerState) -> View:
    """How many tasks there are in each state, and in all. Cost: O(1)."""
    found = counts(state)
    return {
        "total": len(state.tasks),
        "processing": found["processing"],
        "in-memory": found["memory"],
        "ready": found["ready"],
        "waiting": found["waiting"],
        "failed": found["erred"],
        "released": found["released"],
    }, 0


def processing(state: SchedulerState) -> View:
    """Keys by worker: what it was sent and has not answered, in the order sent."""
    budget = KEYS_MAX
    shown: dict[str, Any] = {}
    for worker in _workers(state):
        shown[worker.address] = list(islice(worker.processing, budget))
        budget -= len(shown[worker.address])
    return shown, sum(len(worker.processing) for worker in state.workers.values()) - (KEYS_MAX - budget)


def resources(state: SchedulerState) -> View:
    """By worker: load and memory as its last heartbeat told, limits, and what tasks may ask for, in all and free."""
    return {
        worker.address: {
            **_load(worker),
            "resources": dict(worker.resources),
            "resources_free": {name: worker.resources_free.get(name) for name in worker.resources},
        }
        for worker in _workers(state)
    }, _beyond(state)


def workers(state: SchedulerState) -> View:
    """By host: its workers, and what they have and do together."""
    hosts: dict[str, Any] = {}
    for worker in _workers(state):
        host = hosts.setdefault(worker.host, {"workers": {}, "ncores": 0, "processing": 0, "in-memory": 0})
        host["workers"][worker.address] = {"name": worker.name, "status": status_of(worker), **_load(worker)}
        host["ncores"] += worker.nthreads
        host["processing"] += len(worker.processing)
        host["in-memory"] += len(worker.holds)
    return hosts, _beyond(state)


def memory_load(state: SchedulerState) -> View:
    """By worker: bytes of the results it holds."""
    load: dict[str, Any] = {worker.address: 0 for worker in _workers(state)}
    for address, task in _held(state):
        load[address] += task.nbytes
    return load, _unseen(state)


def memory_load_by_key(state: SchedulerState) -> View:
    """By worker and name, which is what the keys of one call have in common: bytes of results, most first."""
    load: dict[str, dict[str, int]] = {worker.address: {} for worker in _workers(state)}
    for address, task in _held(state):
        name = name_of_key(task.key)
        load[address][name] = load[address].get(name, 0) + task.nbytes
    return {address: dict(_ranked(names.items())) for address, names in load.items()}, _unseen(state)


def _ranked(items: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(items, key=lambda item: (-item[1], item[0]))


def _load(worker: WorkerRecord) -> dict[str, Any]:
    return {
        "nthreads": worker.nthreads,
        "cpu_percent": worker.metrics.get("cpu_percent"),
        "memory_nbytes": worker.metrics.get("memory_nbytes"),
        "memory_limit_nbytes": worker.memory_limit_nbytes,
    }


def _workers(state: SchedulerState) -> Iterator[WorkerRecord]:
    return islice(state.workers.values(), WORKERS_MAX)


def _beyond(state: SchedulerState) -> int:
    return max(0, len(state.workers) - WORKERS_MAX)


def _held(state: SchedulerState) -> Iterator[tuple[str, TaskRecord]]:
    """Worker and task of the first `KEYS_MAX` results."""
    pairs = ((worker.address, task) for worker in _workers(state) for task in worker.holds.values())
    return islice(((address, task) for address, task in pairs if task.state is TaskState.MEMORY), KEYS_MAX)


def _unseen(state: SchedulerState) -> int:
    return max(0, sum(len(worker.holds) for worker in state.workers.values()) - KEYS_MAX)
