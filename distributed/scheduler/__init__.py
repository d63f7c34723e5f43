"""The scheduler: a pure machine (`machine`) that decides, and a server (`server`) that alone does I/O around it."""

from __future__ import annotations

from typing import Any

from distributed.lazy import lazy_attributes

__all__ = ["Scheduler"]


def __getattr__(name: str) -> Any:
    return lazy_attributes(__name__, name, {"Scheduler": "distributed.scheduler.server"})
