"""BatchedSend: many small messages, one write."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from distributed.comm import batched
from distributed.comm.batched import BatchedSend
from distributed.comm.stream import Peer, Stream
from distributed.errors import CommClosedError, UnencodableError


def pair() -> tuple[Stream, Stream]:
    ours, theirs = socket.socketpair()
    return Stream(ours, Peer("inproc://a", "client")), Stream(theirs, Peer("inproc://b", "client"))


async def test_messages_before_start_are_kept_and_leave_first_as_one_list() -> None:
    a, b = pair()
    batch = BatchedSend(0)
    batch.send(1)
    batch.send({"x": 2})
    batch.start(a)
    batch.send(3)
    assert await b.read_message() == [1, {"x": 2}, 3]
    await batch.close()
    b.close()


async def test_what_is_sent_within_the_interval_leaves_together() -> None:
    a, b = pair()
    batch = BatchedSend(30)
    batch.start(a)
    batch.send("first")  # nothing left lately: at once
    assert await b.read_message() == ["first"]
    start = asyncio.get_running_loop().time()
    for number in range(100):
        batch.send(number)
        await asyncio.sleep(0)
    assert await b.read_message() == list(range(100))
    assert asyncio.get_running_loop().time() - start > 0.015
    await batch.close()
    b.close()


async def test_close_sends_what_waits_and_closes_the_stream() -> None:
    a, b = pair()
    batch = BatchedSend(60_000)
    batch.start(a)
    batch.send(1)
    await b.read_message()
    batch.send(2)
    batch.send(3)
    await batch.close()
    assert await b.read_message() == [2, 3]
    assert a.closed()
    with pytest.raises(CommClosedError, match="the stream of this BatchedSend has ended"):
        batch.send(4)
    await batch.close()
    b.close()


async def test_close_without_a_stream_is_no_error() -> None:
    batch = BatchedSend(1)
    batch.send(1)
    await batch.close()


async def test_a_message_that_cannot_be_sent_harms_no_other_and_is_told() -> None:
    a, b = pair()
    batch = BatchedSend(0)
    for message in (1, {2}, 3):
        batch.send(message)
    batch.start(a)
    assert [await b.read_message(), await b.read_message()] == [[1], [3]]
    with pytest.raises(UnencodableError, match="set"):
        batch.send(4)
    batch.send(5)
    assert await b.read_message() == [5]
    batch.send({6})
    with pytest.raises(UnencodableError, match="set"):
        await batch.close()
    assert a.closed()
    b.close()


async def test_a_batch_over_the_limit_of_one_message_leaves_in_parts(change_settings: Any) -> None:
    change_settings(header_nbytes_max=1000)
    a, b = pair()
    batch = BatchedSend(0)
    for letter in "abc":
        batch.send(letter * 500)
    batch.start(a)
    assert [await b.read_message() for _ in "abc"] == [[letter * 500] for letter in "abc"]
    await batch.close()
    b.close()


async def test_a_peer_that_leaves_is_told_at_the_next_send() -> None:
    a, b = pair()
    batch = BatchedSend(0)
    batch.start(a)
    batch.send(1)
    b.close()
    with pytest.raises(CommClosedError):
        for _ in range(100):
            batch.send(2)
            await asyncio.sleep(0)
    await batch.close()


async def test_waiting_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "WAITING_MAX", 3)
    batch = BatchedSend(1)
    for number in range(3):
        batch.send(number)
    with pytest.raises(BufferError, match="3 messages wait"):
        batch.send(3)


def test_an_interval_is_not_negative() -> None:
    with pytest.raises(ValueError, match="interval_ms=-1 must be >= 0"):
        BatchedSend(-1)
