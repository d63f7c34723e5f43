"""One connection: messages, bounds in both directions, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distributed.comm import stream as stream_module
from distributed.comm.stream import Peer, Stream
from distributed.errors import CommClosedError, MessageTooLargeError, ProtocolError, UnencodableError
from distributed.protocol.codec import SENTINEL, Limits, encode
from distributed.protocol.serialize import to_serialize

MiB = 2**20


def pair(**options: Any) -> tuple[Stream, Stream]:
    ours, theirs = socket.socketpair()
    return Stream(ours, Peer("inproc://a", "client")), Stream(theirs, Peer("inproc://b", "client"), **options)


def half(**options: Any) -> tuple[socket.socket, Stream]:
    """A bare socket and a stream at its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, Stream(theirs, Peer("inproc://b", "client"), **options)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def quiet(stream: Stream, turns: int = 50) -> None:
    """Let the loop turn until nothing moves on `stream` any more."""
    seen, still = -1, 0
    while still < turns:
        now = stream.nbytes_unsent
        still = still + 1 if now == seen else 0
        seen = now
        await asyncio.sleep(0)


async def test_messages_arrive_in_order_whatever_they_hold() -> None:
    a, b = pair()
    messages = [
        None,
        0,
        {"op": SENTINEL * 1000},
        [1, b"\xc1" * 100_000, {2: (3,)}],
        b"",
        "",
        b"x" * 3 * MiB,
        {},
        SENTINEL,
    ]
    for message in messages:
        a.write_message_nowait(message)
    received = [await b.read_message() for _ in messages]
    messages[3] = [1, b"\xc1" * 100_000, {2: [3]}]
    assert received == messages
    a.close(), b.close()


async def test_the_few_messages_of_one_turn_leave_in_one_write() -> None:
    a, b = pair()
    for number in range(20):
        a.write_message_nowait(number)
    assert a.nbytes_unsent == 60
    await b.read_message()
    assert a.nbytes_unsent == 0
    assert b._decoder.nbytes_pending == 57
    a.close(), b.close()


async def test_of_many_messages_the_first_leave_before_the_turn_ends() -> None:
    a, b = pair()
    for number in range(100):
        a.write_message_nowait(number)
    assert a.nbytes_unsent < 3 * 24
    assert [await b.read_message() for _ in range(100)] == list(range(100))
    a.close(), b.close()


async def test_big_frames_are_received_where_they_stay() -> None:
    a, b = pair()
    array = np.arange(MiB)
    a.write_message_nowait({"x": to_serialize(array), "y": b"z" * 70_000})
    message = await b.read_message()
    received = message["x"].load()
    assert (received == array).all()
    assert np.shares_memory(received, np.frombuffer(message["x"].frames[1], "i8"))
    assert message["y"] == b"z" * 70_000
    a.close(), b.close()


async def test_many_small_and_empty_buffers_all_leave() -> None:
    a, b = pair()
    a.write_buffers([b"", b"ab", memoryview(b""), b""])
    a.write_buffers([bytes([65 + n % 26]) * 2000 for n in range(200)])
    await a.write(b"")
    await a.write(memoryview(np.arange(3, dtype="i4")))
    assert await b.read_bytes(2) == b"ab"
    assert (await b.read_bytes(400_000))[-2:] == b"RR"
    assert np.frombuffer(await b.read_bytes(12), "i4").tolist() == [0, 1, 2]
    await a.close_after_flush()
    b.close()


# ---------------------------------------------------------------- the end


async def test_reading_from_a_stream_that_the_other_side_closed_tells_so() -> None:
    a, b = pair()
    a.write_message_nowait("last words")
    await a.close_after_flush()
    assert await b.read_message() == "last words"
    for _ in range(2):
        with pytest.raises(CommClosedError, match=r"connection with inproc://b is closed: the other side closed it$"):
            await b.read_message()
    with pytest.raises(CommClosedError):
        b.write_message_nowait(1)
    with pytest.raises(CommClosedError):
        await b.flush()
    assert b.closed()
    assert repr(b) == "<Stream inproc://b as client closed>"


@pytest.mark.parametrize("end", [1, 10, 60, 50_000])
async def test_a_message_torn_in_the_middle_is_told_from_a_clean_end(end: int) -> None:
    peer, b = half()
    peer.send(b"".join(encode({"x": b"y" * 100_000, "z": "w" * 40}))[:end])
    peer.close()
    with pytest.raises(CommClosedError, match="in the middle of a message"):
        await b.read_message()


