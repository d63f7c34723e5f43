"""The interface of the standard library's `multiprocessing.Pool`, on a cluster: programs switch by one import.

    from distributed.multiprocessing import Pool    # instead of: from multiprocessing import Pool

Not here: queues, pipes, locks and shared memory between processes; a cluster has its own, see `distributed.Queue`.
"""

from __future__ import annotations

from multiprocessing import TimeoutError

from distributed.deploy.machine import cores_available
from distributed.multiprocessing.pool import Pool
from distributed.multiprocessing.results import AsyncResult, IMapIterator, MapResult

__all__ = ["AsyncResult", "IMapIterator", "MapResult", "Pool", "TimeoutError", "cpu_count"]


def cpu_count() -> int:
    """Cores that this program may use, as its affinity and the limits of its container have it; at least 1."""
    return cores_available()
