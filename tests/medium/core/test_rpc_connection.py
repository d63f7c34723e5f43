"""`rpc`: how its connection ends, and the bounds of what is in flight."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from distributed import core
from distributed.core import (
    CommClosedError,
    RemoteError,
    Server,
    connect,
    rpc,
    write,
)
from distributed.errors import ConnectTimeoutError
from distributed.protocol.codec import encode


class Log:
    """Handlers that remember what happened to them."""

    def __init__(self) -> None:
        self.began = 0
        self.events: list[str] = []
        self.gate = asyncio.Event()

    async def wait(self, stream: Any, name: str = "") -> str:
        self.began += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.events.append(f"cancelled {name}".strip())
            raise
        return name

    @property
    def handlers(self) -> dict[str, Any]:
        return {"wait": self.wait, "echo": echo, "throw": throw, "later": later, "stream": stream_some, "gone": gone}


def echo(stream: Any, value: Any = None) -> Any:
    return value


def throw(stream: Any, kind: str = "KeyError") -> None:
    if kind == "StopIteration":
        next(iter([]))
    if kind == "cancelled":
        raise asyncio.CancelledError
    raise {"KeyError": KeyError, "ValueError": ValueError}[kind]("x")


async def later(stream: Any, turns: int) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return turns


async def stream_some(stream: Any) -> None:
    await asyncio.sleep(0)
    await write(stream, 1)


async def gone(stream: Any) -> None:
    await asyncio.sleep(0)
    raise asyncio.CancelledError


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(handlers: dict[str, Any], port: Any = 0) -> AsyncIterator[tuple[Server, rpc]]:
    server = Server(handlers)
    server.listen(port)
    async with rpc(server.address) as remote:
        try:
            yield server, remote
        finally:
            server.stop()


# ---------------------------------------------------------------- the connection


async def test_nobody_there_is_a_time_out_for_every_call_that_waits() -> None:
    probe = Server()
    probe.listen(0)
    address = probe.address
    probe.stop()
    async with rpc(address, timeout=0.03) as remote:
        results = await asyncio.gather(*(remote.ping() for _ in range(3)), return_exceptions=True)
        assert {type(result) for result in results} == {ConnectTimeoutError}
        assert f"Timed out while connecting to {address} after 0.03 s" in str(results[0])


async def test_a_call_given_up_while_connecting_leaves_the_connection_to_others() -> None:
    async with serving({"echo": echo}) as (_, remote):
        first, second = remote.ping(), remote.ping()
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"pong"
        assert len(remote.streams) == 1


async def test_closing_while_connecting_fails_the_calls_that_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = rpc(silent.getsockname())
        calls = [remote.ping() for _ in range(3)]
        await asyncio.sleep(0.01)
        await remote.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {CommClosedError}
        for call in (remote.ping, lambda: remote.ping(close=True), lambda: remote.ping(reply=False)):
            with pytest.raises(CommClosedError, match="this rpc was closed"):
                await call()


async def test_a_call_given_up_while_its_connection_is_closed_is_cancelled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = rpc(silent.getsockname())
        call = asyncio.ensure_future(remote.ping())
        await asyncio.sleep(0.01)
        remote.close_streams()
        call.cancel()
        await asyncio.wait([call], timeout=5)
        assert call.cancelled()  # an error would be one that nobody asks for, and the log would say so


async def test_when_the_server_goes_calls_in_flight_fail_and_the_next_connects_again() -> None:
    log = Log()
    async with serving(log.handlers) as (server, remote):
        port = server.port
        calls = [remote.wait() for _ in range(5)]
        await until(lambda: log.began == 5)
        server.stop()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {CommClosedError}
        assert "the other side closed it" in str(results[0])
        assert log.events == ["cancelled"] * 5
        again = Server({"echo": echo})
        again.listen(port)
        assert await remote.echo(value=1) == 1
        again.stop()


async def fake_server(answer: Callable[[Any], bytes]) -> tuple[Server, list[Any]]:
    """A server that answers the first call by bytes of our choice and hangs up."""
    streams: list[Any] = []

    async def misbehave(stream: Any) -> None:
        await stream.write(answer(stream))
        stream.close()

    server = Server()

    def on_stream(stream: Any) -> None:
        streams.append(stream)

        async def serve() -> None:
            await stream.read_message()
            await misbehave(stream)

        streams.append(asyncio.ensure_future(serve()))

    server._on_stream = on_stream  # type: ignore[method-assign]
    server.listen(0)
    return server, streams


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "the other side closed it$"),
        (b"\x93\x01\x01", "in the middle of a message"),
        (bytes(encode([1, 1, b"x" * 100_000])[0]) + b"x" * 50_000, "in the middle of a message"),
        (b"\xc1\x01\xc1\x00", "bad message header"),
        (encode(5)[0], "closed"),
        (encode([1])[0], "closed"),
        (encode([1, [], 3])[0], "closed"),
    ],
)
async def test_an_answer_that_is_torn_or_makes_no_sense_fails_the_call_and_says_why(answer: bytes, text: str) -> None:
    server, _ = await fake_server(lambda stream: answer)
    async with rpc(server.address) as remote:
        with pytest.raises(CommClosedError, match=text):
            await remote.ping()
    server.stop()


@pytest.mark.parametrize("message", [[1, 99, "nobody asked"], [2, 99, None]])
async def test_an_answer_to_no_call_is_passed_over(message: Any) -> None:
    server, _ = await fake_server(lambda stream: bytes(encode(message)[0]) + bytes(encode([1, 1, "mine"])[0]))
    async with rpc(server.address) as remote:
        assert await remote.ping() == "mine"
    server.stop()


@pytest.mark.parametrize("message", [[5, 1, "x"], [2, 1, {"status": "error"}]])
async def test_an_answer_of_no_known_kind_is_a_protocol_error(message: Any) -> None:
    server, _ = await fake_server(lambda stream: bytes(encode(message)[0]))
    async with rpc(server.address) as remote:
        with pytest.raises(core.ProtocolError, match="answered with no known kind of answer"):
            await remote.ping()
    server.stop()


async def test_an_rpc_that_is_forgotten_closes_its_streams() -> None:
    async with serving({"echo": echo}) as (server, _):
        remote = rpc(server.address)
        await remote.ping()
        assert len(server._connections) == 1
        del remote
        await until(lambda: not server._connections)


# ---------------------------------------------------------------- bounds


async def test_calls_in_flight_on_one_stream_are_bounded_and_all_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "CALLS_MAX", 10)
    log = Log()
    async with serving(log.handlers) as (_server, remote):
        await remote.ping()
        calls = [remote.wait(name=str(number)) for number in range(35)]
        await until(lambda: log.began == 10)
        for _ in range(50):
            await asyncio.sleep(0)
        assert log.began == 10
        for call in calls[:8]:
            call.cancel()  # is heard only once there is room again
        log.gate.set()
        assert await asyncio.gather(*calls[8:]) == [str(number) for number in range(8, 35)]


async def test_calls_without_an_answer_are_bounded_and_all_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "CALLS_MAX", 10)
    log = Log()
    async with serving(log.handlers) as (_server, remote):
        await remote.ping()
        for number in range(35):
            await remote.wait(name=str(number), reply=False)
        await until(lambda: log.began == 10)
        for _ in range(50):
            await asyncio.sleep(0)
        assert log.began == 10
        log.gate.set()
        await until(lambda: log.began == 35)
        assert await remote.ping() == b"pong"


async def test_cancelled_calls_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "CALLS_MAX", 3)
    log = Log()
    async with serving(log.handlers) as (_, remote):
        await remote.ping()
        first = [remote.wait(name="x") for _ in range(2)]
        await until(lambda: log.began == 2)
        for call in first:
            call.cancel()
        calls = [remote.wait(name=str(number)) for number in range(3)]
        await until(lambda: log.began == 5)
        log.gate.set()
        assert await asyncio.gather(*calls) == ["0", "1", "2"]


async def test_a_server_stops_reading_calls_while_their_answers_are_not_read() -> None:
    began = 0

    def much(stream: Any) -> bytes:
        nonlocal began
        began += 1
        return b"x" * 2**20

    async with serving({"much": much}) as (server, _):
        stream = await connect(server.address)
        for number in range(1, 101):
            stream.write_message_nowait([0, number, "much", {}])
        last, still = -1, 0
        while still < 100:
            still = still + 1 if began == last else 0
            last = began
            await asyncio.sleep(0)
        assert 4 <= began < 20
        numbers = [(await stream.read_message())[1] for _ in range(100)]
        assert numbers == list(range(1, 101))
        stream.close()


async def test_a_caller_that_never_reads_is_given_up(change_settings: Any) -> None:
    change_settings(unsent_nbytes_max=6 * 2**20)

    async def much(stream: Any) -> bytes:
        await asyncio.sleep(0)
        return b"x" * 2**20

    async with serving({"much": much}) as (server, _):
        stream = await connect(server.address)
        for number in range(1, 101):
            stream.write_message_nowait([0, number, "much", {}])
        await until(lambda: len(server._connections) == 1)
        await until(lambda: not server._connections)
        stream.close()


async def test_a_failed_call_without_an_answer_disturbs_nobody() -> None:
    async def fail(stream: Any) -> None:
        await asyncio.sleep(0)
        raise RemoteError("E", "text", "")

    async with serving({"fail": fail}) as (server, remote):
        await remote.fail(reply=False)
        assert await remote.ping() == b"pong"
        await until(lambda: not server._unanswered)


async def test_a_caller_that_leaves_without_reading_its_answers_is_noticed() -> None:
    async with serving({"much": lambda stream: b"x" * 2**20}) as (server, _):
        stream = await connect(server.address)
        for number in range(1, 51):
            stream.write_message_nowait([0, number, "much", {}])
        still = 0
        while still < 100:
            still = still + 1 if any(c._draining is not None for c in server._connections) else 0
            await asyncio.sleep(0)
        stream.close()
        await until(lambda: not server._connections)