async def test_garbage_closes_the_stream_with_a_protocol_error() -> None:
    peer, b = half()
    peer.send(b"\x01\x02garbage" + SENTINEL + b"\x01" + SENTINEL)
    with pytest.raises(ProtocolError, match="bad message header"):
        await b.read_message()
    assert b.closed()
    with pytest.raises(ProtocolError):
        await b.read_message()
    peer.close()


async def test_a_header_over_the_limit_closes_the_stream_without_being_collected() -> None:
    peer, b = half(limits=Limits(header_nbytes_max=1000))
    peer.send(b"x" * 100_000)
    with pytest.raises(MessageTooLargeError, match="header_nbytes_max"):
        await b.read_message()
    peer.close()


async def test_what_cannot_be_sent_leaves_the_stream_unharmed() -> None:
    a, b = pair()
    for bad in ({1, 2}, 2**70, [object()]):
        with pytest.raises(UnencodableError):
            a.write_message_nowait(bad)
    a.write_message_nowait("fine")
    assert await b.read_message() == "fine"
    a.close(), b.close()


async def test_close_callbacks_run_once_from_either_side() -> None:
    a, b = pair()
    told: list[str] = []
    a.set_close_callback(lambda: told.append("a"))
    b.set_close_callback(lambda: told.append("b"))
    b.set_close_callback(lambda: told.append("b too"))
    a.close()
    a.close()
    await until(b.closed)
    await until(lambda: len(told) == 3)
    assert told == ["a", "b", "b too"]
    a.set_close_callback(lambda: told.append("late"))
    a.add_close_callback(lambda: told.append("late too"))
    await until(lambda: told[3:] == ["late", "late too"])


async def test_a_user_of_a_stream_cannot_take_back_what_its_owner_asked_for() -> None:
    a, b = pair()
    told: list[str] = []
    b.add_close_callback(lambda: told.append("owner"))
    b.set_close_callback(lambda: told.append("user"))
    b.set_close_callback(None)
    a.close()
    await until(b.closed)
    await until(lambda: bool(told))
    assert told == ["owner"]


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    a, b = pair()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await b.read_message()
    a.write_message_nowait(1)
    assert await b.read_message() == 1
    a.close(), b.close()


async def test_two_readers_at_once_are_refused() -> None:
    a, b = pair()
    first = asyncio.ensure_future(b.read_message())
    await asyncio.sleep(0)
    with pytest.raises(ProtocolError, match="two readers"):
        await b.read_message()
    a.write_message_nowait(1)
    assert await first == 1
    a.close(), b.close()


async def test_closing_wakes_a_reader_and_a_writer_who_wait() -> None:
    a, b = pair()
    reader = asyncio.ensure_future(a.read_message())
    a.write_message_nowait(b"x" * 16 * MiB)
    writers = [asyncio.ensure_future(a.drain()), asyncio.ensure_future(a.flush()), a.write(b"more")]
    await quiet(a)
    a.close()
    for waiting in (reader, *writers):
        with pytest.raises(CommClosedError, match="closed here"):
            await waiting
    b.close()


async def test_a_write_whose_end_nobody_waits_for_may_fail_in_silence() -> None:
    a, b = pair()
    _ = a.write(b"x" * 8 * MiB)
    await quiet(a)
    b.close()
    await until(a.closed)


# ---------------------------------------------------------------- bounds


async def test_a_writer_waits_while_the_peer_does_not_read() -> None:
    a, b = pair()
    a.write_message_nowait(b"x" * 8 * MiB)
    drained = asyncio.ensure_future(a.drain())
    await quiet(a)
    assert not drained.done()
    assert a.nbytes_unsent > 4 * MiB
    assert len(await b.read_message()) == 8 * MiB
    await drained
    a.close(), b.close()


async def test_a_peer_that_never_reads_is_given_up_at_a_bound(change_settings: Any) -> None:
    change_settings(unsent_nbytes_max=5 * MiB)
    a, b = pair()
    a.write_message_nowait(b"x" * 4 * MiB)
    await quiet(a)
    with pytest.raises(CommClosedError, match="bytes wait and the peer does not read"):
        a.write_message_nowait(b"x" * 4 * MiB)
    assert a.closed()
    assert a.nbytes_unsent == 0
    b.close()


