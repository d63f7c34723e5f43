"""Peers of one machine: a unix socket beside TCP, frames read from the sender's memory, and what a liar achieves."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import numpy as np
import pytest

from distributed.comm import connect as connect_module
from distributed.comm import loans, same_host
from distributed.comm.addresses import parse_address
from distributed.comm.connect import Listener, connect_address
from distributed.comm.loans import LENT_NBYTES_MIN, PIECE_NBYTES, READ_HERE_NBYTES_MAX
from distributed.comm.memory import address_of, read_memory
from distributed.comm.stream import Peer, Stream
from distributed.errors import AuthenticationError, CommClosedError, MessageTooLargeError, ProtocolError
from distributed.protocol.codec import ESCAPE, ESCAPED, EXT_BYTES, SENTINEL, Limits
from distributed.protocol.serialize import to_serialize
from distributed.security.keys import keyring_from_master
from distributed.security.permissions import READONLY

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets are Linux's")

ANYWHERE = "tcp://127.0.0.1:0"
MEMORY, SOCKET, OFF = "memory", "socket", "off"
SMALL_LOAN, BIG_LOAN = LENT_NBYTES_MIN, READ_HERE_NBYTES_MAX + 2 * PIECE_NBYTES + 5  # read on the loop, and in threads
OTHER_KEYS = keyring_from_master(b"o" * 32)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(address: str = ANYWHERE, role: str | None = None, **options: Any) -> Any:
    """A stream to a listener, and the stream that the listener made of it."""
    met: list[Stream] = []
    listener = Listener(met.append, **options)
    listener.start(parse_address(address), asyncio.get_running_loop())
    ours = await connect_address(listener.addresses[0], role=role)
    try:
        await until(lambda: met)
        yield ours, met[0]
    finally:
        listener.stop()
        ours.close()
        for stream in met:
            stream.close()


def is_shared(stream: Stream) -> tuple[bool, bool]:
    return stream._lender is not None, stream._borrower is not None


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


# ---------------------------------------------------------------- finding each other


@pytest.mark.parametrize(
    ("how", "family", "shared"),
    [(MEMORY, socket.AF_UNIX, True), (SOCKET, socket.AF_UNIX, False), (OFF, socket.AF_INET, False)],
)
async def test_messages_of_every_size_cross_each_way(how: str, family: int, shared: bool, change_settings: Any) -> None:
    change_settings(same_host=how)
    async with connected() as (a, b):
        assert a._sock.family == b._sock.family == family
        assert is_shared(a) == is_shared(b) == (shared, shared)
        for nbytes in (0, 10, SMALL_LOAN - 1, SMALL_LOAN, 3 * SMALL_LOAN, BIG_LOAN):
            data = os.urandom(nbytes)
            for one, other in ((a, b), (b, a)):
                one.write_message_nowait([1, data, {"x": data}, "after"])
                one.write_message_nowait("next")
                assert await other.read_message() == [1, data, {"x": data}, "after"]
                assert await other.read_message() == "next"
        await a.flush()
        assert a.nbytes_unsent == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "::1"])
async def test_servers_are_found_by_whatever_they_listen_on(host: str) -> None:
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"no {host} here")
    listener = Listener(lambda stream: None)
    listener.start(parse_address((host, 0)), asyncio.get_running_loop())
    try:
        target = "127.0.0.1" if host == "0.0.0.0" else host
        stream = await connect_address((target, listener.addresses[0].port))
        assert stream._sock.family == socket.AF_UNIX
        assert stream.peer.address.startswith("tcp://")
        stream.close()
    finally:
        listener.stop()


async def test_a_listener_for_every_host_is_not_taken_for_one_of_another_machine() -> None:
    listener = Listener(lambda stream: None)
    listener.start(parse_address(("0.0.0.0", 0)), asyncio.get_running_loop())
    try:
        assert same_host.open_beside("192.0.2.1", listener.addresses[0].port) is None  # an address of nobody
    finally:
        listener.stop()


async def test_a_name_that_is_taken_leaves_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with socket.socket(socket.AF_UNIX) as squatter:  # it never listens
        squatter.bind(f"\0distributed/127.0.0.1:{port}")
        async with connected(f"tcp://127.0.0.1:{port}") as (a, b):
            assert a._sock.family == b._sock.family == socket.AF_INET


@pytest.mark.parametrize("behaviour", ["closes", "other key"])
async def test_who_squats_on_a_name_is_passed_by(behaviour: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    squatter = socket.socket(socket.AF_UNIX)
    squatter.bind(f"\0distributed/127.0.0.1:{port}")
    squatter.listen()
    squatter.setblocking(False)
    loop = asyncio.get_running_loop()
    thief = Listener(lambda stream: None, OTHER_KEYS)
    thief._loop = loop

    async def squat() -> None:
        sock, _ = await loop.sock_accept(squatter)
        if behaviour == "closes":
            sock.close()
        else:
            thief._meet(sock, "tcp://127.0.0.1:1")

    task = asyncio.ensure_future(squat())
    try:
        async with connected(f"tcp://127.0.0.1:{port}") as (a, _):
            assert a._sock.family == socket.AF_INET
        await task
    finally:
        squatter.close()
        thief.stop()


async def test_a_server_of_another_user_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_host, "peer_of", lambda sock: (os.getpid(), os.geteuid() + 1))
    async with connected() as (a, _):
        assert a._sock.family == socket.AF_INET


async def test_another_key_is_an_error_all_the_same() -> None:
    listener = Listener(lambda stream: None, OTHER_KEYS)
    listener.start(parse_address(ANYWHERE), asyncio.get_running_loop())
    try:
        with pytest.raises(AuthenticationError):
            await connect_address(listener.addresses[0])
    finally:
        listener.stop()


async def test_who_only_looks_shares_no_memory() -> None:
    async with connected(role=READONLY) as (a, b):
        assert a._sock.family == socket.AF_UNIX
        assert is_shared(a) == is_shared(b) == (False, False)
        a.write_message_nowait(["hello"])
        assert await b.read_message() == ["hello"]


async def test_where_the_system_forbids_it_frames_go_through_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, address: int, into: memoryview) -> None:
        raise PermissionError(1, "Operation not permitted")  # Yama, seccomp, another namespace

    monkeypatch.setattr(same_host, "read_memory", refuse)
    async with connected() as (a, b):
        assert is_shared(a) == is_shared(b) == (False, False)
        a.write_message_nowait([b"x" * SMALL_LOAN])
        assert await b.read_message() == [b"x" * SMALL_LOAN]


async def test_each_direction_is_agreed_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([True, False])

    def once(pid: int, address: int, into: memoryview) -> None:
        if not next(calls):
            raise PermissionError(1, "Operation not permitted")
        read_memory(pid, address, into)

    monkeypatch.setattr(same_host, "read_memory", once)
    async with connected() as (a, b):
        assert sorted([is_shared(a), is_shared(b)]) == [(False, True), (True, False)]
        for one, other in ((a, b), (b, a)):
            one.write_message_nowait([b"x" * SMALL_LOAN])
            assert await other.read_message() == [b"x" * SMALL_LOAN]


# ---------------------------------------------------------------- what lending means


@pytest.mark.parametrize("nbytes", [SMALL_LOAN, BIG_LOAN])
async def test_what_arrives_is_writable_and_the_senders_copy_stays(nbytes: int) -> None:
    async with connected() as (a, b):
        array = np.arange(nbytes // 8)
        a.write_message_nowait(to_serialize(array))
        arrived = (await b.read_message()).load()
        assert arrived.flags.writeable and (arrived == array).all()
        arrived[:] = -1
        assert array[-1] == len(array) - 1


async def test_a_frame_is_unsent_until_it_is_taken() -> None:
    async with connected() as (a, b):
        b.pause_reading()
        a.write_message_nowait([b"x" * BIG_LOAN])
        assert a.nbytes_unsent >= BIG_LOAN
        flushing = asyncio.ensure_future(a.flush())
        draining = asyncio.ensure_future(a.drain())
        await until(lambda: not a._unsent)  # the header and the address have left
        assert not flushing.done() and not draining.done()
        await b.read_message()
        await flushing
        await draining
        assert a.nbytes_unsent == 0


async def test_receipts_pass_a_side_that_does_not_read() -> None:
    async with connected() as (a, b):
        big = [b"x" * BIG_LOAN]
        for stream in (a, b):
            stream.write_message_nowait(big)
        a.pause_reading()
        assert await b.read_message() == big
        await a.flush()  # although a reads nothing of what b has written
        assert await a.read_message() == big


async def test_who_does_not_take_loans_is_cut_off(change_settings: Any) -> None:
    change_settings(unsent_nbytes_max=2 * BIG_LOAN)
    async with connected() as (a, _):
        with pytest.raises(CommClosedError, match="does not read"):
            for _ in range(4):
                a.write_message_nowait([b"x" * BIG_LOAN])
        assert a.closed() and a.nbytes_unsent == 0


@pytest.mark.parametrize("closing", [0, 1])
async def test_closing_lets_go_of_everything(closing: int) -> None:
    async with connected() as warm:
        assert is_shared(warm[0]) == (True, True)
    before = open_descriptors()
    async with connected() as streams:
        for stream in streams:
            stream.write_message_nowait([b"x" * BIG_LOAN])
        await until(lambda: not streams[0]._unsent)
        reading = asyncio.ensure_future(streams[1].read_message())
        await until(lambda: streams[1]._borrowing is not None or reading.done())
        streams[closing].close()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: streams[0].closed() or streams[0]._reader is None)
    assert streams[0].nbytes_unsent == streams[1].nbytes_unsent == 0
    await asyncio.sleep(0)
    assert open_descriptors() == before


async def test_a_frame_of_a_sender_that_closes_meanwhile_is_not_delivered() -> None:
    async with connected() as (a, b):
        a.write_message_nowait([b"x" * BIG_LOAN])
        await until(lambda: not a._unsent)
        copy = a._sock.dup()  # as a forked child would have it: closing alone would not tell the peer
        a.close()
        with pytest.raises(CommClosedError):
            await b.read_message()
        copy.close()


async def test_memory_that_only_the_sender_can_read_goes_through_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False, True])
    monkeypatch.setattr(loans, "can_be_read", lambda address: next(answers))
    async with connected() as (a, b):
        message = [b"x" * SMALL_LOAN, b"y" * BIG_LOAN, b"z" * SMALL_LOAN, "end"]
        a.write_message_nowait(message)
        assert await b.read_message() == message
    assert next(answers, None) is None


def test_memory_that_is_not_there_cannot_be_read() -> None:
    kept = bytes(10)
    assert loans.can_be_read(address_of(kept))
    assert not loans.can_be_read(8)


@pytest.mark.filterwarnings("ignore:This process")  # that it forks although it has threads: that is the point
def test_a_forked_child_has_readers_of_its_own() -> None:
    readers = loans._readers()
    assert readers.submit(int, "5").result(10) == 5
    if (child := os.fork()) == 0:
        os._exit(0 if loans._readers() is not readers else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------- liars


def lie(stream: Stream, address: int, nbytes: int) -> None:
    """Say that a frame of `nbytes` lies at `address`."""
    header = msgpack.packb([msgpack.ExtType(EXT_BYTES, msgpack.packb(nbytes))])
    stream.write_buffers([header.replace(ESCAPE, ESCAPED) + SENTINEL, struct.pack("<Q", address)])


@pytest.mark.parametrize("nbytes", [SMALL_LOAN, BIG_LOAN])
@pytest.mark.parametrize("address", [8, 2**47, 2**64 - 2**21])
async def test_an_address_where_nothing_lies_is_a_broken_peer(address: int, nbytes: int) -> None:
    async with connected() as (a, b):
        lie(a, address, nbytes)
        with pytest.raises(ProtocolError, match="cannot be read"):
            await b.read_message()
        assert b.closed()


async def test_a_frame_longer_than_what_lies_there_is_a_broken_peer() -> None:
    async with connected() as (a, b):
        kept = bytes(SMALL_LOAN)
        lie(a, address_of(kept), 2**33)  # no memory is used before something is read
        with pytest.raises(ProtocolError, match=r"cannot be read|no memory"):
            await b.read_message()


async def test_limits_hold_before_anything_is_read() -> None:
    async with connected(limits=Limits(message_nbytes_max=SMALL_LOAN)) as (a, b):
        lie(a, 8, SMALL_LOAN + 1)
        with pytest.raises(MessageTooLargeError):
            await b.read_message()


async def test_receipts_for_nothing_end_the_connection() -> None:
    async with connected() as (a, b):
        b._borrower.give_receipt()
        await until(a.closed)
        assert isinstance(a.error, ProtocolError)


async def test_who_takes_no_receipts_is_cut_off() -> None:
    async with connected() as (a, b):
        asyncio.get_running_loop().remove_reader(a._lender.receipts)
        while (fault := b._borrower.give_receipt()) is None:
            assert not b.closed()
        assert isinstance(fault, ProtocolError)


@pytest.mark.parametrize("fault", ["hash", "address", "descriptor", "no pipe"])
async def test_an_offer_that_is_wrong_is_not_taken(fault: str, tmp_path: Any) -> None:
    nonce = os.urandom(32)
    reading, writing = os.pipe()
    with open(tmp_path / "file", "wb") as file:
        address, descriptor, digest = address_of(nonce), writing, hashlib.sha256(nonce).digest()
        address = 8 if fault == "address" else address
        descriptor = {"descriptor": 10**6, "no pipe": file.fileno()}.get(fault, descriptor)
        digest = b"?" * 32 if fault == "hash" else digest
        ours, theirs = socket.socketpair()
        stream = Stream(theirs, Peer("unix://x", "client"))
        agreeing = asyncio.ensure_future(same_host.agree(stream, theirs))
        ours.send(struct.pack("<QI32s", address, descriptor, digest) + bytes(32))
        await agreeing
        assert is_shared(stream) == (False, False)
        assert ours.recv(1000)[same_host.OFFER.size :] == bytes(32)
        stream.close()
        ours.close()
    os.close(reading)
    os.close(writing)


async def test_without_descriptors_nothing_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe2", exhausted)
    async with connected() as (a, b):
        assert is_shared(a) == is_shared(b) == (False, False)


async def test_a_connection_that_breaks_during_the_agreement_is_made_by_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def agree(stream: Stream, sock: socket.socket) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            stream.close()
            raise CommClosedError("x", "gone")
        await same_host.agree(stream, sock)

    monkeypatch.setattr(connect_module, "agree", agree)
    async with connected() as (a, _):
        assert calls and a._sock.family == socket.AF_INET
