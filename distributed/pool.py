"""`Pool` and its handles under the name by which people look for them."""

from __future__ import annotations

from distributed.faces.center.pool import PendingComputation, Pool, RemoteData, divide_tasks

__all__ = ["PendingComputation", "Pool", "RemoteData", "divide_tasks"]
