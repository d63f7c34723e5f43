"""A TCP forwarder that cuts connections when a test says so: the network between two sides, misbehaving.

`CuttingProxy` lives on the loop of its test; `ProxyThread` has one on a loop of its own, for programs that block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from distributed.client.loop_thread import LoopThread
from distributed.comm.addresses import parse_address

__all__ = ["CuttingProxy", "ProxyThread"]

CHUNK_NBYTES = 64 * 1024
TURNS = 10  # of the loop, for a connection just accepted to reach us, or one just cut to end
PATIENCE_S = 5.0  # for the loop of a thread to answer


class CuttingProxy:
    """Forwards connections to `target`, on loopback; use it as ``async with``.

    Args:
        target: address of a server.
        budget: called for every connection: the bytes, both ways together, after which it is cut, in the middle of
            whatever it carries; None: it is not cut by itself.

    Attributes:
        target: of the next connections.
        cuts, silences: how many there were so far.
        is_refusing: new connections are closed at once.
    """

    def __init__(self, target: str, budget: Callable[[], int | None] | None = None) -> None:
        self.target = target
        self._budget = budget
        self._pairs: dict[int, _Pair] = {}
        self._number = 0
        self.cuts = self.silences = 0
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

    def cut_one(self, random: Random) -> bool:
        """Cut one connection; False: there is none."""
        if not self._pairs:
            return False
        self._cut(random.choice(list(self._pairs.values())))
        return True

    def silence_one(self, random: Random, seconds: float) -> bool:
        """Let one connection carry nothing for so long, as a pulled cable does, and end then; False: there is none."""
        flowing = [pair for pair in self._pairs.values() if pair.flows.is_set()]
        if not flowing:
            return False
        self.silences += 1
        pair = random.choice(flowing)
        pair.flows.clear()
        asyncio.get_running_loop().call_later(seconds, pair.abort)
        return True

    def _cut(self, pair: _Pair) -> None:
        self.cuts += 1
        pair.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        place = parse_address(self.target)
        try:
            there, to_there = await asyncio.open_connection(place.host, place.port)
        except OSError:  # nobody listens there just now: who connected hears the same
            writer.transport.abort()
            return
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
                await pair.flows.wait()
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
    """One forwarded connection: both ends, the bytes that it may still carry, and whether it carries any."""

    def __init__(self, task: asyncio.Task[None], writers: list[asyncio.StreamWriter], left: int | None) -> None:
        self.task, self.writers, self.left = task, writers, left
        self.flows = asyncio.Event()
        self.flows.set()

    def abort(self) -> None:
        """End it at once, both ways."""
        for writer in self.writers:
            writer.transport.abort()
        self.flows.set()


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class ProxyThread:
    """A `CuttingProxy` for `target` in a thread, until `close`."""

    def __init__(self, target: str) -> None:
        self._thread = LoopThread("distributed-proxy")
        self._proxy = CuttingProxy(target)
        self._thread.run(self._proxy.__aenter__(), PATIENCE_S)
        self.address = self._proxy.address

    @property
    def cuts(self) -> int:
        """How many connections were cut."""
        return self._proxy.cuts

    @property
    def silences(self) -> int:
        """How many connections fell silent."""
        return self._proxy.silences

    def cut(self, random: Random) -> bool:
        """Cut one connection, in the middle of whatever it carries; False: there is none."""

        async def cut() -> bool:
            return self._proxy.cut_one(random)

        return bool(self._thread.run(cut(), PATIENCE_S))

    def silence(self, random: Random, seconds: float) -> bool:
        """Let one connection carry nothing for so long, then end it; False: there is none to choose."""

        async def silence() -> bool:
            return self._proxy.silence_one(random, seconds)

        return bool(self._thread.run(silence(), PATIENCE_S))

    def close(self) -> None:
        """Close everything."""
        try:
            self._thread.run(self._proxy.__aexit__(None, None, None), PATIENCE_S)
        finally:
            self._thread.stop()
