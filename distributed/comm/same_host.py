"""A way beside TCP for peers of one machine: a unix socket, and on it the agreement to read each other's memory.

A server that listens on ``tcp://host:port`` listens on the abstract unix socket ``\0distributed/host:port`` too. Such
names belong to a network namespace, as ports do, so whoever finds the name there has found the same server, and whoever
does not takes TCP. No file is made; the name goes with the socket. Linux only.

The agreement follows the handshake on any unix socket, between trusted roles. Both sides send at once:

    offer    44 bytes   address of 32 random bytes in the sender's memory, number of its pipe's writing end, SHA-256
                        of the 32 bytes; all zero: it lends nothing
    answer   32 bytes   to the peer's offer: the 32 bytes, as read there; zero: we cannot read them

Who gets the right answer lends from then on, see `loans`. Trying is the only proof: users, pid namespaces, Yama and
seccomp all have a word in it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import stat
import struct
import sys

from distributed.comm import memory
from distributed.comm.addresses import is_loopback
from distributed.comm.loans import Borrower, Lender
from distributed.comm.memory import address_of, peer_of, read_memory
from distributed.comm.stream import Stream
from distributed.config import settings

__all__ = ["UNIX", "agree", "bind_beside", "open_beside", "prepare"]

UNIX = getattr(socket, "AF_UNIX", None)
BACKLOG = 1024
NONCE_NBYTES = 32
OFFER = struct.Struct("<QI32s")
NO_OFFER, NO_ANSWER = bytes(OFFER.size), bytes(NONCE_NBYTES)
ANY_HOST = ("0.0.0.0", "::")


def prepare() -> None:
    """Do now what the first connection would do, for a process that is about to be forked."""
    if _may_share():
        memory.prepare()


def bind_beside(listening: socket.socket) -> socket.socket | None:
    """A unix socket that listens beside a TCP one; None: there is no such thing here, or it is switched off."""
    name = _name(*listening.getsockname()[:2]) if listening.family in (socket.AF_INET, socket.AF_INET6) else None
    if name is None:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError:  # somebody else has taken the name: TCP serves everybody as well
        sock.close()
        return None
    sock.setblocking(False)
    return sock


def open_beside(host: str, port: int) -> socket.socket | None:
    """A socket connected to the server at this numeric address if it is on this machine; at once, None: take TCP.

    Names can be taken by other users of the machine, so only a server of our own user counts.
    """
    for known_as in (host, *(ANY_HOST if _is_here(host) else ())):
        name = _name(known_as, port)
        if name is None:
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(name)
            peer = peer_of(sock)
        except OSError:  # nobody there, or its backlog is full
            peer = None
        if peer is not None and peer[1] == os.geteuid():
            return sock
        sock.close()
    return None


async def agree(stream: Stream, sock: socket.socket) -> None:
    """Find out, together with the peer who does the same, who can read whose memory; `stream` uses it from now on.

    Raises:
        CommClosedError: the connection ended.
    Cost: one message each way and half another, 0.1 ms.
    """
    with _Offer() as offer:
        stream.write_buffers([offer.wire])
        borrower, answer = _try(sock, await stream.read_bytes(OFFER.size))
        try:
            stream.write_buffers([answer])
            lender = offer.lender(await stream.read_bytes(NONCE_NBYTES))
        except BaseException:
            if borrower is not None:
                borrower.close()
            raise
    stream.share_memory(lender, borrower)


class _Offer:
    """Ours to the peer; what the agreement does not need ends with the ``with`` block."""

    def __init__(self) -> None:
        self.wire = NO_OFFER
        self._nonce = os.urandom(NONCE_NBYTES)
        self._pipe: list[int] = []
        if not _may_share():
            return
        try:
            self._pipe = list(os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # no descriptors left: nothing is lent
            return
        digest = hashlib.sha256(self._nonce).digest()
        self.wire = OFFER.pack(address_of(self._nonce), self._pipe[1], digest)

    def __enter__(self) -> _Offer:
        return self

    def __exit__(self, *exception: object) -> None:
        for descriptor in self._pipe:
            os.close(descriptor)

    def lender(self, answer: bytes) -> Lender | None:
        """What lends to the peer, if its answer is right."""
        if not self._pipe or not hmac.compare_digest(answer, self._nonce):
            return None
        return Lender(self._pipe.pop(0))


def _try(sock: socket.socket, offer: bytes) -> tuple[Borrower | None, bytes]:
    """Take the peer's offer if we can: what reads its memory, and the answer."""
    address, descriptor, digest = OFFER.unpack(offer)
    peer = peer_of(sock)
    if not address or peer is None or peer[1] != os.geteuid() or not _may_share():
        return None, NO_ANSWER
    pid, nonce = peer[0], bytearray(NONCE_NBYTES)
    pidfd = -1
    try:
        pidfd = os.pidfd_open(pid)
        read_memory(pid, address, memoryview(nonce))
        if hashlib.sha256(nonce).digest() == digest:
            borrower = Borrower(sock, pid, pidfd, _open_pipe(f"/proc/{pid}/fd/{descriptor}"))
            pidfd = -1
            return borrower, bytes(nonce)
    except OSError:
        return None, NO_ANSWER  # not allowed here: all frames go through the socket
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    return None, NO_ANSWER


def _open_pipe(path: str) -> int:
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        raise OSError(f"{path} is no pipe")
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _may_share() -> bool:
    return settings().same_host == "memory" and hasattr(os, "pidfd_open")  # Linux 5.3


def _name(host: str, port: int) -> str | None:
    if not sys.platform.startswith("linux") or settings().same_host == "off":
        return None
    return f"\0distributed/{host}:{port}"


def _is_here(host: str) -> bool:
    """Whether the numeric address `host` is one of this machine's: only those can be bound."""
    if is_loopback(host):
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
