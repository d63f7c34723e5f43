"""`RoomOpener`: a room for an order, and how it is while it is open."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Callable, Sequence
from typing import Any

from distributed.calls import rpc
from distributed.errors import DistributedError
from distributed.offers.housing import Look, Order
from distributed.offers.wire import OpenRoom, to_wire
from distributed.process.zygote import Zygote
from distributed.rooms.room import Room
from distributed.security.permissions import WORKER

__all__ = ["RoomOpener"]

HEALTH_S = 0.5  # between two looks at what a room does
CONNECT_S = 2.0  # to a worker that was there
ANSWER_S = 5.0  # one that works hard takes long to answer


class RoomOpener:
    """Makes rooms of processes that `zygote` forks.

    Args:
        zygote: of this interpreter, knows the kind `rooms.room.ROOM_KIND`; attached to the loop.
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
        self._listen: dict[str, Any] = {"host": host, "insecure": insecure, "tls": tls, "log_level": log_level}

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
        room = await Room.open(
            self._zygote, scheduler=wish.scheduler, keys=order.keys, workspace=wish.workspace or "", folder=workspace,
            roots=wish.roots or ["."], entry=wish.entry, entry_file=wish.entry_file, nthreads=order.threads,
            memory_limit_nbytes=order.memory_limit_nbytes, name=wish.name, tags=self._tags, resources=wish.resources,
            shares_path=shares_path, local_directory=scratch, **self._listen,
        )  # fmt: skip
        return OpenedRoom(order, room, platform.python_version(), None)

    async def close(self) -> None:
        """Nothing is left; the zygote is its owner's."""


class OpenedRoom:
    """An `Opened`, around a room."""

    def __init__(self, order: Order, room: Room, python: str, environment: str | None) -> None:
        self._room = room
        self._keys = order.keys
        self._look = Look(0, False, 0, 0)
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        assert room.worker_address is not None
        self._place = to_wire(
            OpenRoom(
                order.room, order.wish.workspace, room.worker_address, room.nanny.address, room.pid or 0,
                order.threads, order.memory_limit_nbytes, python, environment, order.wish.scheduler,
            )
        )  # fmt: skip
        self._asking = asyncio.ensure_future(self._ask_after(room.worker_address))
        room.ended.add_done_callback(self._on_ended)

    @property
    def place(self) -> dict[str, Any]:
        """See `Opened`."""
        return self._place

    def look(self) -> Look:
        """See `Opened`; what runs is as of half a second ago."""
        self._look.memory_nbytes = self._room.memory_nbytes
        return self._look

    async def close(self, is_graceful: bool) -> None:
        """See `Opened`."""
        await self._room.close("its offer ends it", graceful=is_graceful)

    async def kill(self) -> None:
        """See `Opened`."""
        await self._room.kill("killed by its offer")

    async def _ask_after(self, address: str) -> None:
        """Ask the worker what it does, again and again; one that does not answer is busy, or is being replaced."""
        while True:
            async with rpc(
                address, timeout=CONNECT_S, role=WORKER, may_unpickle=False, patient=False, keys=self._keys
            ) as worker:
                while address == (now := self._room.worker_address):
                    await self._ask(worker)
                    await asyncio.sleep(HEALTH_S)
            address = now or address
            await asyncio.sleep(HEALTH_S)

    async def _ask(self, worker: rpc) -> None:
        with contextlib.suppress(DistributedError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                health = await worker.call("health")
                running = len(health["active"])
                is_idle = not running and not health["queued"]
                self._look = Look(self._look.memory_nbytes, is_idle, health["stored"], running)

    def _on_ended(self, done: asyncio.Future[str]) -> None:
        self._asking.cancel()
        if not self.ended.done():
            error = done.exception()
            self.ended.set_result(done.result() if error is None else str(error))
