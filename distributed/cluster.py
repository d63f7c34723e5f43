"""`Cluster` under the name by which people look for it."""

from __future__ import annotations

from distributed.deploy.cluster import Cluster

__all__ = ["Cluster"]
