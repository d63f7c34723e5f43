"""`HTTPWorker`: JSON about a worker. Every route only reads."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

from distributed.web.service import HTTPService, JSONHandler

__all__ = ["HTTPWorker"]

KEYS_MAX = 50_000  # in one answer


class _Info(JSONHandler):
    """Who this is."""

    def get(self) -> None:
        worker = self.server
        self.answer_view({
            "type": type(worker).__name__,
            "id": worker.id,
            "name": worker.name or worker.address,
            "address": worker.address,
            "scheduler": worker.scheduler_address,
            "status": worker.status,
            "ncores": worker.nthreads,
            "nkeys": len(worker.store),
            "services": worker.services.ports(),
        })  # fmt: skip


class _Processing(JSONHandler):
    """What it runs, how much waits, and what it holds."""

    def get(self) -> None:
        worker = self.server
        held = list(islice(worker.store.nbytes_by_key(), KEYS_MAX))
        running, queued = worker.executor.running.keys(), worker.executor.queue_length()
        self.answer_view({"processing": running, "queued": queued, "in-memory": held}, len(worker.store) - len(held))


class _Resources(JSONHandler):
    """Its load and memory as its last heartbeat told, and its limits."""

    def get(self) -> None:
        worker = self.server
        self.answer_view({
            "nthreads": worker.nthreads,
            "cpu_percent": worker.metrics.get("cpu_percent"),
            **worker.memory.metrics(),
            "memory_limit_nbytes": worker.memory_limit_nbytes,
            "resources": dict(worker.resources),
        })  # fmt: skip


class _Files(JSONHandler):
    """Names of the files that clients have given it."""

    def get(self) -> None:
        self.answer_view({"files": self.server.equipment.files()})


class HTTPWorker(HTTPService):
    """Routes about one worker.

    Args:
        server: the `Worker`.
    """

    routes: ClassVar = (
        ("/info.json", _Info),
        ("/processing.json", _Processing),
        ("/resources.json", _Resources),
        ("/files.json", _Files),
    )
