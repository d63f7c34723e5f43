"""A chat on `distributed.core`: the handler `listen` keeps its stream and writes whatever anybody says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from distributed.core import CommClosedError, Server, connect, read, rpc, write


class Room(Server):
    """Everybody who listens hears everything that is said from then on."""

    def __init__(self) -> None:
        self.listeners: dict[Any, str] = {}
        super().__init__({"listen": self.listen_in, "say": self.say})

    async def listen_in(self, stream: Any, name: str) -> None:
        """Hear what is said; ends when the listener leaves."""
        self.listeners[stream] = name
        try:
            await write(stream, f"welcome, {name}")
            await asyncio.Event().wait()  # cancelled when the connection ends
        finally:
            del self.listeners[stream]

    async def say(self, stream: Any, name: str, text: str) -> int:
        """Tell everybody; how many heard it."""
        for listener in list(self.listeners):
            with suppress(CommClosedError):  # this one is just leaving
                await write(listener, f"{name}: {text}")
        return len(self.listeners)


async def main() -> None:
    """One room, two listeners, one speaker."""
    room = Room()
    room.listen(0)
    streams = []
    for name in ("ada", "grace"):
        stream = await connect("127.0.0.1", room.port)
        await write(stream, {"op": "listen", "name": name})
        print(await read(stream))
        streams.append(stream)
    async with rpc("127.0.0.1", room.port) as speaker:
        print(await speaker.say(name="alan", text="can machines think?"), "heard it")
    for stream in streams:
        print(await read(stream))
        stream.close()
    room.stop()


if __name__ == "__main__":
    asyncio.run(main())
