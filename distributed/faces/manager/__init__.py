"""`DistributedManager` and `DistributedWorker`: processes that talk, on one machine or many; who does what is yours.

A manager listens; workers connect to it from anywhere, or are its local children, and both send each other whatever can
be pickled. Nothing here schedules: the program that holds the manager decides who gets which work, and does it again
when a worker dies.
"""

from __future__ import annotations

from typing import Any

from distributed.lazy import lazy_attributes

__all__ = [
    "DistributedManager",
    "DistributedWorker",
    "create_remote_worker",
    "create_remote_worker_sync",
    "create_worker",
    "run_worker",
]


def __getattr__(name: str) -> Any:
    return lazy_attributes(__name__, name, _PLACES)


_PLACES = {
    "DistributedManager": "distributed.faces.manager.manager",
    "DistributedWorker": "distributed.faces.manager.worker",
    "create_remote_worker": "distributed.faces.manager.remote",
    "create_remote_worker_sync": "distributed.faces.manager.remote",
    "create_worker": "distributed.faces.manager.worker",
    "run_worker": "distributed.faces.manager.worker",
}
