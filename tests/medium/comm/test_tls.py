"""TLS under streams: what passes, who is refused and how both are told, where it ends, what strangers cost."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from distributed.comm import tls
from distributed.comm.addresses import parse_address
from distributed.comm.connect import Listener, connect_address
from distributed.comm.stream import Peer, Stream
from distributed.comm.tls import TlsSocket, secure
from distributed.core import Server, connect, rpc, to_serialize
from distributed.errors import AuthenticationError, CertificateError, CommClosedError, ConfigError, ConnectTimeoutError
from distributed.security.certificates import Certificates, certificate_path, load, mint, short

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def minted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificates]:
    """Three certificates, and ``ab``: a file that shows a and accepts b too."""
    folder = tmp_path_factory.mktemp("tls")
    made = {name: mint(folder / f"{name}.tls") for name in "abc"}
    both = folder / "ab.tls"
    b = (folder / "b.tls").read_text()
    both.write_text((folder / "a.tls").read_text() + b[b.index("-----BEGIN CERTIFICATE") :])
    both.chmod(0o600)
    return {**made, "ab": load(both)}


@pytest.fixture
def use(minted: dict[str, Certificates], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``use("a")``: who connects or listens from now on is the user with that certificate."""

    def change(name: str) -> None:
        for place in ("comm.connect", "core"):
            monkeypatch.setattr(f"distributed.{place}.certificates", lambda: minted[name])
            monkeypatch.setattr("distributed.core.has_certificates", lambda: True)

    change("a")
    return change


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    def echo(stream: Any, data: Any) -> Any:
        return data

    server = Server({"echo": echo})
    server.listen(0, **{"tls": True, **options})
    try:
        yield server
    finally:
        server.stop()


async def secured(minted: dict[str, Certificates]) -> tuple[TlsSocket, TlsSocket]:
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    server, client = await asyncio.gather(
        *(secure(sock, minted["a"], "x", is_server) for sock, is_server in zip(pair, (True, False), strict=True))
    )
    return server, client


def streams_over(wires: tuple[TlsSocket, TlsSocket]) -> tuple[Stream, Stream]:
    a, b = wires
    return Stream(a, Peer("tls://a:1", "client")), Stream(b, Peer("tls://b:1", "client"))


@asynccontextmanager
async def forwarded(target: str) -> AsyncIterator[int]:
    """The port of somebody in between, who passes all bytes on to `target` and back."""
    place = parse_address(target)

    tasks: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(place.host, place.port)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(lambda *ends: tasks.append(asyncio.ensure_future(both(*ends))), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*tasks)  # they end with the connections


# ---------------------------------------------------------------- what passes


@pytest.mark.parametrize("nbytes", [0, 1, 1000, 16_384, 65_536, 300_000, 20_000_000])
async def test_messages_of_any_size_pass_both_ways(use: Any, nbytes: int) -> None:
    data = os.urandom(nbytes)
    async with serving() as server, rpc(server.address) as remote:
        assert server.address.startswith("tls://127.0.0.1:")
        for _ in range(2):
            assert await remote.echo(data=data) == data
        assert bytes((await remote.echo(data=to_serialize(bytearray(data)))).load()) == data


async def test_what_follows_a_frame_in_the_same_piece_is_not_left_behind(minted: dict[str, Certificates]) -> None:
    a, b = streams_over(await secured(minted))
    for nbytes in (100_000, 70_001, 262_143, 1_000_000):
        got: list[Any] = []
        b.set_message_handler(got.append)
        for message in (["x" * nbytes], b"y" * nbytes, "z", b"q" * nbytes, [1]):
            a.write_message_nowait(message)
        while len(got) < 5:  # nothing else is sent that would wake it
            await asyncio.sleep(0)
        assert got == [["x" * nbytes], b"y" * nbytes, "z", b"q" * nbytes, [1]]
    a.close(), b.close()


async def test_what_waits_while_reading_is_paused_comes_when_it_goes_on(minted: dict[str, Certificates]) -> None:
    a, b = streams_over(await secured(minted))
    got: list[Any] = []

    def pause(message: Any) -> None:
        got.append(message)
        b.pause_reading()

    b.set_message_handler(pause)
    for message in (b"y" * 100_000, "z", b"q" * 100_000):
        a.write_message_nowait(message)
    for count in (1, 2, 3):
        while len(got) < count:
            await asyncio.sleep(0)
        assert len(got) == count
        b.resume_reading()
    a.close(), b.close()


async def test_many_messages_at_once_share_records(minted: dict[str, Certificates], monkeypatch: Any) -> None:
    wires = await secured(minted)
    a, b = streams_over(wires)
    sealed: list[int] = []
    seal = TlsSocket._seal
    monkeypatch.setattr(TlsSocket, "_seal", lambda self, data: sealed.append(len(data)) or seal(self, data))
    for number in range(20):
        a.write_message_nowait([number])
    assert [await b.read_message() for _ in range(20)] == [[number] for number in range(20)]
    assert len(sealed) == 1
    a.close(), b.close()


