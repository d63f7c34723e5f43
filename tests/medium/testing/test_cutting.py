"""The forwarder of tests, in a thread: forwards, cuts, falls silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from random import Random

import pytest

from distributed.testing.cutting import ProxyThread


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                link, _ = listening.accept()
            except OSError:
                return  # closed below
            with link:
                while chunk := link.recv(65536):
                    link.sendall(chunk)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[ProxyThread]:
    proxy = ProxyThread(f"tcp://{echo[0]}:{echo[1]}")
    yield proxy
    proxy.close()


def _connect(proxy: ProxyThread) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", int(proxy.address.rpartition(":")[2])), 5)
    link.sendall(b"hello")
    assert link.recv(5) == b"hello"
    return link


def _is_ended(link: socket.socket) -> bool:
    """Whether nothing comes but the end, which a reset is too; waits for it."""
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_forwards_both_ways(proxy: ProxyThread) -> None:
    with _connect(proxy) as link:
        link.sendall(b"x" * 1_000_000)
        left = 1_000_000
        while left:
            left -= len(link.recv(left))


def test_a_cut_ends_the_connection_and_the_next_one_works(proxy: ProxyThread) -> None:
    with _connect(proxy) as link:
        assert proxy.cut(Random(1))
        assert _is_ended(link)
    assert proxy.cuts == 1
    _connect(proxy).close()


def test_a_silent_connection_carries_nothing_and_then_ends(proxy: ProxyThread) -> None:
    with _connect(proxy) as link:
        assert proxy.silence(Random(1), 0.3)
        link.sendall(b"anybody?")
        assert _is_ended(link)
    assert proxy.silences == 1
    _connect(proxy).close()


def test_without_connections_there_is_nothing_to_cut(proxy: ProxyThread) -> None:
    assert not proxy.cut(Random(1))
    assert not proxy.silence(Random(1), 0.1)


def test_who_connects_while_nobody_listens_there_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    proxy = ProxyThread(f"tcp://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", int(proxy.address.rpartition(":")[2])), 5) as link:
        assert _is_ended(link)
    proxy.close()
