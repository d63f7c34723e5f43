"""Everything of `distributed.faces.manager`, under the name by which programs know it from elsewhere."""

from __future__ import annotations

from distributed.faces.manager.manager import DistributedManager
from distributed.faces.manager.remote import create_remote_worker, create_remote_worker_sync
from distributed.faces.manager.worker import DistributedWorker, create_worker, run_worker

__all__ = [
    "DistributedManager",
    "DistributedWorker",
    "create_remote_worker",
    "create_remote_worker_sync",
    "create_worker",
    "run_worker",
]
