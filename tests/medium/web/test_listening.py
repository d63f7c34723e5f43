"""H25: where HTTP servers listen: loopback, beyond it only encrypted or on purpose, or a unix socket."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from distributed.errors import ConfigError, PortTakenError
from distributed.security.certificates import certificate_path, mint
from distributed.testing.web import bearer, request
from distributed.web import accepting
from distributed.web.connecting import base_url, headers, ssl_context
from distributed.web.guard import GuardedApplication
from distributed.web.listening import listen, port_of, url_of


@pytest.fixture
def certificate() -> Iterator[Path]:
    """This user has a certificate, beside the key."""
    pytest.importorskip("cryptography")
    mint(certificate_path())
    yield certificate_path()
    certificate_path().unlink()


def app() -> GuardedApplication:
    return GuardedApplication([], {})


def addresses(server: Any) -> list[Any]:
    return [sock.getsockname() for sock in server._sockets.values()]


async def test_only_this_machine_can_reach_the_default() -> None:
    """H25: loopback unless told."""
    server = listen(app(), 0)
    assert {address[0] for address in addresses(server)} == {"127.0.0.1"}
    assert url_of(server) == f"http://127.0.0.1:{port_of(server)}"
    server.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1", "::", "box.example"])
async def test_beyond_this_machine_nothing_is_plain_unless_it_is_spelled_out(host: str) -> None:
    """H25: no certificate, so the error names both ways out, and nothing listens."""
    with pytest.raises(ConfigError, match=r"(?s)key --tls.*--insecure"):
        listen(app(), 0, host)
    if host == "box.example":
        with pytest.raises(ConfigError, match=r"key --tls"):
            base_url(host, 1)


async def test_insecure_is_taken_at_its_word() -> None:
    server = listen(app(), 0, "0.0.0.0", insecure=True)
    assert server.ssl_options is None
    assert (await request(port_of(server), "/", bearer(), host="192.0.2.1")).status == 404
    assert base_url("192.0.2.1", 80, insecure=True) == "http://192.0.2.1:80"
    server.stop()
    await server.close_all_connections()


async def test_with_a_certificate_what_others_can_reach_is_encrypted(certificate: Path) -> None:
    """H25: TLS by itself beyond loopback; our programs pin the certificate, and strangers' ones are refused."""
    server = listen(app(), 0, "0.0.0.0")
    port = port_of(server)
    assert url_of(server, "192.0.2.1") == f"https://192.0.2.1:{port}" == base_url("192.0.2.1", port)
    assert (await request(port, "/", bearer(), context=ssl_context())).status == 404
    client = AsyncHTTPClient(force_instance=True)
    answer = await client.fetch(
        f"https://127.0.0.1:{port}/", headers=headers(), ssl_options=ssl_context(), raise_error=False
    )
    assert answer.code == 404
    client.close()
    with pytest.raises(ssl.SSLError):
        await request(port, "/", bearer(), context=ssl.create_default_context())
    assert (await request(port, "/", bearer())).status == 0, "nothing is said in the clear"
    server.stop()
    await server.close_all_connections()


async def test_another_certificate_than_the_users_is_left(certificate: Path) -> None:
    server = listen(app(), 0, tls=True)
    mint(certificate, replace=True)
    with pytest.raises(ssl.SSLError):
        await request(port_of(server), "/", bearer(), context=ssl_context())
    server.stop()
    await server.close_all_connections()


