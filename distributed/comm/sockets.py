"""Sockets as we want them: options, connecting with a bound, binding with errors that say what to do."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from distributed.comm.addresses import Address, place_of
from distributed.errors import PortTakenError
from distributed.protocol.serialize import Buffer

__all__ = ["Wire", "bind", "bound_address", "channel_at", "open_socket", "tune"]

BACKLOG = 1024
_NOT_OURS = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # no IPv6 here
UNANSWERED_MS = 60_000
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 30, 10, 3  # a dead host is noticed within a minute


class Wire(Protocol):
    """What a stream needs of its transport, in the words of `socket.socket`: a socket, or `TlsSocket` over one.

    After BlockingIOError, `send` and `sendmsg` are called with data that begins with the same bytes. One that may hold
    received bytes back has a method ``pending()``, which tells so.
    """

    def fileno(self) -> int:
        """The descriptor to watch."""

    def setblocking(self, flag: bool, /) -> None:
        """Always False."""

    def recv(self, nbytes: int, /) -> bytes:
        """What is there, b"" at the end."""

    def recv_into(self, view: memoryview, /) -> int:
        """How much was received into `view`, 0 at the end."""

    def send(self, data: Buffer, /) -> int:
        """How much of the beginning of `data` was taken."""

    def sendmsg(self, buffers: Sequence[Buffer], /) -> int:
        """How much of the beginning of all these was taken."""

    def shutdown(self, how: int, /) -> None:
        """End it both ways, whoever else has the descriptor."""

    def close(self) -> None:
        """End it."""


def tune(sock: socket.socket) -> None:
    """No delay for small messages; the kernel, not a busy handler, answers whether this end is alive."""
    sock.setblocking(False)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
        # Nothing is probed while sent bytes are unanswered; then this is the bound instead of some 15 minutes.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS)


async def open_socket(
    address: Address, open_beside: Callable[[str, int], socket.socket | None] | None = None
) -> socket.socket:
    """One attempt to connect; the caller bounds it and tries again.

    Args:
        open_beside: a better way to a numeric TCP address and port, tried first; it may return None.

    Raises:
        OSError: refused, unreachable, unknown host; of several addresses of a host the last error.
    """
    loop = asyncio.get_running_loop()
    if address.scheme == "unix":
        return await _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), address.host)
    error: OSError = OSError(f"{address.host} has no address")
    known = place_of(address.host, address.port)
    places = [known] if known else await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, place in places:
        beside = open_beside(str(place[0]), int(place[1])) if open_beside is not None else None
        if beside is not None:
            return beside
        try:
            return await _connected(socket.socket(family, kind, protocol), place)
        except OSError as refused:
            error = refused
    raise error


def bind(address: Address) -> list[socket.socket]:
    """Listening sockets: one, or one per family when the host is a name.

    Raises:
        PortTakenError: another process listens there, or the host is not one of ours.
        OSError: nobody knows the host.
    """
    if address.scheme == "unix":
        return [_bind_unix(address.host)]
    sockets: list[socket.socket] = []
    port = address.port
    known = place_of(address.host, port)
    passive = socket.AI_PASSIVE
    places = (
        [known] if known else socket.getaddrinfo(address.host or None, port, type=socket.SOCK_STREAM, flags=passive)
    )
    refused: OSError | None = None
    for family, kind, protocol, _, place in dict.fromkeys(places):
        try:
            sock = _bind_ip(socket.socket(family, kind, protocol), (place[0], port, *place[2:]))
        except OSError as error:
            if sockets:
                continue  # "localhost" is two places; the second one may not be ours (no IPv6, or its port is taken)
            refused = error
            if error.errno in _NOT_OURS:
                continue  # the next family may be
            break
        port = sock.getsockname()[1]  # port 0: every family gets the port of the first
        sockets.append(sock)
    if not sockets:
        reason = (refused and refused.strerror) or f"{address.host} has no address"
        raise PortTakenError(address.host, port, reason) from refused
    return sockets


def bound_address(sock: socket.socket) -> Address:
    """Where a listening socket can be reached."""
    name = sock.getsockname()
    return Address("unix", name) if sock.family == socket.AF_UNIX else Address("tcp", name[0], name[1])


def channel_at(sock: socket.socket, is_server: bool) -> bytes:
    """What both ends of one plain connection know of it: the address at which the server was reached."""
    place = sock.getsockname() if is_server else sock.getpeername()
    if sock.family == socket.AF_UNIX:  # a name in the file system, as the server has bound it; none: of one process
        return b"unix " + (os.fsencode(place) if isinstance(place, str) else bytes(place))
    host = str(place[0]).partition("%")[0].removeprefix("::ffff:")  # interface and family are one side's own matter
    return f"tcp {host} {place[1]}".encode()


async def _connected(sock: socket.socket, place: object) -> socket.socket:
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_ip(sock: socket.socket, place: tuple[object, ...]) -> socket.socket:
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _bind_unix(path: str) -> socket.socket:
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode) and not _is_served(path):
            os.unlink(path)  # left over from a process that was killed
    except FileNotFoundError:
        pass
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise PortTakenError(path, 0, error.strerror or str(error)) from error
    sock.setblocking(False)
    return sock


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) in (0, errno.EAGAIN)  # as many wait already as may: it serves, or is stopped
