"""Messages over a Tornado IOStream that somebody else opened."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tornado.iostream import IOStream, StreamClosedError

from distributed.comm.stream import Peer, Stream
from distributed.core import ErrorReply, read, rpc, send_recv, to_serialize, write
from distributed.errors import CommClosedError, MessageTooLargeError, ProtocolError, UnencodableError
from distributed.protocol.codec import SENTINEL, encode


def pair() -> tuple[IOStream, IOStream]:
    ours, theirs = socket.socketpair()
    return IOStream(ours), IOStream(theirs)


async def test_any_message_crosses_a_pair_of_iostreams() -> None:
    a, b = pair()
    messages = [None, {"op": SENTINEL * 1000}, [b"\xc1" * 100_000, {"y": b""}], b"x" * 3_000_000, {1: 2}]
    for message in messages:
        await asyncio.gather(write(a, message), asyncio.wait_for(_expect(b, message), 5))
    await asyncio.gather(write(a, {"x": to_serialize({1, 2}), "y": to_serialize(b"z" * 100_000)}), _expect_objects(b))
    a.close(), b.close()


async def _expect(stream: IOStream, message: Any) -> None:
    assert await read(stream) == message


async def _expect_objects(stream: IOStream) -> None:
    message = await read(stream)
    assert message["x"].load() == {1, 2}
    assert message["y"].load() == b"z" * 100_000


async def test_ours_and_tornados_understand_each_other() -> None:
    ours, theirs = socket.socketpair()
    a, b = Stream(ours, Peer("inproc://a", "client")), IOStream(theirs)
    await asyncio.gather(write(a, {"x": b"y" * 500_000}), _expect(b, {"x": b"y" * 500_000}))
    await asyncio.gather(write(b, ["z" * 500_000]), _expect_ours(a, ["z" * 500_000]))
    a.close(), b.close()


async def _expect_ours(stream: Stream, message: Any) -> None:
    assert await read(stream) == message


async def test_a_torn_message_is_a_closed_stream() -> None:
    a, b = pair()
    await a.write(b"".join(encode({"x": b"y" * 50_000}))[:20_000])
    a.close()
    with pytest.raises(StreamClosedError):
        await read(b)
    with pytest.raises(StreamClosedError):
        await write(b, 1)


async def test_garbage_closes_the_stream() -> None:
    a, b = pair()
    await a.write(b"\x01\x02" + SENTINEL)
    with pytest.raises(ProtocolError):
        await read(b)
    assert b.closed()
    a.close()


async def test_a_header_over_the_limit_closes_the_stream(change_settings: Any) -> None:
    change_settings(header_nbytes_max=1000)
    a, b = pair()
    await a.write(b"x" * 5000)
    with pytest.raises(MessageTooLargeError, match="header_nbytes_max"):
        await read(b)
    assert b.closed()
    a.close()


async def test_what_cannot_be_sent_is_refused_before_anything_is() -> None:
    a, b = pair()
    with pytest.raises(UnencodableError):
        await write(a, {1})
    await write(a, 5)
    assert await read(b) == 5
    a.close(), b.close()


async def test_send_recv_and_rpc_accept_an_iostream() -> None:
    a, b = pair()

    async def answer() -> None:
        assert (await read(b))["op"] == "add"
        await write(b, 3)
        await read(b)
        await write(b, ErrorReply(status="uncaught-error", type="KeyError", text="x", traceback="", exception=None))

    answering = asyncio.ensure_future(answer())
    assert await send_recv(a, op="add", x=1, y=2) == 3
    remote = rpc(a)
    assert repr(remote) == "<rpc to the given stream, 0 streams>"
    with pytest.raises(KeyError):
        await remote.add(x=1)
    await answering
    await remote.close()
    with pytest.raises(CommClosedError, match="this rpc was closed"):
        await remote.add(x=1)
    a.close(), b.close()


@pytest.mark.parametrize("begun", [b"", b"\x81\xa1"])
async def test_an_end_before_the_end_of_a_header_is_a_closed_stream(begun: bytes) -> None:
    a, b = pair()
    await a.write(begun)
    a.close()
    with pytest.raises(StreamClosedError):
        await read(b)
