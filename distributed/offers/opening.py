"""`RoomOpener`: a room's process for an order, guarded by a nanny of this process, and how it is while it is open."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Callable, Sequence
from typing import Any

from distributed.calls import rpc
from distributed.errors import DistributedError, WorkerStartError
from distributed.nanny import Nanny
from distributed.offers.housing import Look, Order
from distributed.offers.wire import OpenRoom, to_wire
from distributed.process.restart_policy import RestartPolicy
from distributed.process.zygote import Zygote
from distributed.security.permissions import WORKER
from distributed.worker.measure import process_nbytes

__all__ = ["RoomOpener"]

OPEN_S = 120.0  # until a room has met its scheduler
HEALTH_S = 0.5  # between two looks at what a room does
RETIRE_S = 600.0  # more than any grace: `Housing` kills a room whose own is over


class RoomOpener:
    """Makes rooms of processes that `zygote` forks.

    Args:
        zygote: of this interpreter; attached to the loop.
        tags: what `platform=` may match.
        host, insecure, tls: where rooms listen, see `Server.listen`.
        log_level: of rooms, which write to our stderr.
    """

    def __init__(
        self,
        zygote: Zygote,
        *,
        tags: Sequence[str] = (),
        host: str = "127.0.0.1",
        insecure: bool = False,
        tls: bool = False,
        log_level: str = "WARNING",
    ) -> None:
        self._zygote = zygote
        self._tags = list(tags)
        self._listen: dict[str, Any] = {"host": host, "insecure": insecure, "tls": tls}
        self._log_level = log_level

    async def open(
        self,
        order: Order,
        workspace: str | None,
        scratch: str,
        shares_path: str | None,
        progress: Callable[[str], None],
    ) -> OpenedRoom:
        """See `Opener`."""
        wish = order.wish
        options: dict[str, Any] = {
            "nthreads": order.threads,
            "memory_limit_nbytes": order.memory_limit_nbytes,
            "name": wish.name,
            "resources": wish.resources,
            "tags": self._tags,
            "grace_s": RETIRE_S,
            "shares_path": shares_path,
        }
        nanny = Nanny(
            wish.scheduler, self._zygote, worker_options=options, local_directory=scratch, keys=order.keys,
            log_level=self._log_level, policy=RestartPolicy(), **self._listen,
        )  # fmt: skip
        try:
            async with asyncio.timeout(OPEN_S):
                await nanny.start()
                await nanny.wait_registered()
        except TimeoutError:
            await nanny.close("it did not meet its scheduler")
            raise WorkerStartError(f"the room did not meet the scheduler at {wish.scheduler} in {OPEN_S:g} s") from None
        except BaseException:
            await nanny.close("it is not wanted any more")
            raise
        return OpenedRoom(order, nanny, platform.python_version(), None)

    async def close(self) -> None:
        """Nothing is left; the zygote is its owner's."""


class OpenedRoom:
    """An `Opened`, around a nanny."""

    def __init__(self, order: Order, nanny: Nanny, python: str, environment: str | None) -> None:
        self._nanny = nanny
        self._look = Look(0, False, 0, 0)
        self._was_closed = False
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        assert nanny.worker_address is not None and nanny.process is not None
        self._place = to_wire(
            OpenRoom(
                order.room, order.wish.workspace, nanny.worker_address, nanny.address, nanny.process.pid,
                order.threads, order.memory_limit_nbytes, python, environment, order.wish.scheduler,
            )
        )  # fmt: skip
        nanny.finished.add_done_callback(self._on_finished)
        self._worker = rpc(nanny.worker_address, role=WORKER, may_unpickle=False, keys=order.keys)
        self._asking = asyncio.ensure_future(self._ask_after())

    @property
    def place(self) -> dict[str, Any]:
        """See `Opened`."""
        return self._place

    def look(self) -> Look:
        """See `Opened`; what runs is as of half a second ago."""
        process = self._nanny.process
        self._look.memory_nbytes = 0 if process is None or process.ended.done() else process_nbytes(process.pid)
        return self._look

    async def close(self, is_graceful: bool) -> None:
        """See `Opened`."""
        await self._nanny.close("its offer ends it", graceful=is_graceful)

    async def kill(self) -> None:
        """See `Opened`."""
        await self._nanny.kill()
        await self._nanny.close("killed by its offer")

    async def _ask_after(self) -> None:
        """Ask the worker what it does, again and again; one that does not answer works, or is being replaced."""
        while True:
            address = self._nanny.worker_address
            if address is not None and address != self._worker.address:
                await self._worker.close()
                self._worker = rpc(address, role=WORKER, may_unpickle=False)
            with contextlib.suppress(DistributedError, TimeoutError):
                async with asyncio.timeout(HEALTH_S):
                    self._hear(await self._worker.call("health"))
            await asyncio.sleep(HEALTH_S)

    def _hear(self, health: dict[str, Any]) -> None:
        running = len(health["active"])
        is_idle = not running and not health["queued"] and health["status"] == "running"
        self._look = Look(self._look.memory_nbytes, is_idle, health["stored"], running)

    def _on_finished(self, done: asyncio.Future[str]) -> None:
        self._asking.cancel()
        if not self.ended.done():
            error = done.exception()
            self.ended.set_result(done.result() if error is None else str(error))
