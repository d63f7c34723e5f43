"""More workers and fewer: what `LocalCluster.scale` and `adapt` do, on a loop in a thread of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from distributed.calls import rpc
from distributed.client.loop_thread import LoopThread
from distributed.deploy.adaptive import Adaptive
from distributed.errors import DistributedError

__all__ = ["Scaler"]

logger = logging.getLogger(__name__)

SCALE_TIMEOUT_S = 120.0  # for data to move and processes to start or end
STOP_TIMEOUT_S = 5.0


class Scaler:
    """Keeps the workers of one cluster at the number that is wanted.

    Args:
        scheduler_address: of the cluster.
        name: the workers of the cluster are called ``<name>-0``, ``<name>-1`` and so on; others are left alone.
        count: workers that the cluster began with.
        start: starts a worker for each of these names and returns when they are there; blocks.
    """

    def __init__(self, scheduler_address: str, name: str, count: int, start: Callable[[Sequence[str]], object]) -> None:
        self._address = scheduler_address
        self._prefix = f"{name}-"
        self._next_number = count
        self._start = start
        self._thread = LoopThread("distributed-scaling")
        self._scheduler: rpc | None = None
        self._turn: asyncio.Lock | None = None  # one change at a time
        self._adapting: asyncio.Task[None] | None = None

    def scale(self, count: int) -> list[str]:
        """Have so many workers; blocks until it is so. The addresses of all.

        Raises:
            WorkerStartError: a worker did not come up. TimeoutError: not within 120 s.
        """
        addresses: list[str] = self._thread.run(self._scale_by_hand(count), SCALE_TIMEOUT_S)
        return addresses

    def adapt(self, policy: Adaptive, interval_s: float) -> None:
        """Let `policy` decide from now on, every `interval_s` seconds, until `stop_adapting` or `scale`."""
        self._thread.run(self._start_adapting(policy, interval_s), STOP_TIMEOUT_S)

    def stop_adapting(self) -> None:
        """Leave the workers as they are; blocks while one change comes to its end."""
        self._thread.run(self._stop_adapting(), SCALE_TIMEOUT_S)

    def close(self) -> None:
        """End the thread. May be called twice."""
        if not self._thread.loop.is_closed():
            try:
                self._thread.run(self._close(), STOP_TIMEOUT_S)
            finally:
                self._thread.stop()

    # ------------------------------------------------------------ on the loop

    async def _scale_by_hand(self, count: int) -> list[str]:
        await self._stop_adapting()
        async with self._lock():
            await self._scale(count, await self._workers())
            return list(await self._workers())

    async def _start_adapting(self, policy: Adaptive, interval_s: float) -> None:
        await self._stop_adapting()
        self._adapting = asyncio.ensure_future(self._adapt(policy, interval_s))

    async def _stop_adapting(self) -> None:
        adapting, self._adapting = self._adapting, None
        if adapting is not None:
            async with self._lock():  # not in the middle of a change
                adapting.cancel()
            await asyncio.wait([adapting])

    async def _adapt(self, policy: Adaptive, interval_s: float) -> None:
        while True:
            try:
                async with self._lock():
                    await self._adapt_once(policy)
            except (DistributedError, TimeoutError) as error:
                logger.warning("the number of workers could not be adapted: %s", error)
            await asyncio.sleep(interval_s)

    async def _adapt_once(self, policy: Adaptive) -> None:
        desired = await self._ask("desired_workers")
        workers = await self._workers()
        target = policy.target(desired, len(workers), any(worker["holds"] for worker in workers.values()))
        if target != len(workers):
            logger.info("scaling from %d to %d workers", len(workers), target)
            async with asyncio.timeout(SCALE_TIMEOUT_S):
                await self._scale(target, workers)

    async def _scale(self, count: int, workers: dict[str, dict[str, Any]]) -> None:
        missing = count - len(workers)
        if missing > 0:
            first, self._next_number = self._next_number, self._next_number + missing
            names = [f"{self._prefix}{number}" for number in range(first, first + missing)]
            await asyncio.get_running_loop().run_in_executor(None, self._start, names)
        elif missing < 0:
            by_data = sorted(workers, key=lambda address: workers[address]["holds"])  # least to move; else oldest first
            await self._ask("retire_workers", workers=by_data[:-missing], reason="the cluster is scaled down")
            await self._wait_gone(by_data[:-missing])

    async def _wait_gone(self, addresses: list[str]) -> None:
        pause_s = 0.005
        while set(await self._workers()).intersection(addresses):
            await asyncio.sleep(pause_s)
            pause_s = min(0.2, pause_s * 2)

    async def _workers(self) -> dict[str, dict[str, Any]]:
        info = await self._ask("scheduler_info")
        return {address: worker for address, worker in info["workers"].items() if self._is_ours(worker["name"])}

    def _is_ours(self, name: str) -> bool:
        return name.startswith(self._prefix) and name.removeprefix(self._prefix).isdigit()

    async def _ask(self, op: str, **keywords: Any) -> Any:
        if self._scheduler is None:
            self._scheduler = rpc(self._address)
        return await self._scheduler.call(op, **keywords)

    def _lock(self) -> asyncio.Lock:
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn

    async def _close(self) -> None:
        adapting, self._adapting = self._adapting, None
        if adapting is not None:
            adapting.cancel()
            await asyncio.wait([adapting])
        if self._scheduler is not None:
            await self._scheduler.close()
