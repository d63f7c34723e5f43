"""`RoomOpener`: a room for an order, and how it is while it is open."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from distributed.calls import rpc
from distributed.environments.builder import Environment, Environments
from distributed.environments.spec import EnvironmentSpec
from distributed.environments.zygotes import Zygotes
from distributed.errors import DistributedError
from distributed.offers.housing import Look, Order
from distributed.offers.wire import OpenRoom, to_wire
from distributed.process.fresh import FreshZygote
from distributed.process.zygote import Zygote
from distributed.rooms.room import Room
from distributed.security.permissions import WORKER

__all__ = ["RoomOpener"]

RETIRE_S = 86_400.0  # of a worker that retires; the offer kills it when the grace is over that it gave
CONNECT_S = 0.4  # to a worker that was there, in less than `ANSWER_S`
ANSWER_S = 0.5  # one that takes longer works hard


class RoomOpener:
    """Makes rooms of processes that are forked by a zygote of their environment.

    Args:
        zygote: of this interpreter, knows the kind of rooms, see `rooms.kind`; attached to the loop.
        environments: what is installed; closed with this.
        zygotes: of other interpreters; closed with this.
        tags: what `platform=` may match.
        host, insecure, tls: where rooms listen, see `Server.listen`.
        log_level: of rooms, which write to our stderr.
    """

    def __init__(
        self,
        zygote: Zygote,
        environments: Environments,
        zygotes: Zygotes,
        *,
        tags: Sequence[str] = (),
        host: str = "127.0.0.1",
        insecure: bool = False,
        tls: bool = False,
        log_level: str = "WARNING",
    ) -> None:
        self._zygote = zygote
        self._environments = environments
        self._zygotes = zygotes
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
        """See `Opener`.

        Raises:
            EnvironmentBuildError, ProtocolError: its environment cannot be made, or is none.
            WorkerStartError, DistributedError: see `Room.open`.
        """
        wish = order.wish
        spec = EnvironmentSpec() if wish.environment is None else EnvironmentSpec.from_wire(wish.environment)
        environment = await self._environments.get(spec, progress)
        zygote: Zygote | None = None
        try:
            zygote = self._zygote_of(environment)
            room = await Room.open(
                zygote, scheduler=wish.scheduler, keys=order.keys, workspace=wish.workspace or "", folder=workspace,
                roots=wish.roots or ["."], entry=wish.entry, entry_file=wish.entry_file, source=wish.source,
                nthreads=order.threads, memory_limit_nbytes=order.memory_limit_nbytes, name=wish.name, tags=self._tags,
                resources=wish.resources, shares_path=shares_path, local_directory=scratch, grace_s=RETIRE_S,
                **self._listen,
            )  # fmt: skip
        except BaseException:
            self._release(environment, zygote)
            raise
        opened = OpenedRoom(order, room, environment)
        opened.ended.add_done_callback(lambda done: self._release(environment, zygote))
        return opened

    async def close(self) -> None:
        """End what other interpreters fork, and what is being built; our own zygote is its owner's."""
        self._zygotes.close()
        self._environments.close()

    def _zygote_of(self, environment: Environment) -> Zygote:
        if environment.python == sys.executable:
            return self._zygote
        return self._zygotes.get(environment)

    def _release(self, environment: Environment, zygote: Zygote | None) -> None:
        if isinstance(zygote, FreshZygote):
            self._zygotes.release(environment, zygote)
        self._environments.release(environment)


class OpenedRoom:
    """An `Opened`, around a room."""

    def __init__(self, order: Order, room: Room, environment: Environment) -> None:
        self._room = room
        self._keys = order.keys
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        assert room.worker_address is not None
        self._place = to_wire(
            OpenRoom(
                order.room, order.wish.workspace, room.worker_address, room.nanny.address, room.pid or 0,
                order.threads, order.memory_limit_nbytes, environment.version, environment.digest,
                order.wish.scheduler,
            )
        )  # fmt: skip
        self._worker = self._reach(room.worker_address)
        room.ended.add_done_callback(self._on_ended)

    @property
    def place(self) -> dict[str, Any]:
        """See `Opened`."""
        return self._place

    async def look(self) -> Look:
        """See `Opened`."""
        address = self._room.worker_address
        if address is not None and address != self._worker.address:  # another life of it
            await self._worker.close()
            self._worker = self._reach(address)
        running, holds, is_idle = len(self._room.running()), 0, False
        with contextlib.suppress(DistributedError, TimeoutError):  # it works hard, or is being replaced: not idle
            async with asyncio.timeout(ANSWER_S):
                health = await self._worker.call("health")
                running, holds = len(health["active"]), health["stored"]
                is_idle = not running and not health["queued"]
        return Look(self._room.memory_nbytes, is_idle, holds, running)

    async def close(self, is_graceful: bool) -> None:
        """See `Opened`."""
        await self._room.close("its offer ends it", graceful=is_graceful)

    async def kill(self) -> None:
        """See `Opened`."""
        await self._room.kill("killed by its offer")

    def _reach(self, address: str) -> rpc:
        return rpc(address, timeout=CONNECT_S, role=WORKER, may_unpickle=False, patient=False, keys=self._keys)

    def _on_ended(self, done: asyncio.Future[str]) -> None:
        self._worker.close_streams()
        if not self.ended.done():
            error = done.exception()
            self.ended.set_result(done.result() if error is None else str(error))
