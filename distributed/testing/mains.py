"""`PlainMain`: a Main in its simplest form, for tests of offers: a scheduler, a client, and a lease at one offer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from typing import Any

from distributed.calls import connect, read, rpc, write
from distributed.client.client import Client
from distributed.errors import CommClosedError
from distributed.offers.wire import RoomWish, to_wire
from distributed.protocol.codec import ErrorReply
from distributed.protocol.failure import exception_from_reply
from distributed.scheduler.server import Scheduler
from distributed.security.keys import Keyring, keyring_from_master

__all__ = ["PlainMain"]


class PlainMain:
    """Use it as ``async with PlainMain(address, keys) as main``. Everything is on the running loop.

    Args:
        offer: its address.
        keys: what lets it in there.
        lease_s: see `join_offer`; beats come at a third of it.
    Attributes:
        notices: all that the offer said.
    """

    def __init__(self, offer: str, keys: Keyring | None = None, name: str = "main", lease_s: float = 10.0) -> None:
        self.offer = rpc(offer, keys=keys)
        self.name = name
        self.lease_s = lease_s
        self.tenant = secrets.token_hex(16)
        self.keys = keyring_from_master(os.urandom(32))
        self.ticket_key = os.urandom(32)
        self.notices: list[dict[str, Any]] = []
        self.scheduler: Any = None
        self.stream: Any = None
        self._keys = keys
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> dict[str, Any]:
        """Be a tenant (again), and beat; the notice that says so. Raises what the offer says instead."""
        stream = await connect(self.offer.address, keys=self._keys)
        content = {"tenant": self.tenant, "name": self.name, "lease_s": self.lease_s, "ticket_key": self.ticket_key}
        await write(stream, {"op": "join_offer", "keys": dict(self.keys.key_by_role), **content})
        first = await read(stream)
        if isinstance(first, ErrorReply):
            raise exception_from_reply(first, "the offer", True)
        self._silence()
        self.stream = stream
        self.notices.append(first)
        self._tasks = [asyncio.ensure_future(self._hear()), asyncio.ensure_future(self._beat())]
        return dict(first)

    def drop(self) -> None:
        """Break the connection, as a network does; no beats any more."""
        self._silence()
        self.stream.close()

    async def leave(self) -> None:
        """Say goodbye."""
        await write(self.stream, {"leave": True})

    async def open_room(self, **wish: Any) -> dict[str, Any]:
        """A room for our scheduler."""
        content = to_wire(RoomWish(**{"scheduler": self.scheduler.address, **wish}))
        return dict(await self.offer.call("open_room", tenant=self.tenant, wish=content))

    async def call(self, op: str, /, **content: Any) -> Any:
        """One of the offer's ops, as a tenant."""
        return await self.offer.call(op, tenant=self.tenant, **content)

    async def wait_notice(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th notice of a kind, when it has come; CommClosedError: it will not."""
        while len(found := [notice for notice in self.notices if notice["notice"] == kind]) < count:
            if self._tasks[0].done():
                raise CommClosedError(self.offer.address, f"no notice {kind!r} among {self.notices}")
            self._changed.clear()
            await self._changed.wait()
        return found[count - 1]

    def client(self) -> Client:
        """A new client of our scheduler; an ``async with`` makes it usable."""
        return Client(self.scheduler.address, asynchronous=True, keys=self.keys)

    async def __aenter__(self) -> PlainMain:
        self.scheduler = Scheduler(keys=self.keys)
        self.scheduler.listen(0)
        try:
            await self.join()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._silence()
        if self.stream is not None and not self.stream.closed():
            with contextlib.suppress(CommClosedError):
                await self.leave()
                await self.stream.close_after_flush()
        await self.offer.close()
        await self.scheduler.close()

    def _silence(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _hear(self) -> None:
        with contextlib.suppress(CommClosedError):
            while True:
                self.notices.append(await read(self.stream))
                self._changed.set()
        asyncio.get_running_loop().call_soon(self._changed.set)  # this task is done by then

    async def _beat(self) -> None:
        number = 0
        with contextlib.suppress(CommClosedError):
            while True:
                await asyncio.sleep(self.lease_s / 3)
                number += 1
                await write(self.stream, {"beat": number})