async def test_sending_much_lets_others_have_the_loop(minted: dict[str, Certificates]) -> None:
    wires = await secured(minted)
    a, b = streams_over(wires)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    a.write_message_nowait(b"x" * (8 * tls.TURN_NBYTES))
    assert len(await b.read_message()) == 8 * tls.TURN_NBYTES
    counting.cancel()
    assert turns >= 8
    a.close(), b.close()


# ---------------------------------------------------------------- the end


async def test_a_goodbye_is_an_ordinary_end(minted: dict[str, Certificates]) -> None:
    a, b = streams_over(await secured(minted))
    a.write_message_nowait("last")
    await a.close_after_flush()
    assert await b.read_message() == "last"
    with pytest.raises(CommClosedError, match="the other side closed it"):
        await b.read_message()


async def test_a_connection_that_breaks_off_is_no_ordinary_end(minted: dict[str, Certificates]) -> None:
    wires = await secured(minted)
    wires[0]._sock.close()  # as when a process dies, or when somebody in between cuts
    b = Stream(wires[1], Peer("tls://b:1", "client"))
    with pytest.raises(CommClosedError, match="it broke off: the other side did not say goodbye"):
        await b.read_message()


async def test_bytes_that_somebody_put_in_between_end_the_connection(minted: dict[str, Certificates]) -> None:
    wires = await secured(minted)
    wires[0]._sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))  # the form of a record
    b = Stream(wires[1], Peer("tls://b:1", "client"))
    with pytest.raises(CommClosedError, match=r"TLS failed: .*bad record mac"):
        await b.read_message()
    wires[0].close()


# ---------------------------------------------------------------- who is refused


async def test_a_server_with_another_certificate_is_refused_by_both_fingerprints(use: Any, minted: Any) -> None:
    async with serving() as server:
        use("b")
        wanted, found = short(minted["b"].fingerprint), short(minted["a"].fingerprint)
        with pytest.raises(AuthenticationError, match=f"its certificate is {found}, expected was {wanted}; .*--tls"):
            await connect(server.address, timeout=20)


async def test_a_client_with_another_certificate_is_refused_and_told(use: Any, minted: Any) -> None:
    use("b")
    async with serving() as server:
        use("ab")  # accepts the server's, and shows another one
        ours = short(minted["a"].fingerprint)
        with pytest.raises(AuthenticationError, match=f"it does not accept our certificate {ours}"):
            await connect(server.address, timeout=20)
        assert server._listeners[0].refused == 1


async def test_certificates_can_be_replaced_one_machine_after_the_other(use: Any) -> None:
    for first, second in (("ab", "a"), ("a", "ab")):
        use(first)
        async with serving() as server:
            use(second)
            async with rpc(server.address) as remote:
                assert await remote.echo(data=1) == 1


async def test_a_pinned_fingerprint_is_the_only_one_accepted(use: Any, minted: Any) -> None:
    use("ab")
    async with serving() as server:
        pinned = minted["a"].fingerprint
        (await connect_address(server.address, 20, pinned=pinned)).close()
        with pytest.raises(AuthenticationError, match=f"expected was {short(minted['b'].fingerprint)}"):
            await connect_address(server.address, 20, pinned=minted["b"].fingerprint)


async def test_a_client_without_tls_is_told_at_once_what_to_write(use: Any) -> None:
    async with serving() as server:
        with pytest.raises(AuthenticationError, match="it listens with TLS; connect with tls:// instead of tcp://"):
            await connect("127.0.0.1", server.port, timeout=20)


async def test_a_client_with_tls_is_told_at_once_that_the_server_has_none(use: Any) -> None:
    async with serving(tls=False) as server:
        with pytest.raises(AuthenticationError, match="it listens without TLS; connect with tcp:// instead of tls://"):
            await connect(f"tls://127.0.0.1:{server.port}", timeout=20)


async def test_without_a_certificate_nothing_is_tried_and_the_cure_named(
    tmp_path: Path, change_settings: Callable[..., None]
) -> None:
    change_settings(key_file=tmp_path / "key")
    with pytest.raises(CertificateError, match=r"there is none; .*distributed\[tls\].* key --tls"):
        await connect("tls://127.0.0.1:1")
    server = Server()
    with pytest.raises(CertificateError, match="there is none"):
        server.listen(0, tls=True)


async def test_something_else_that_speaks_tls_is_no_server_of_ours(use: Any, minted: Any) -> None:
    page = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=minted["c"].page_context())
    port = page.sockets[0].getsockname()[1]
    with pytest.raises(AuthenticationError, match=f"its certificate is {short(minted['c'].fingerprint)}"):
        await connect(f"tls://127.0.0.1:{port}", timeout=20)
    page.close()


