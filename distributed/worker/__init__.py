"""The worker: a machine that decides, a store, threads that run user code, and a server that alone does I/O."""

from __future__ import annotations

from typing import Any

from distributed.lazy import lazy_attributes

__all__ = ["Worker"]


def __getattr__(name: str) -> Any:
    return lazy_attributes(__name__, name, {"Worker": "distributed.worker.server"})
