"""Connecting and listening: retries, time-outs, keys, and what strangers can do to us."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import socket
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from distributed.calls import rpc
from distributed.comm.addresses import Address, parse_address
from distributed.comm.connect import Listener, connect_address
from distributed.comm.sockets import bind
from distributed.comm.stream import Stream
from distributed.errors import AddressError, AuthenticationError, CommClosedError, ConnectTimeoutError, PortTakenError
from distributed.protocol.codec import encode
from distributed.security.handshake import CHALLENGE_NBYTES, ClientHandshake
from distributed.security.keys import Keyring, keyring, keyring_from_master

ANYWHERE = "tcp://127.0.0.1:0"
OTHER_KEYS = keyring_from_master(b"o" * 32)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@asynccontextmanager
async def listening(address: str = ANYWHERE, **options: Any) -> Any:
    """A listener whose streams echo every message."""
    streams: list[Stream] = []

    def echo(stream: Stream) -> None:
        streams.append(stream)
        stream.set_message_handler(stream.write_message_nowait)

    listener = Listener(echo, **options)
    listener.start(parse_address(address), asyncio.get_running_loop())
    try:
        yield listener
    finally:
        listener.stop()
        for stream in streams:
            stream.close()


async def echoes(address: Any) -> bool:
    stream = await connect_address(address)
    stream.write_message_nowait(["x", 1])
    try:
        return bool(await stream.read_message() == ["x", 1])
    finally:
        stream.close()


async def stranger(listener: Listener) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (listener.addresses[0].host, listener.addresses[0].port))
    return sock


async def is_closed_by_peer(sock: socket.socket) -> bool:
    try:
        return await asyncio.get_running_loop().sock_recv(sock, 1000) == b""
    except ConnectionResetError:
        return True


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("scheme", ["tcp", "ipv6", "unix", "inproc", "localhost"])
async def test_two_sides_talk_over_every_scheme(scheme: str, tmp_path: Path) -> None:
    if scheme == "ipv6" and not has_ipv6():
        pytest.skip("no IPv6 here")
    address = {
        "tcp": ANYWHERE,
        "ipv6": "tcp://[::1]:0",
        "unix": f"unix://{tmp_path}/socket",
        "inproc": "inproc://x",
        "localhost": "tcp://localhost:0",
    }[scheme]
    async with listening(address) as listener:
        for place in listener.addresses:
            assert await echoes(place)
            assert await echoes(str(place))


async def test_an_address_written_in_another_family_is_the_same_address() -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 here")
    async with listening() as listener:
        assert await echoes(f"tcp://[::ffff:127.0.0.1]:{listener.addresses[0].port}")


async def test_all_addresses_of_a_machine_are_met_at_each_of_them() -> None:
    async with listening("tcp://0.0.0.0:0") as listener:
        for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0"):
            assert await echoes(f"tcp://{host}:{listener.addresses[0].port}")


@pytest.mark.parametrize("role", ["client", "worker", "readonly"])
async def test_the_listener_learns_the_role(role: str) -> None:
    met: list[Stream] = []
    listener = Listener(met.append)
    listener.start(parse_address(ANYWHERE), asyncio.get_running_loop())
    ours = await connect_address(listener.addresses[0], role=role)
    await until(lambda: bool(met))
    assert met[0].peer.role == ours.peer.role == role
    assert met[0].peer.address.startswith("tcp://127.0.0.1:")
    assert ours.peer.address == str(listener.addresses[0])
    listener.stop()
    ours.close(), met[0].close()


async def test_connecting_waits_for_a_server_that_is_still_starting() -> None:
    free = bind(parse_address(ANYWHERE))[0]
    address = Address("tcp", *free.getsockname())
    free.close()
    trying = asyncio.ensure_future(echoes(address))
    await asyncio.sleep(0.02)  # a refusal and a retry
    assert not trying.done()
    async with listening(str(address)):
        assert await trying


async def test_nobody_there_is_a_time_out_that_names_address_time_and_reason() -> None:
    free = bind(parse_address(ANYWHERE))[0]
    address = Address("tcp", *free.getsockname())
    free.close()
    with pytest.raises(
        ConnectTimeoutError, match=rf"^Timed out while connecting to {address} after 0.05 s: Connection refused"
    ):
        await connect_address(address, 0.05)
    with pytest.raises(ConnectTimeoutError, match="nothing in this process listens as inproc://nobody"):
        await connect_address("inproc://nobody", 0.01)


async def test_a_server_that_accepts_and_says_nothing_is_a_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(ConnectTimeoutError, match="accepts connections but does not answer") as caught:
            await connect_address(silent.getsockname(), 0.05)
        assert isinstance(caught.value, TimeoutError)


async def test_a_server_that_hangs_up_is_tried_again_until_time_is_up() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    before = len(asyncio.all_tasks())
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    with pytest.raises(ConnectTimeoutError, match=r"closed it|reset by peer"):
        await connect_address(server.sockets[0].getsockname(), 0.05)
    await until(lambda: len(asyncio.all_tasks()) == before)  # a connection that was accepted last is closed too
    server.close()
    await server.wait_closed()


async def test_an_unknown_host_is_a_time_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(ConnectTimeoutError, match="Name or service not known"):
        await connect_address("no.such.host:1", 0.01)


@pytest.mark.parametrize("address", ["tsl://h:1", "host", "http://h:1", None])
async def test_an_address_that_cannot_be_used_is_not_tried(address: Any) -> None:
    with pytest.raises(AddressError):
        await connect_address(address)


# ---------------------------------------------------------------- keys


async def test_another_key_is_an_authentication_error_at_once() -> None:
    async with listening() as listener:
        start = asyncio.get_running_loop().time()
        with pytest.raises(
            AuthenticationError, match=r"different key; both sides need the same key file \(set DISTRIBUTED_KEY"
        ):
            await connect_address(listener.addresses[0], 10, keys=OTHER_KEYS)
        assert asyncio.get_running_loop().time() - start < 1
        await until(lambda: listener.refused == 1)
        assert await echoes(listener.addresses[0])


async def test_a_role_the_server_does_not_serve_is_refused_at_once() -> None:
    only_workers = Keyring({"worker": keyring().key_by_role["worker"]})
    async with listening(keys=only_workers) as listener:
        with pytest.raises(AuthenticationError, match="the server holds no key for role 'client'"):
            await connect_address(listener.addresses[0], 10)
        stream = await connect_address(listener.addresses[0], role="worker")
        stream.close()


async def test_a_holder_of_one_key_comes_as_what_it_is() -> None:
    only_readonly = Keyring({"readonly": keyring().key_by_role["readonly"]})
    async with listening() as listener:
        stream = await connect_address(listener.addresses[0], keys=only_readonly)
        assert stream.peer.role == "readonly"
        stream.close()
        with pytest.raises(AuthenticationError, match="the key file here holds no key for role 'client'"):
            await connect_address(listener.addresses[0], role="client", keys=only_readonly)


async def test_an_impostor_of_a_server_gets_nothing() -> None:
    heard: list[bytes] = []

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readexactly(41))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 100)
        heard.append(await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    with pytest.raises(AuthenticationError, match="not a server of this version of distributed"):
        await connect_address(server.sockets[0].getsockname(), 10)
    await until(lambda: len(heard) == 2)
    assert heard[1] == b""
    server.close()
    await server.wait_closed()


# ---------------------------------------------------------------- strangers


class Bomb:
    def __reduce__(self) -> Any:
        return os.abort, ()


STRANGERS = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4,
    "random": bytes(range(7, 256)),
    "a message": encode({"op": "ping"})[0] * 10,
    "a pickle": pickle.dumps(Bomb()) * 5,
    "a pickle in a message": msgpack.packb(msgpack.ExtType(102, pickle.dumps(Bomb()))) * 5,
    "10 kilobytes at once": b"\x00" * 10_000,
    "the wrong proof": b"dstrbtd2\x01" + b"C" * 32 + bytes(32),
    "an old version": b"dstrbtd0\x01" + bytes(32),
}


@pytest.mark.parametrize("name", STRANGERS)
async def test_a_stranger_is_shown_out_and_others_are_served(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **options: Any) -> None:
        raise AssertionError("decoded before authentication")

    async with listening() as listener:
        monkeypatch.setattr("distributed.protocol.framing.HeaderReader.read", forbidden)
        monkeypatch.setattr(pickle, "loads", forbidden)
        sock = await stranger(listener)
        await asyncio.get_running_loop().sock_sendall(sock, bytes(STRANGERS[name]))
        await until(lambda: listener.refused == 1)
        monkeypatch.undo()
        while not await is_closed_by_peer(sock):
            pass
        sock.close()
        assert await echoes(listener.addresses[0])


async def test_a_recorded_handshake_lets_nobody_in() -> None:
    async with listening() as listener:
        place = listener.addresses[0]
        handshake = ClientHandshake("x", "client", keyring(), b"C" * 32, f"tcp {place.host} {place.port}".encode())
        loop, proofs = asyncio.get_running_loop(), []
        for attempt in range(2):
            sock = await stranger(listener)
            await loop.sock_sendall(sock, handshake.hello())
            challenge = await loop.sock_recv(sock, CHALLENGE_NBYTES)
            proofs.append(handshake.prove(challenge))
            await loop.sock_sendall(sock, proofs[0])
            if attempt:
                assert await is_closed_by_peer(sock)
            sock.close()
        assert proofs[0] != proofs[1]
        await until(lambda: listener.refused == 1)


async def test_a_stranger_who_says_nothing_is_shown_out_in_time(change_settings: Any) -> None:
    change_settings(handshake_timeout_s="30ms")
    async with listening() as listener:
        silent, halfway = await stranger(listener), await stranger(listener)
        await asyncio.get_running_loop().sock_sendall(halfway, b"dstrbtd2\x01" + b"C" * 32)
        assert await echoes(listener.addresses[0])
        assert await is_closed_by_peer(silent)
        assert len(await asyncio.get_running_loop().sock_recv(halfway, 200)) == CHALLENGE_NBYTES
        assert await is_closed_by_peer(halfway)
        assert listener.refused == 2
        silent.close(), halfway.close()


async def test_strangers_are_counted_and_those_over_the_bound_shown_out(change_settings: Any) -> None:
    change_settings(unauthenticated_max=3)
    async with listening() as listener:
        strangers = [await stranger(listener) for _ in range(6)]
        await until(lambda: listener.refused == 3)
        for sock in strangers[3:]:
            assert await is_closed_by_peer(sock)
        waiting = asyncio.ensure_future(echoes(listener.addresses[0]))  # is turned away, and tries again
        await until(lambda: listener.refused == 4)
        strangers[0].close()
        assert await waiting
        for sock in strangers[1:]:
            sock.close()


async def test_a_flood_from_a_stranger_takes_a_bounded_piece_of_memory() -> None:
    async with listening() as listener:
        sock = await stranger(listener)
        sock.send(b"dstrbtd2")  # the beginning of a hello, never completed but by a flood after it
        await until(lambda: bool(listener._strangers))
        (task,) = listener._strangers
        stream = task.get_coro().cr_frame.f_locals["stream"]  # type: ignore[union-attr]
        await asyncio.get_running_loop().sock_sendall(sock, b"\x01" + b"C" * 32 + b"x" * 30_000)
        await until(stream.closed)
        assert stream._decoder.nbytes_pending <= 2048
        sock.close()


async def test_stopping_shows_out_strangers_who_have_just_come() -> None:
    listener = Listener(lambda stream: None)
    listener.start(parse_address(ANYWHERE), asyncio.get_running_loop())
    socks = [await stranger(listener)]
    await until(lambda: bool(listener._strangers))
    ours, theirs = socket.socketpair()
    listener._meet(theirs, "inproc://x")
    listener.stop()  # before the task of the second one took its first step
    assert await is_closed_by_peer(socks[0])
    ours.setblocking(False)
    assert await is_closed_by_peer(ours)
    late, theirs = socket.socketpair()
    listener.hand_over(theirs)
    late.setblocking(False)
    assert await is_closed_by_peer(late)
    for sock in (*socks, ours, late):
        sock.close()


async def test_without_descriptors_the_listener_rests_and_then_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.comm.connect.ACCEPT_REST_S", 0.02)
    async with listening() as listener:
        attempts = 0

        class Exhausted:
            def fileno(self) -> int:
                return int(listener._sockets[0].fileno())

            def accept(self) -> Any:
                nonlocal attempts
                attempts += 1
                raise OSError(errno.EMFILE, "Too many open files")

        sock = await stranger(listener)
        listener._accept(Exhausted())
        for _ in range(20):
            await asyncio.sleep(0)
        assert attempts == 1
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener._sockets[0].fileno())
        listener._accept_again(listener._sockets[0])
        assert await echoes(listener.addresses[0])
        sock.close()
        await asyncio.sleep(0.03)


# ---------------------------------------------------------------- binding


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            PortTakenError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another"
        ):
            bind(Address("tcp", "127.0.0.1", port))


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(PortTakenError, match=r"192\.0\.2\.1:0: Cannot assign requested address"):
        bind(Address("tcp", "192.0.2.1", 0))


def test_a_name_listens_on_one_port_in_every_family() -> None:
    socks = bind(Address("tcp", "localhost", 0))
    assert len({sock.getsockname()[1] for sock in socks}) == 1
    for sock in socks:
        sock.close()


def test_a_family_that_is_switched_off_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    real = socket.socket

    def without_ipv6(family: int, *rest: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    for order in ([six, four], [four, six]):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, order=order, **options: order)
        (sock,) = bind(Address("tcp", "localhost", 0))
        sock.close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [six])
    with pytest.raises(PortTakenError, match="not supported"):
        bind(Address("tcp", "localhost", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [])
    with pytest.raises(PortTakenError, match="localhost has no address"):
        bind(Address("tcp", "localhost", 0))


async def test_a_unix_socket_is_private_and_goes_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with listening(f"unix://{path}") as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(PortTakenError, match="already in use"):
            Listener(lambda stream: None).start(listener.addresses[0], asyncio.get_running_loop())
    assert not path.exists()


async def test_a_unix_socket_left_over_from_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    async with listening(f"unix://{path}"):
        assert await echoes(f"unix://{path}")


async def test_a_file_in_the_way_of_a_unix_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    with pytest.raises(PortTakenError):
        bind(Address("unix", str(tmp_path / "file")))
    assert (tmp_path / "file").read_text() == "dear"


async def test_an_inproc_name_is_taken_once_and_free_again_after() -> None:
    async with listening("inproc://one"):
        with pytest.raises(AddressError, match="listens there already"):
            Listener(lambda stream: None).start(parse_address("inproc://one"), asyncio.get_running_loop())
    async with listening("inproc://one"):
        assert await echoes("inproc://one")


async def test_an_inproc_listener_whose_loop_has_ended_refuses() -> None:
    listeners = []

    def elsewhere() -> None:
        async def listen() -> None:
            listeners.append(Listener(lambda stream: None))
            listeners[0].start(parse_address("inproc://ended"), asyncio.get_running_loop())

        asyncio.run(listen())

    await asyncio.to_thread(elsewhere)
    with pytest.raises(ConnectTimeoutError, match="has ended"):
        await connect_address("inproc://ended", 0.01)
    listeners[0].stop()


async def test_the_impatient_take_a_refusal_for_an_answer() -> None:
    free = bind(parse_address(ANYWHERE))[0]
    address = str(Address("tcp", *free.getsockname()))
    free.close()
    with pytest.raises(CommClosedError, match="Connection refused"):
        await connect_address(address, 60, patient=False)
    async with rpc(address, timeout=60, patient=False) as remote:
        with pytest.raises(CommClosedError, match="Connection refused"):
            await remote.ping()