# ---------------------------------------------------------------- somebody in between


async def test_a_forwarded_port_is_refused_without_tls_unless_it_is_allowed(change_settings: Any) -> None:
    async with serving(tls=False) as server, forwarded(server.address) as port:
        with pytest.raises(AuthenticationError, match=r"reached at another address .* DISTRIBUTED_ALLOW_FORWARDING=1"):
            await connect("127.0.0.1", port, timeout=20)
        change_settings(allow_forwarding="1")
        async with rpc(("127.0.0.1", port)) as remote:
            assert await remote.echo(data=1) == 1


async def test_tls_passes_a_forwarded_port(use: Any) -> None:
    async with serving() as server, forwarded(server.address) as port, rpc(f"tls://127.0.0.1:{port}") as remote:
        assert await remote.echo(data=1) == 1


async def test_every_connection_has_a_channel_of_its_own_that_both_ends_know(minted: dict[str, Certificates]) -> None:
    pairs = [await secured(minted) for _ in range(3)]
    assert all(a.channel == b.channel and len(a.channel) > 48 for a, b in pairs)
    assert len({a.channel for a, _ in pairs}) == 3
    for pair in pairs:
        for wire in pair:
            wire.close()


# ---------------------------------------------------------------- strangers


@pytest.mark.parametrize(
    "first", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n"], ids=["silent", "half", "http"]
)
async def test_a_stranger_is_shown_out_in_time(use: Any, change_settings: Any, first: bytes) -> None:
    change_settings(handshake_timeout_s="30ms")
    async with serving() as server:
        loop, sock = asyncio.get_running_loop(), socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", server.port))
        await loop.sock_sendall(sock, first)
        while await loop.sock_recv(sock, 1000):  # an alert, perhaps
            assert first
        sock.close()
        assert server._listeners[0].refused == 1


async def test_a_handshake_without_end_is_cut(use: Any) -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        hello = b"\x01" + (65_000).to_bytes(3, "big") + bytes(100)  # announces 65,000 bytes, in tiny records
        writer.write(b"".join(b"\x16\x03\x01\x00\x01" + hello[i : i + 1] for i in range(5)))
        writer.write(b"\x16\x03\x01\x00\x64" + bytes(100))
        for _ in range(200):
            writer.write(b"\x16\x03\x03\x01\x00" + bytes(256))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(10_000)
        writer.close()
        assert server._listeners[0].refused == 1


async def test_a_server_that_leaves_during_the_handshake_is_told_so(use: Any) -> None:
    def leave() -> None:
        with suppress(OSError):  # the test is over
            while True:
                leaving.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as leaving:
        thread = threading.Thread(target=leave)  # not this loop, which may end with a connection that it has just taken
        thread.start()
        try:
            with pytest.raises(ConnectTimeoutError, match=r"closed the connection during the TLS hand|reset by peer"):
                await connect(f"tls://127.0.0.1:{leaving.getsockname()[1]}", timeout=0.05)
        finally:
            leaving.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_a_server_that_says_nothing_costs_no_more_than_the_time_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tls://127.0.0.1:{silent.getsockname()[1]}"
        mint(certificate_path())
        try:
            with pytest.raises(ConnectTimeoutError, match="accepts connections but does not answer"):
                await connect(address, timeout=0.05)
        finally:
            certificate_path().unlink()


# ---------------------------------------------------------------- where it is on by itself


async def test_beyond_loopback_tls_is_on_by_itself_once_there_is_a_certificate(use: Any) -> None:
    async with serving(address="0.0.0.0", tls=False) as server:
        assert server.address.startswith("tls://0.0.0.0:")
        assert server.fingerprint is not None
        async with rpc(f"tls://127.0.0.1:{server.port}") as remote:
            assert await remote.echo(data=1) == 1


async def test_insecure_is_taken_at_its_word_and_loopback_stays_plain(use: Any) -> None:
    async with serving(address="0.0.0.0", tls=False, insecure=True) as server:
        assert server.address.startswith("tcp://")
        assert server.fingerprint is None
    async with serving(tls=False) as server:
        assert server.address.startswith("tcp://")


async def test_beyond_loopback_without_a_certificate_the_error_says_how_to_get_one() -> None:
    with pytest.raises(
        ConfigError, match=r"install distributed\[tls\] and mint a certificate with .* or spell out --ins"
    ):
        Server().listen(0, "0.0.0.0")


async def test_an_address_with_tls_can_be_listened_on(use: Any) -> None:
    listener = Listener(lambda stream: None)
    listener.start(parse_address("tls://localhost:0"), asyncio.get_running_loop())
    assert {address.scheme for address in listener.addresses} == {"tls"}
    listener.stop()


def test_the_file_of_a_private_key_is_where_the_manual_says(private_key: Path) -> None:
    assert certificate_path() == private_key.with_name("key.tls")
