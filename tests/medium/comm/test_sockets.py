"""What is set on sockets, so that a peer that vanished without a word is noticed: half-open connections end."""

from __future__ import annotations

import socket
import sys

import pytest

from distributed.calls import rpc
from distributed.comm.sockets import tune
from distributed.comm.stream import Stream
from distributed.core import Server
from distributed.testing.clusters import gen_test

OPTIONS = [
    ("TCP_NODELAY", 1),
    ("TCP_KEEPIDLE", 30),
    ("TCP_KEEPINTVL", 10),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 60_000),
]


@pytest.mark.skipif(sys.platform != "linux", reason="the names of these options are Linux's")
@pytest.mark.parametrize(("name", "value"), OPTIONS)
def test_a_dead_host_is_noticed_within_a_minute(name: str, value: int) -> None:
    with socket.socket() as sock:
        tune(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert not sock.getblocking()


def test_a_unix_socket_needs_none_of_that() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        tune(sock)
        assert not sock.getblocking()


@gen_test()
async def test_both_ends_of_a_connection_are_tuned() -> None:
    ends: list[Stream] = []
    server = Server()
    server.add_handlers({"look": lambda stream: ends.append(stream._stream)})
    server.listen(0)
    async with rpc(server.address) as link:
        await link.look()
        ends += link.streams
        for end in ends:
            if end._sock.family != socket.AF_UNIX:
                assert end._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert len(ends) == 2
    server.stop()
