"""`HTTPScheduler` and `HTTPWorker`, for ``services=``: JSON about a scheduler, about a worker."""

from __future__ import annotations

from distributed.scheduler.http import HTTPScheduler
from distributed.worker.http import HTTPWorker

__all__ = ["HTTPScheduler", "HTTPWorker"]
