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
    "CancelledError",
    "Client",
    "Future",
    "KilledWorker",
    "LocalCluster",
    "Nanny",
    "Scheduler",
    "SchedulerPlugin",
    "Worker",
    "WorkerPlugin",
    "__version__",
    "as_completed",
    "default_client",
    "fire_and_forget",
    "get_client",
    "get_worker",
    "print",
    "rejoin",
    "secede",
    "wait",
    "warn",
    "worker_client",
]


def __getattr__(name: str) -> Any:
    return lazy_attributes(__name__, name, _PLACES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_PLACES = {
    "CancelledError": "distributed.errors",
    "Client": "distributed.client.client",
    "Future": "distributed.client.futures",
    "KilledWorker": "distributed.errors",
    "LocalCluster": "distributed.deploy.local",
    "Nanny": "distributed.nanny",
    "Scheduler": "distributed.scheduler.server",
    "SchedulerPlugin": "distributed.scheduler.plugins",
    "Worker": "distributed.worker.server",
    "WorkerPlugin": "distributed.worker.plugins",
    "as_completed": "distributed.client.waiting",
    "default_client": "distributed.client.client",
    "fire_and_forget": "distributed.client.data",
    "print": "distributed.worker.telling",
    "get_client": "distributed.client.inside",
    "get_worker": "distributed.worker.context",
    "rejoin": "distributed.worker.context",
    "secede": "distributed.worker.context",
    "worker_client": "distributed.client.inside",
    "wait": "distributed.client.waiting",
    "warn": "distributed.worker.telling",
}
