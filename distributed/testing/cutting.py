"""A TCP forwarder that cuts connections when a test says so: the network between two sides, misbehaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from distributed.comm.addresses import parse_address

__all__ = ["CuttingProxy"]

CHUNK_NBYTES = 64 * 1024
TURNS = 10  # of the loop, for a connection just accepted to reach us, or one just cut to end


class CuttingProxy:
    """Forwards connections to `target`, on loopback; use it as ``async with``.

    Args:
        target: address of a server.
        budget: called for every connection: the bytes, both ways together, after which it is cut, in the middle of
            whatever it carries; None: it is not cut by itself.

    Attributes:
        target: of the next connections.
        cuts: connections cut so far.
        is_refusing: new connections are closed at once.
    """

    def __init__(self, target: str, budget: Callable[[], int | None] | None = None) -> None:
        self.target = target
        self._budget = budget
        self._pairs: dict[int, _Pair] = {}
        self._number = 0
        self.cuts = 0
        self.is_refusing = False

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.is_refusing = True
        await _turns()  # asyncio loses connections that it is accepting while the server closes
        self._server.close()
        await _turns()
        self.cut()
        while self._pairs:
            await asyncio.wait([pair.task for pair in self._pairs.values()])
        await _turns()
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Cut all connections; what is on its way is lost."""
        for pair in list(self._pairs.values()):
            self._cut(pair)

    def _cut(self, pair: _Pair) -> None:
        self.cuts += 1
        for writer in pair.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        place = parse_address(self.target)
        there, to_there = await asyncio.open_connection(place.host, place.port)
        pair = _Pair(task, [writer, to_there], None if self._budget is None else self._budget())
        self._number = number = self._number + 1
        self._pairs[number] = pair
        try:
            await asyncio.gather(self._forward(pair, reader, to_there), self._forward(pair, there, writer))
        finally:
            for end in pair.writers:
                end.close()
            del self._pairs[number]

    async def _forward(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(CHUNK_NBYTES):
                if pair.left is not None and pair.left < len(chunk):
                    writer.write(chunk[: pair.left])
                    self._cut(pair)
                    return
                if pair.left is not None:
                    pair.left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # cut, or closed by one side: the other direction ends too
        finally:
            for end in pair.writers:
                end.close()


class _Pair:
    """One forwarded connection: both ends, and the bytes that it may still carry."""

    def __init__(self, task: asyncio.Task[None], writers: list[asyncio.StreamWriter], left: int | None) -> None:
        self.task, self.writers, self.left = task, writers, left


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
