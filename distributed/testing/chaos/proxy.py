"""A TCP forwarder that can cut connections, or fall silent as a cable does that somebody pulled."""

from __future__ import annotations

import asyncio
import threading
from random import Random

__all__ = ["CuttingProxy"]

CHUNK_NBYTES = 256 * 1024


class CuttingProxy:
    """Forwards from a port of its own on loopback to `host`:`port`, in a thread of its own.

    Attributes:
        port: where it listens.
        cuts, silences: how many there were.
    """

    def __init__(self, host: str, port: int) -> None:
        self.cuts = self.silences = 0
        self._target = (host, port)
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._silent: dict[asyncio.Task[None], asyncio.Event] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutting-proxy", daemon=True)
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = server.result(5.0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self, random: Random) -> bool:
        """Close one connection at once, in the middle of whatever it carries; False: there is none."""
        return asyncio.run_coroutine_threadsafe(self._cut(random), self._loop).result(5.0)

    def silence(self, random: Random, seconds: float) -> bool:
        """Let one connection carry nothing for so long, then close it; False: there is none to choose."""
        return asyncio.run_coroutine_threadsafe(self._silence(random, seconds), self._loop).result(5.0)

    def close(self) -> None:
        """Close everything."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        flowing = self._silent[link] = asyncio.Event()
        flowing.set()
        self._links[link] = [writer]
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
            self._links[link].append(there_writer)
            await asyncio.gather(
                self._forward(reader, there_writer, flowing), self._forward(there_reader, writer, flowing)
            )
        except OSError:
            return  # one end is gone; the other one hears of it below
        finally:
            for side in self._links.pop(link):
                side.transport.abort()
            del self._silent[link]

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        while chunk := await reader.read(CHUNK_NBYTES):
            await flowing.wait()
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError("one end has closed")

    async def _cut(self, random: Random) -> bool:
        if not self._links:
            return False
        self.cuts += 1
        self._abort(random.choice(list(self._links)))
        return True

    async def _silence(self, random: Random, seconds: float) -> bool:
        chosen = [link for link, flowing in self._silent.items() if flowing.is_set()]
        if not chosen:
            return False
        self.silences += 1
        link = random.choice(chosen)
        self._silent[link].clear()
        self._loop.call_later(seconds, self._abort, link)
        return True

    def _abort(self, link: asyncio.Task[None]) -> None:
        for side in self._links.get(link, ()):
            side.transport.abort()
        if link in self._silent:
            self._silent[link].set()

    async def _close(self) -> None:
        self._server.close()
        links = list(self._links)
        for link in links:
            self._abort(link)
        await asyncio.gather(*links)