async def test_a_unix_socket_is_for_its_owner_and_asks_for_the_token_too(tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    server = listen(app(), None, path=path)
    assert port_of(server) == 0
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert (await request(path, "/")).status == 401
    assert (await request(path, "/", bearer())).status == 404
    assert (await request(path, "/", bearer(), host="")).status in (400, 404)
    server.stop()
    await server.close_all_connections()


async def test_a_unix_socket_is_removed_by_who_made_it(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    server = listen(app(), None, path=str(path))
    server.stop()
    assert not path.exists()
    server = listen(app(), None, path=str(path))
    path.unlink()
    path.write_text("another's")
    server.stop()
    assert path.exists()


async def test_a_server_that_is_stopped_with_a_full_queue_keeps_its_socket(tmp_path: Path) -> None:
    """Whether it serves is found out at once, without waiting for it."""
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as stopped, socket.socket(socket.AF_UNIX) as waiting:
        stopped.bind(str(path))
        stopped.listen(0)
        waiting.connect(str(path))
        with pytest.raises(PortTakenError):
            listen(app(), None, path=str(path))


async def test_a_dead_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = listen(app(), 0, path=str(path))
    assert (await request(str(path), "/", bearer())).status == 404
    assert (await request(port_of(server), "/", bearer())).status == 404
    server.stop()
    await server.close_all_connections()
    path.write_text("mine")
    with pytest.raises(PortTakenError):
        listen(app(), None, path=str(path))
    assert path.read_text() == "mine"


async def test_a_socket_on_which_a_server_lives_is_not_taken_from_it(tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    server = listen(app(), None, path=path)
    with pytest.raises(PortTakenError, match=r"http\.sock"):
        listen(app(), None, path=path)
    assert (await request(path, "/", bearer())).status == 404
    server.stop()
    await server.close_all_connections()


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"127.0.0.1:{port}"):
            listen(app(), port)


async def test_what_was_bound_first_is_given_back_when_the_second_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PortTakenError):
        listen(app(), port, path=str(tmp_path / "file"))
    server = listen(app(), port)
    server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_urls_name_the_host_as_browsers_want_it(host: str) -> None:
    server = listen(app(), 0, host)
    port = port_of(server)
    shown = "[::1]" if host == "::1" else host
    assert url_of(server, host) == base_url(host, port) == f"http://{shown}:{port}"
    server.stop()


def ask(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


async def test_without_descriptors_it_rests_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else strangers could have it do nothing but fill the disk with its log."""
    monkeypatch.setattr(accepting, "ACCEPT_REST_S", 0.02)
    tries: list[int] = []
    accept = socket.socket.accept

    def failing(listening: socket.socket) -> Any:
        tries.append(listening.fileno())
        if len(tries) < 4:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", failing)
    server = listen(app(), 0)
    assert (await request(port_of(server), "/", bearer())).status == 404
    assert [record.getMessage() for record in caplog.records] == [
        "connections have to wait: Too many open files (told once)"
    ]
    assert len(tries) <= 6
    server.stop()
    await server.close_all_connections()


async def test_a_server_that_rests_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = asyncio.Event()

    def failing(listening: socket.socket) -> Any:
        tried.set()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "accept", failing)
    server = listen(app(), 0)
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    await tried.wait()
    server.stop()
    writer.close()


async def test_strangers_can_take_a_few_connections_and_not_for_long(change_settings: Any) -> None:
    """H25: file descriptors are bounded, whatever strangers do; who has shown a token is no stranger."""
    change_settings(unauthenticated_max=3, handshake_timeout_s="300ms")
    server = listen(app(), 0)
    place = ("127.0.0.1", port_of(server))
    reader, writer = await asyncio.open_connection(*place)
    writer.write(ask("/", bearer()))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    strangers = [await asyncio.open_connection(*place) for _ in range(3)]
    strangers[1][1].write(b"GET / HT")
    one_too_many = await asyncio.open_connection(*place)
    assert await one_too_many[0].read() == b"", "it is hung up on at once"
    for stranger, _ in strangers:
        await stranger.read()  # until it is hung up on
    writer.write(ask("/", bearer()))
    await reader.readuntil(b"there is nothing at /")
    writer.write(ask("/", bearer()))
    assert b"HTTP/1.1 404 " in await reader.readuntil(b"\r\n\r\n"), "it was let in, and may take its time"
    for _, other in (*strangers, one_too_many, (reader, writer)):
        other.close()
    server.stop()
    await server.close_all_connections()
