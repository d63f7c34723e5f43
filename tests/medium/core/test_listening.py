"""Servers: where they listen, and whom they let do what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from distributed.core import (
    CommClosedError,
    PermissionDeniedError,
    RemoteError,
    Server,
    clean_exception,
    connect,
    read,
    rpc,
    send_recv,
    to_serialize,
    write,
)
from distributed.errors import AddressError, ConfigError, PortTakenError


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


async def test_listen_takes_none_zero_a_number_or_an_address(tmp_path: Path) -> None:
    class WithDefault(Server):
        default_port = 0

    probe = Server()
    probe.listen(0)
    free = probe.port
    probe.stop()
    for port in (None, 0, free, str(free), f"127.0.0.1:{free}", f"unix://{tmp_path}/s", "inproc://core"):
        server = WithDefault()
        server.listen(port)
        assert await send_recv(server.address, op="ping") == b"pong"
        if port == free:
            assert server.port == free
        server.stop()


async def test_a_server_may_listen_in_several_places() -> None:
    async with serving(port="inproc://several") as server:
        server.listen(0)
        assert server.address == "inproc://several"
        assert await send_recv("127.0.0.1", port=server.port, op="ping") == b"pong"
        assert await send_recv("inproc://several", op="ping") == b"pong"


def test_a_server_that_does_not_listen_has_no_port_and_says_what_to_do() -> None:
    server = Server()
    with pytest.raises(OSError, match=r"Server has no port.  Please call .listen first"):
        _ = server.port
    with pytest.raises(OSError, match=r"Please call .listen first"):
        _ = server.address
    assert repr(server) == "<Server not listening>"


async def test_a_port_that_is_taken_is_named() -> None:
    async with serving() as server:
        with pytest.raises(
            PortTakenError, match=f"127.0.0.1:{server.port}: Address already in use; choose another port"
        ):
            Server().listen(server.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "10.0.0.1", "example.org"])
async def test_a_host_that_others_can_reach_is_refused_unless_spelled_out(host: str) -> None:
    with pytest.raises((ConfigError, AddressError)) as caught:
        Server().listen(0, host)
    if host:
        assert "beyond this machine connections must be encrypted" in str(caught.value)
        assert "--insecure" in str(caught.value)
        with pytest.raises(ConfigError):
            Server().listen(f"tcp://[{host}]:0")


async def test_insecure_spelled_out_is_obeyed() -> None:
    server = Server()
    server.listen(0, "0.0.0.0", insecure=True)
    assert await send_recv("127.0.0.1", port=server.port, op="ping") == b"pong"
    server.stop()


@pytest.mark.parametrize("port", [-1, 70_000, "h:x", "http://h:1"])
async def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(AddressError):
        Server().listen(port)


@pytest.mark.parametrize("op", ["_private", "__class__", "close", 5, None, b"x"])
def test_ops_that_could_not_be_called_are_refused_early(op: Any) -> None:
    with pytest.raises(TypeError, match="cannot be an op"):
        Server({op: add})


def test_handlers_that_cannot_be_called_are_refused_early() -> None:
    with pytest.raises(TypeError, match="the handler of 'add' is a int and cannot be called"):
        Server({"add": 5})


async def test_stopping_ends_listening_and_every_connection() -> None:
    async with serving() as server:
        stream = await connect(server.address)
        assert await ask(stream, {"op": "ping"}) == b"pong"
        address = server.address
        server.stop()
        with pytest.raises(CommClosedError):
            await read(stream)
        with pytest.raises(TimeoutError):
            await connect(address, timeout=0.02)


# ---------------------------------------------------------------- roles


async def test_readonly_may_look_and_nothing_else() -> None:
    async with connected(role="readonly") as stream:
        assert await ask(stream, {"op": "ping"}) == b"pong"
        assert (await ask(stream, {"op": "identity"}))["type"] == "Server"
        assert "add" in await ask(stream, {"op": "ops"})
        error = clean_exception(await ask(stream, {"op": "add", "x": 1}))
        assert type(error) is PermissionDeniedError
        assert "role 'readonly' may not call 'add'" in str(error)


async def test_readonly_may_send_no_pickles() -> None:
    async with connected(role="readonly") as stream:
        await write(stream, {"op": "ping", "x": to_serialize(1)})
        with pytest.raises(CommClosedError):
            await read(stream)


@pytest.mark.parametrize("value", [b"x" * 20_000, "x" * 70_000])
async def test_readonly_may_send_no_frames_and_no_long_headers(value: Any) -> None:
    async with connected(role="readonly") as stream:
        await write(stream, {"op": "ping", "x": value})
        with pytest.raises(CommClosedError):
            await read(stream)


async def test_a_reader_unpickles_nothing_that_a_server_sends_as_an_error() -> None:
    """Whoever holds a key for reading can pose as a server to others who do."""

    class Posing(Server):
        def identity(self, stream: Any) -> Any:
            raise TwoArgumentsThatPickle(1, "x")

    server = Posing()
    server.listen(0)
    async with rpc(server.address, role="readonly") as remote:
        with pytest.raises(RemoteError):
            await remote.identity()
    async with rpc(server.address) as remote:
        with pytest.raises(TwoArgumentsThatPickle):
            await remote.identity()
    server.stop()


class TwoArgumentsThatPickle(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
