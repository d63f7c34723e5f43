"""Run Python functions on many processes and machines.

    from distributed import Client
    client = Client()                                   # a cluster on this machine
    client.gather(client.map(pow, range(10), [2] * 10)) # results in order

Everything public is listed here and imported when first touched. `distributed.core` is the RPC foundation below it.
"""

from __future__ import annotations

from typing import Any

from distributed.lazy import lazy_attributes
from distributed.versions import VERSION as __version__

__all__ = [
    "Actor",
    "ActorFuture",
    "CancelledError",
    "Center",
    "Client",
    "Cluster",
    "Distributed",
    "DistributedManager",
    "DistributedWorker",
    "Distribution",
    "Event",
    "Executor",
    "Future",
    "KilledWorker",
    "LocalCluster",
    "Lock",
    "MultiLock",
    "Nanny",
    "PendingComputation",
    "Pool",
    "Pub",
    "Queue",
    "RemoteData",
    "RemoteExectionError",
    "RemoteExecutionError",
    "Scheduler",
    "SchedulerPlugin",
    "Semaphore",
    "Sides",
    "Sub",
    "Task",
    "Variable",
    "Worker",
    "WorkerPlugin",
    "Workspace",
    "__version__",
    "as_completed",
    "create_remote_worker",
    "create_remote_worker_sync",
    "default_client",
    "distributed",
    "distribution",
    "fire_and_forget",
    "futures_of",
    "get_client",
    "get_worker",
    "machine_facts",
    "print",
    "progress",
    "proxy",
    "rejoin",
    "secede",
    "setup",
    "sided",
    "singleton",
    "teardown",
    "wait",
    "warn",
    "worker_client",
    "workspace_root",
]


def __getattr__(name: str) -> Any:
    return lazy_attributes(__name__, name, _PLACES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_PLACES = {
    "Distributed": "distributed.faces.decorator.function",
    "RemoteExectionError": "distributed.faces.decorator.task",
    "RemoteExecutionError": "distributed.errors",
    "Sides": "distributed.faces.decorator.sides",
    "Task": "distributed.faces.decorator.task",
    "distributed": "distributed.faces.decorator.function",
    "machine_facts": "distributed.faces.decorator.sides",
    "proxy": "distributed.faces.decorator.sides",
    "setup": "distributed.faces.decorator.starting",
    "sided": "distributed.faces.decorator.sides",
    "singleton": "distributed.faces.decorator.sides",
    "teardown": "distributed.faces.decorator.starting",
    "Actor": "distributed.actors.proxy",
    "ActorFuture": "distributed.actors.proxy",
    "CancelledError": "distributed.errors",
    "Center": "distributed.faces.center.server",
    "Client": "distributed.client.client",
    "Cluster": "distributed.deploy.cluster",
    "DistributedManager": "distributed.faces.manager.manager",
    "DistributedWorker": "distributed.faces.manager.worker",
    "Distribution": "distributed.workspace.distribution",
    "Event": "distributed.client.coordination.signals",
    "Executor": "distributed.client.executor",
    "Future": "distributed.client.futures",
    "KilledWorker": "distributed.errors",
    "LocalCluster": "distributed.deploy.local",
    "Lock": "distributed.client.coordination.locks",
    "MultiLock": "distributed.client.coordination.locks",
    "Nanny": "distributed.nanny",
    "PendingComputation": "distributed.faces.center.remote_data",
    "Pool": "distributed.faces.center.pool",
    "Pub": "distributed.client.coordination.topics",
    "Queue": "distributed.client.coordination.queues",
    "RemoteData": "distributed.faces.center.remote_data",
    "Scheduler": "distributed.scheduler.server",
    "Semaphore": "distributed.client.coordination.locks",
    "Sub": "distributed.client.coordination.topics",
    "Variable": "distributed.client.coordination.signals",
    "SchedulerPlugin": "distributed.scheduler.plugins",
    "Worker": "distributed.worker.server",
    "WorkerPlugin": "distributed.worker.plugins",
    "Workspace": "distributed.workspace.scanning",
    "as_completed": "distributed.client.waiting",
    "create_remote_worker": "distributed.faces.manager.remote",
    "create_remote_worker_sync": "distributed.faces.manager.remote",
    "default_client": "distributed.client.client",
    "distribution": "distributed.workspace.distribution",
    "fire_and_forget": "distributed.client.data",
    "futures_of": "distributed.client.looking",
    "print": "distributed.worker.telling",
    "get_client": "distributed.client.inside",
    "get_worker": "distributed.worker.context",
    "rejoin": "distributed.worker.context",
    "secede": "distributed.worker.context",
    "worker_client": "distributed.client.inside",
    "progress": "distributed.client.progress",
    "wait": "distributed.client.waiting",
    "warn": "distributed.worker.telling",
    "workspace_root": "distributed.rooms.entry",
}
