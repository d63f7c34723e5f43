"""A scheduler and workers on a loop thread of this process, for `LocalCluster(processes=False)`.

Tasks share the interpreter with the program: nothing is copied to another process, and one that dies takes all along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distributed.client.loop_thread import LoopThread
from distributed.scheduler.server import Scheduler
from distributed.worker.server import Worker

__all__ = ["ThreadedCluster"]

CLOSE_TIMEOUT_S = 15.0


class ThreadedCluster:
    """Starts at once.

    Args:
        workers: keywords of each `Worker`.
        listen: keywords of the scheduler's ``listen``; workers listen on the same host.
    """

    def __init__(self, workers: Sequence[dict[str, Any]], listen: dict[str, Any]) -> None:
        self._thread = LoopThread("distributed-cluster")
        self._workers: list[Worker] = []
        self._worker_listen = {**listen, "port": 0}
        try:
            self._thread.run(self._start(workers, listen))
        except BaseException:
            self._thread.stop()
            raise

    @property
    def scheduler_address(self) -> str:
        """Canonical address of the scheduler."""
        return self._scheduler.address

    @property
    def worker_addresses(self) -> list[str]:
        """Of all workers."""
        return [worker.address for worker in self._workers]

    def start_workers(self, workers: Sequence[dict[str, Any]]) -> None:
        """Start workers with these options; returns when the scheduler knows them."""
        self._thread.run(self._start_workers(workers), CLOSE_TIMEOUT_S)

    def is_running(self) -> bool:
        """Whether it was not closed."""
        return not self._thread.loop.is_closed()

    def close(self) -> None:
        """End workers, scheduler and thread. May be called twice."""
        if self._thread.loop.is_closed():
            return
        try:
            self._thread.run(self._close(), CLOSE_TIMEOUT_S)
        finally:
            self._thread.stop()

    async def _start(self, workers: Sequence[dict[str, Any]], listen: dict[str, Any]) -> None:
        self._scheduler = Scheduler()
        self._scheduler.listen(**listen)
        await self._start_workers(workers)

    async def _start_workers(self, workers: Sequence[dict[str, Any]]) -> None:
        self._workers = [worker for worker in self._workers if worker.status != "closed"]
        for options in workers:
            worker = Worker(self._scheduler.address, owns_process=False, **options)
            self._workers.append(await worker.start(**self._worker_listen))

    async def _close(self) -> None:
        for worker in self._workers:
            await worker.close("the cluster ends")
        await self._scheduler.close("the cluster ends")
