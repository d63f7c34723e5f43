"""`rpc`: many calls over few streams, and every way in which they end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tornado import gen

from distributed.core import (
    BadRequestError,
    CommClosedError,
    Server,
    StreamingOpError,
    UnencodableError,
    UnknownOpError,
    coerce_to_rpc,
    connect,
    read,
    rpc,
    to_serialize,
    write,
)
from distributed.errors import AddressError, CancelledError, PermissionDeniedError
from distributed.protocol.failure import RemoteTraceback


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


# ---------------------------------------------------------------- spellings


async def test_every_spelling_of_the_address_works(tmp_path: Path) -> None:
    async with serving({"echo": echo}) as (server, _):
        port = server.port
        for remote in (
            rpc("127.0.0.1", port),
            rpc(f"127.0.0.1:{port}"),
            rpc(f"127.0.0.1:{port}".encode()),
            rpc(f"tcp://127.0.0.1:{port}"),
            rpc(("127.0.0.1", port)),
            rpc([b"127.0.0.1", port]),
            rpc(ip="127.0.0.1", port=port),
            rpc(ip=b"127.0.0.1", port=port),
            rpc(addr=f"127.0.0.1:{port}"),
            rpc(addr=("127.0.0.1", port)),
            rpc(arg=f"127.0.0.1:{port}"),
            rpc("127.0.0.1", port=port),
            coerce_to_rpc(f"127.0.0.1:{port}"),
            coerce_to_rpc(("127.0.0.1", port), timeout=1),
        ):
            assert repr(remote) == f"<rpc to tcp://127.0.0.1:{port}, 0 streams>"
            assert await remote.echo(value=1) == 1
            await remote.close()


@pytest.mark.parametrize("scheme", ["ipv6", "unix", "inproc"])
async def test_other_schemes_work(scheme: str, tmp_path: Path) -> None:
    if scheme == "ipv6":
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 here")
    port = {"ipv6": "tcp://[::1]:0", "unix": f"unix://{tmp_path}/s", "inproc": "inproc://rpc"}[scheme]
    async with serving({"echo": echo}, port) as (_, remote):
        assert await remote.echo(value=b"x" * 100_000) == b"x" * 100_000


@pytest.mark.parametrize("arguments", [(), ("host",), (5.5,), ("http://h:1",), (("a", "b", "c"),)])
def test_no_address_is_refused_without_connecting(arguments: Any) -> None:
    with pytest.raises(AddressError):
        rpc(*arguments)


async def test_a_stream_that_is_open_already_can_be_used() -> None:
    async with serving({"echo": echo, "throw": throw}) as (server, _):
        stream = await connect(server.address)
        for remote in (rpc(stream), rpc(stream=stream), coerce_to_rpc(stream)):
            assert remote.address == server.address
            calls = [remote.echo(value=number) for number in range(5)]
            assert await asyncio.gather(*calls) == list(range(5))
            with pytest.raises(KeyError):
                await remote.throw()
        assert coerce_to_rpc(remote) is remote
        stream.close()
        with pytest.raises(CommClosedError):
            await remote.echo()


async def test_a_call_given_up_on_a_given_stream_closes_it() -> None:
    log = Log()
    async with serving(log.handlers) as (server, _):
        stream = await connect(server.address)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await rpc(stream).wait()
        assert stream.closed()
        await until(lambda: log.events == ["cancelled"])


def test_nothing_else_becomes_an_rpc() -> None:
    with pytest.raises(TypeError, match="cannot make an rpc of int"):
        coerce_to_rpc(5)


# ---------------------------------------------------------------- calls


async def test_a_hundred_calls_overlap_on_one_stream_and_answers_overtake_each_other() -> None:
    async with serving({"later": later}) as (server, remote):
        ended: list[int] = []
        calls = []
        for number in range(100):
            call = remote.later(turns=100 - number)
            call.add_done_callback(lambda done: ended.append(done.result()))
            calls.append(call)
        assert await asyncio.gather(*calls) == list(range(100, 0, -1))
        await until(lambda: len(ended) == 100)
        assert ended == sorted(ended)
        assert list(remote.streams.values()) == [True]
        assert len(server._connections) == 1


async def test_many_rpcs_with_many_calls() -> None:
    async with serving({"echo": echo}) as (server, _):
        remotes = [rpc(server.address) for _ in range(10)]
        answers = await asyncio.gather(*(remote.ping() for remote in remotes for _ in range(10)))
        assert answers == [b"pong"] * 100
        for remote in remotes:
            remote.close_streams()


async def test_a_stream_is_used_again_also_after_an_error() -> None:
    async with serving({"echo": echo, "throw": throw}) as (server, remote):
        for number in range(5):
            assert await remote.echo(value=number) == number
            with pytest.raises(KeyError):
                await remote.throw()
            assert list(remote.streams.values()) == [True]
        assert len(server._connections) == 1


async def test_ops_whose_names_are_taken_are_reached_by_brackets() -> None:
    handlers = {name: lambda stream, x: x for name in ("call", "address", "streams", "timeout", "no-identifier")}
    async with serving(handlers) as (_, remote):
        for name in handlers:
            assert await remote[name](x=name) == name
            assert await remote.call(name, x=name) == name


async def test_misuse_is_told_before_anything_is_sent() -> None:
    remote = rpc("127.0.0.1:1")
    with pytest.raises(BadRequestError, match=r"give arguments by keyword, add\(x=1\)"):
        remote.add(1, 2)
    for name in ("_private", "__len__"):
        with pytest.raises(AttributeError, match="never ops"):
            getattr(remote, name)
    assert remote.streams == {}


async def test_what_cannot_be_sent_is_refused_and_the_stream_lives() -> None:
    async with serving({"echo": echo}) as (_, remote):
        assert await remote.echo(value=1) == 1
        with pytest.raises(UnencodableError, match=r"set: it is not a msgpack type; wrap it: to_serialize"):
            await remote.echo(value={1})
        assert (await remote.echo(value=to_serialize({1}))).load() == {1}


async def test_the_first_call_on_a_new_rpc_refuses_what_cannot_be_sent_too() -> None:
    async with serving({"echo": echo}) as (_, remote):
        with pytest.raises(UnencodableError):
            await remote.echo(value={1})


async def test_an_array_arrives_in_the_memory_it_was_received_in() -> None:
    async with serving({"echo": echo}) as (_, remote):
        array = np.arange(300_000)
        answer = await remote.echo(value=to_serialize(array))
        received = answer.load()
        assert (received == array).all()
        assert np.shares_memory(received, np.frombuffer(answer.frames[1], "i8"))


async def test_64_megabytes_echo() -> None:
    data = os.urandom(1024) * 1024 * 64
    async with serving({"echo": echo}) as (_, remote):
        assert await remote.echo(value=data) == data


async def test_calls_beside_a_big_one_open_few_more_streams() -> None:
    async with serving({"echo": echo}) as (_, remote):
        await remote.ping()
        big = [remote.echo(value=b"x" * 8 * 2**20) for _ in range(6)]
        pings = [remote.ping() for _ in range(10)]
        assert await asyncio.gather(*pings) == [b"pong"] * 10
        assert {len(answer) for answer in await asyncio.gather(*big)} == {8 * 2**20}
        assert 1 < len(remote.streams) <= 4


async def test_spare_streams_are_closed_when_they_were_idle_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.calls.IDLE_S", -1.0)
    monkeypatch.setattr("distributed.calls.BUSY_NBYTES", 1000)
    async with serving({"echo": echo}) as (_, remote):
        await remote.ping()
        await asyncio.gather(*(remote.echo(value="x" * 5000) for _ in range(3)))
        assert len(remote.streams) == 1


async def test_close_true_closes_the_stream_after_the_answer() -> None:
    async with serving({"echo": echo}) as (server, remote):
        assert await remote.echo(value=1, close=True) == 1
        assert remote.streams == {}
        await until(lambda: not server._connections)


@pytest.mark.parametrize("close", [False, True])
async def test_reply_false_waits_for_nothing_and_the_handler_still_runs_to_its_end(close: bool) -> None:
    log = Log()
    async with serving({**log.handlers, "throw": throw}) as (server, remote):
        assert await remote.wait(name="x", reply=False, close=close) is None
        assert await remote.throw(reply=False, close=close) is None
        assert await remote.no_such_op(reply=False, close=close) is None
        await remote.close()
        await until(lambda: log.began == 1 and not server._connections)
        assert log.events == []
        log.gate.set()
        await until(lambda: not server._unanswered)


async def test_calls_without_an_answer_end_with_the_server() -> None:
    log = Log()
    async with serving(log.handlers) as (server, remote):
        await remote.wait(reply=False)
        await until(lambda: log.began == 1)
        server.stop()
        await until(lambda: log.events == ["cancelled"])


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("close", [False, True])
async def test_an_error_is_raised_by_type_with_the_remote_line_as_its_cause(close: bool) -> None:
    async with serving({"throw": throw}) as (server, remote):
        with pytest.raises(KeyError) as caught:
            await remote.throw(close=close)
        cause = caught.value.__cause__
        assert isinstance(cause, RemoteTraceback)
        assert f"Traceback in {server.address}" in str(cause)
        assert 'raise {"KeyError": KeyError' in str(cause)


async def test_errors_that_python_would_mistake_arrive_as_others() -> None:
    async with serving({"throw": throw, "gone": gone}) as (_, remote):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await remote.throw(kind="StopIteration")
        with pytest.raises(CancelledError):
            await remote.gone()
        with pytest.raises(CancelledError):
            await remote.gone(close=True)
        assert await remote.ping() == b"pong"


async def test_bad_calls_are_typed_errors() -> None:
    async with serving({"echo": echo}) as (_, remote):
        with pytest.raises(UnknownOpError, match="No handler found: 'subtract'"):
            await remote.subtract(x=1)
        with pytest.raises(BadRequestError, match=r"echo\(value: 'Any' = None\).*'z'"):
            await remote.echo(z=1)


async def test_a_handler_that_needs_a_stream_of_its_own_says_so_and_names_its_own_op() -> None:
    @gen.coroutine
    def by_yield(stream: Any) -> Any:
        yield stream.read_bytes(1)

    handlers = {"stream": stream_some, "by_yield": by_yield, "later": later, "reads": lambda stream: read(stream)}
    async with serving(handlers) as (_, remote):
        calls = [remote.stream(), remote.by_yield(), remote.reads(), remote.later(turns=3)]
        for op, call in zip(("stream", "by_yield", "reads"), calls, strict=False):
            with pytest.raises(StreamingOpError, match=rf"'{op}' reads or writes its stream: call it with connect\(\)"):
                await call
        assert await calls[3] == 3


async def test_a_handler_called_by_rpc_can_ask_its_stream() -> None:
    left: list[str] = []

    def who(stream: Any) -> Any:
        stream.set_close_callback(lambda: left.append("left"))
        return [stream.peer.role, stream.closed()]

    async with serving({"who": who}) as (_, remote):
        assert await remote.who() == ["client", False]
        remote.close_streams()
        await until(lambda: left == ["left"])


async def test_an_answer_that_cannot_be_sent_is_an_error_and_the_stream_lives() -> None:
    async with serving({"give": lambda stream: {1}}) as (_, remote):
        with pytest.raises(UnencodableError):
            await remote.give()
        assert await remote.ping() == b"pong"


async def test_a_role_that_may_not_is_told_so() -> None:
    async with serving({"echo": echo}) as (server, _), rpc(server.address, role="readonly") as remote:
        assert await remote.ping() == b"pong"
        with pytest.raises(PermissionDeniedError):
            await remote.echo()


# ---------------------------------------------------------------- cancelling


@pytest.mark.parametrize("way", ["timeout", "cancel"])
async def test_giving_up_a_call_cancels_its_handler_and_no_other(way: str) -> None:
    log = Log()
    async with serving(log.handlers) as (_, remote):
        other = remote.wait(name="other")
        if way == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await remote.wait(name="x")
        else:
            call = asyncio.ensure_future(remote.wait(name="x"))
            await until(lambda: log.began == 2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await until(lambda: log.events == ["cancelled x"])
        log.gate.set()
        assert await other == "other"


async def test_a_call_given_up_while_it_connects_leaves_nothing_behind(tmp_path: Path) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with rpc(f"unix://{tmp_path}/nobody", timeout=0.05) as remote:
        call = asyncio.ensure_future(remote.ping())
        await until(lambda: remote._connecting is not None)
        connecting = remote._connecting
        assert connecting is not None
        call.cancel()
        await asyncio.wait([connecting])
    del connecting, call
    gc.collect()
    assert told == []


async def test_an_answer_to_a_call_that_was_given_up_is_dropped() -> None:
    async with serving({"echo": echo}) as (_, remote):
        await remote.ping()
        call = remote.echo(value=1)
        await asyncio.sleep(0)  # it is on its way
        call.cancel()
        assert await remote.echo(value=2) == 2


@pytest.mark.parametrize("plain", [False, True])
async def test_closing_the_client_cancels_its_handlers(plain: bool) -> None:
    log = Log()
    async with serving(log.handlers) as (server, remote):
        calls = [remote.wait(name=str(number), close=plain) for number in range(3)]
        await until(lambda: log.began == 3)
        if plain:
            for call in calls:
                call.cancel()
        else:
            remote.close_streams()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError if plain else CommClosedError}
        await until(lambda: sorted(log.events) == ["cancelled 0", "cancelled 1", "cancelled 2"])
        await until(lambda: not server._connections)


async def test_a_gen_coroutine_goes_on_when_its_caller_leaves_and_its_end_disturbs_nobody() -> None:
    ended: list[str] = []

    @gen.coroutine
    def slow(stream: Any) -> Any:
        for _ in range(30):
            yield gen.moment
        ended.append("ended")
        raise ValueError("which nobody hears")

    async with serving({"slow": slow}) as (_, remote):
        await remote.ping()
        call = remote.slow()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        remote.close_streams()
        with pytest.raises(CommClosedError):
            await call
        await until(lambda: bool(ended))