async def test_a_stream_that_nobody_reads_stops_receiving_at_a_bound() -> None:
    a, b = pair()
    sent = 0
    while sent < 16 * MiB:
        a.write_message_nowait("x" * 10_000)
        sent += 10_000
    await quiet(a)
    bound = (stream_module.PENDING_CHUNKS_MAX + 1) * stream_module.CHUNK_NBYTES
    assert b._decoder.nbytes_pending <= bound
    assert a.nbytes_unsent > 10 * MiB
    for _ in range(sent // 10_000):
        assert len(await b.read_message()) == 10_000
    assert a.nbytes_unsent == 0
    a.close(), b.close()


async def test_a_handler_that_comes_late_gets_everything() -> None:
    a, b = pair()
    for _ in range(400):
        a.write_message_nowait("x" * 10_000)
    await quiet(a)
    assert a.nbytes_unsent  # b has stopped receiving
    got: list[Any] = []
    b.set_message_handler(got.append)
    await until(lambda: len(got) == 400)
    a.close(), b.close()


async def test_a_paused_stream_delivers_nothing_until_it_is_resumed() -> None:
    a, b = pair()
    got: list[Any] = []

    def take_one(message: Any) -> None:
        got.append(message)
        b.pause_reading()

    b.set_message_handler(take_one)
    for number in range(5):
        a.write_message_nowait(number)
    for count in range(1, 6):
        await until(lambda count=count: len(got) == count)  # type: ignore[misc]
        await quiet(a)
        assert len(got) == count
        b.resume_reading()
    assert got == [0, 1, 2, 3, 4]
    a.close(), b.close()


async def test_a_handler_can_be_replaced_by_a_reader_between_messages() -> None:
    a, b = pair()
    got: list[Any] = []

    def first_only(message: Any) -> None:
        got.append(message)
        b.set_message_handler(None)

    b.set_message_handler(first_only)
    for number in range(3):
        a.write_message_nowait(number)
    await until(lambda: bool(got))
    assert [await b.read_message(), await b.read_message()] == [1, 2]
    assert got == [0]
    a.close(), b.close()


async def test_garbage_ends_a_stream_with_a_handler_too() -> None:
    peer, b = half()
    got: list[Any] = []
    b.set_message_handler(got.append)
    peer.send(b"\x01" + SENTINEL + b"\x92\x01" + SENTINEL + b"\x02" + SENTINEL)
    await until(b.closed)
    assert got == [1]
    assert type(b.error) is ProtocolError
    peer.close()


async def test_a_handler_that_raises_ends_the_connection_and_the_loop_is_told() -> None:
    a, b = pair()
    loop, told = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    def broken(message: Any) -> None:
        raise ZeroDivisionError("a bug of ours")

    b.set_message_handler(broken)
    a.write_message_nowait(1)
    a.write_message_nowait(2)
    await until(lambda: a.closed() and bool(told))
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert "ZeroDivisionError while a message was handled" in str(b.why_closed())


async def test_a_reset_connection_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    b = Stream(theirs, Peer("tcp://x:1", "client"))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    ours.close()
    with pytest.raises(CommClosedError, match="reset by peer"):
        await b.read_message()


async def test_a_stranger_is_received_in_sips_and_stopped_soon() -> None:
    peer, b = half(is_stranger=True)
    peer.send(b"x" * 50_000)
    await until(lambda: not b._reading)
    assert b._decoder.nbytes_pending <= (stream_module.PENDING_CHUNKS_MAX + 1) * stream_module.STRANGER_CHUNK_NBYTES
    assert await b.read_bytes(50_000) == b"x" * 50_000
    peer.close(), b.close()


async def test_a_stream_outlives_its_loop_without_harm() -> None:
    streams: list[Stream] = []

    def elsewhere() -> None:
        async def leave_open() -> None:
            streams.extend(pair())
            streams[0].set_close_callback(lambda: None)

        asyncio.run(leave_open())

    await asyncio.to_thread(elsewhere)
    for stream in streams:
        stream.close()
        assert stream.closed()


async def test_a_paused_stream_notices_that_its_peer_has_left_when_it_writes() -> None:
    a, b = pair()
    a.pause_reading()
    b.close()
    a.write_message_nowait(1)
    await until(a.closed)
    with pytest.raises(CommClosedError, match="Broken pipe"):
        await a.flush()


async def test_what_a_peer_said_before_it_left_is_read_although_it_takes_nothing_any_more() -> None:
    theirs, stream = half()
    for buffer in encode(["last words"]):
        theirs.send(buffer)
    theirs.close()
    stream.write_message_nowait(["nobody reads this"])
    stream._flush()
    assert not stream.closed()
    assert await stream.read_message() == ["last words"]
    with pytest.raises(CommClosedError, match="the other side closed it"):
        await stream.read_message()
    with pytest.raises(CommClosedError):
        await stream.flush()


async def test_a_peer_that_left_is_noticed_by_writing_although_nothing_is_read() -> None:
    theirs, stream = half()
    stream.pause_reading()
    theirs.close()
    stream.write_message_nowait(["nobody reads this"])
    await until(stream.closed)
    theirs, stream = half()
    theirs.close()
    stream.write_message_nowait(["nobody reads this"])
    stream._flush()
    stream.pause_reading()
    assert stream.closed()
