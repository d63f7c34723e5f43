"""Servers: handlers that write and read their stream themselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado import gen

from distributed.core import (
    CommClosedError,
    Server,
    connect,
    read,
    write,
)


def add(stream: Any, x: int, y: int) -> int:
    return x + y


@asynccontextmanager
async def serving(handlers: Any = None, port: Any = 0, **options: Any) -> AsyncIterator[Server]:
    server = Server({"add": add} if handlers is None else handlers, **options)
    server.listen(port)
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def connected(handlers: Any = None, role: str | None = None, **options: Any) -> AsyncIterator[Any]:
    async with serving(handlers, **options) as server:
        stream = await connect(server.address, role=role)
        try:
            yield stream
        finally:
            stream.close()


async def ask(stream: Any, request: Any) -> Any:
    await write(stream, request)
    return await read(stream)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["close", "stop", "reset"])
async def test_a_streaming_handler_stops_when_its_client_leaves_or_the_server_ends(how: str) -> None:
    ended: list[str] = []

    async def stream_forever(stream: Any) -> None:
        try:
            for number in range(10**9):
                await write(stream, number)
                await asyncio.sleep(0 if number < 5 else 60)  # also while it sleeps
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with serving({"stream": stream_forever}) as server:
        stream = await connect(server.address)
        await write(stream, {"op": "stream"})
        assert [await read(stream) for _ in range(6)] == list(range(6))
        if how == "reset":
            stream._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        if how == "stop":
            server.stop()
        else:
            stream.close()
        await until(lambda: ended == ["cancelled"])
        await until(lambda: not server._connections)
        stream.close()


async def test_a_gen_coroutine_that_streams_ends_at_its_next_write() -> None:
    ended: list[str] = []

    @gen.coroutine
    def stream_forever(stream: Any) -> Any:
        try:
            while True:
                yield write(stream, 1)
                yield gen.moment
        except CommClosedError:
            ended.append("closed")
            raise

    async with connected({"stream": stream_forever}) as stream:
        await write(stream, {"op": "stream"})
        assert await read(stream) == 1
        stream.close()
        await until(lambda: bool(ended))


async def test_a_streaming_handler_that_returns_writes_what_it_returns() -> None:
    async def three(stream: Any) -> str:
        for number in range(3):
            await write(stream, number)
        return "end"

    async with connected({"three": three}) as stream:
        await write(stream, {"op": "three"})
        assert [await read(stream) for _ in range(4)] == [0, 1, 2, "end"]
        await write(stream, {"op": "three", "reply": False})
        await write(stream, {"op": "ping"})
        assert [await read(stream) for _ in range(4)] == [0, 1, 2, b"pong"]


async def test_a_handler_may_read_its_stream_and_use_raw_bytes() -> None:
    async def talk(stream: Any) -> str:
        name = await read(stream)
        await stream.write(b"raw")
        stream.set_close_callback(lambda: None)
        stream.set_close_callback(None)
        return f"hello {name} {stream.closed()}"

    async with connected({"talk": talk}) as stream:
        await write(stream, {"op": "talk"})
        await write(stream, "alice")
        assert await stream.read_bytes(3) == b"raw"
        assert await read(stream) == "hello alice False"


async def test_a_handler_cannot_keep_the_server_from_noticing_the_end() -> None:
    async def forget(stream: Any) -> None:
        stream.set_close_callback(None)
        await asyncio.sleep(60)

    async with serving({"forget": forget}) as server:
        stream = await connect(server.address)
        await write(stream, {"op": "forget"})
        await until(lambda: bool(server._connections))
        stream.close()
        await until(lambda: not server._connections)


async def test_a_streaming_handler_waits_for_a_client_that_does_not_read() -> None:
    written = 0

    async def flood(stream: Any) -> None:
        nonlocal written
        while True:
            await write(stream, b"x" * 2**20)
            written += 1

    async with connected({"flood": flood}) as stream:
        await write(stream, {"op": "flood"})
        last, still = -1, 0
        while still < 100:
            still = still + 1 if written == last else 0
            last = written
            await asyncio.sleep(0)
        assert 4 <= written < 30
        for _ in range(50):
            assert len(await read(stream)) == 2**20
        assert written >= 40
