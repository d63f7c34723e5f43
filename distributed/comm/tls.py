"""TLS under a stream: something with the methods of a non-blocking socket that encrypts what passes.

OpenSSL works on memory here (`ssl.MemoryBIO`), and we move ciphertext between that memory and the socket in big pieces:
on a socket of its own it would make three system calls for every record of 16 KiB (docs/decisions/0017-tls.md has the
numbers). What is received is decrypted into the frame where it stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any

from distributed.errors import AuthenticationError
from distributed.protocol.serialize import Buffer
from distributed.security.certificates import Certificates
from distributed.security.handshake import BRAND, refusal_without_tls
from distributed.units import KiB, MiB

__all__ = ["TlsSocket", "secure"]

RECORD_NBYTES = 16 * KiB  # the most that one record holds, so that one SSL_read gives
PIECE_NBYTES = 256 * KiB  # encrypted or decrypted at once: it and its ciphertext stay in a core's cache (1 MiB)
TURN_NBYTES = 4 * MiB  # sent in one go; then the loop gets a turn, after about 3 ms
HANDSHAKE_NBYTES_MAX = 16 * KiB  # from a peer that is not known yet; ours needs 1 KiB
CURE = "both sides need TLS 1.3 and the same certificate (`python -m distributed key --tls` shows it)"


class _Scratch(threading.local):
    """Where a thread receives ciphertext: always the same memory, since new memory costs more; empty between calls."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(PIECE_NBYTES))


_scratch = _Scratch()


class TlsSocket:
    """A connection whose TLS handshake is over.

    The methods of a socket, with these differences: `recv` may return one record more than asked for; after
    BlockingIOError, `send` and `sendmsg` want data that begins with the same bytes again; `pending` tells that there is
    more to receive although the descriptor may not become readable.

    Attributes:
        channel: known to the two ends of this connection only, the same on both.
        shown: fingerprint of the certificate that the peer has shown; empty: none.
        failure: why TLS ended before its time, in OpenSSL's words; None: it did not.
    """

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, channel: bytes,
        shown: str = "",
    ) -> None:  # fmt: skip
        self.channel = channel
        self.shown = shown
        self.failure: str | None = None
        self._sock = sock
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._has_more = True  # to be decrypted: perhaps what came with the end of the handshake
        self._is_at_end = False  # the peer has said goodbye
        self._sealed = memoryview(b"")  # ciphertext that the socket did not take yet
        self._sealed_from = 0  # bytes of plaintext that it was made of, with what has left of it already
        self._turn_nbytes = 0

    def fileno(self) -> int:
        """The descriptor to watch; -1 once closed."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """As a socket's; False is the only way this works."""
        self._sock.setblocking(flag)

    # ------------------------------------------------------------ receiving

    def pending(self) -> bool:
        """Whether there may be more to receive although the descriptor does not become readable."""
        return self._has_more or self._is_at_end

    def recv(self, nbytes: int) -> bytes:
        """Decrypted bytes, b"" at the end. Errors as a socket's, and ConnectionAbortedError: it broke off."""
        while not self._is_at_end:
            parts: list[bytes] = []
            if self._has_more:
                self._decrypt(parts)
            if parts:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            if not self._is_at_end:
                self._receive(nbytes)
        return b""

    def recv_into(self, view: memoryview) -> int:
        """Decrypt into `view`, which is not empty; bytes received, 0 at the end. Errors as `recv`."""
        while not self._is_at_end:
            count = self._decrypt_into(view) if self._has_more else 0
            if count:
                return count
            if not self._is_at_end:
                self._receive(min(len(view), PIECE_NBYTES))
        return 0

    def _receive(self, nbytes: int) -> None:
        scratch = _scratch.view
        count = self._sock.recv_into(scratch, min(nbytes, PIECE_NBYTES))
        if not count:
            raise ConnectionAbortedError(errno.ECONNABORTED, "it broke off: the other side did not say goodbye")
        self._incoming.write(scratch[:count])
        self._has_more = True

    def _decrypt(self, parts: list[bytes]) -> None:
        """All records that are complete."""
        read = self._tls.read
        try:
            while part := read(RECORD_NBYTES):
                parts.append(part)
                if not self._incoming.pending:  # most often: saves a read that fails
                    self._has_more = False
                    return
            self._is_at_end = True
        except ssl.SSLError as error:
            self._on_error(error)

    def _decrypt_into(self, view: memoryview) -> int:
        """As much as there is, or as `view` holds. Its loop is what receiving costs us per record of 16 KiB."""
        read: Any = self._tls.read
        count, size = 0, len(view)
        try:
            while count < size:
                nbytes = read(size, view[count:])
                if not nbytes:
                    self._is_at_end = True
                    break
                count += nbytes
        except ssl.SSLError as error:
            self._on_error(error)
        return count

    def _on_error(self, error: ssl.SSLError) -> None:
        if not isinstance(error, ssl.SSLWantReadError):
            self.failure = error.reason or str(error)
            raise ConnectionAbortedError(errno.ECONNABORTED, f"TLS failed: {_words(error)}") from error
        self._has_more = False

    # ------------------------------------------------------------ sending

    def send(self, data: Buffer) -> int:
        """Encrypt and send the beginning of `data`; how much of it has left. Errors as a socket's, see the class."""
        if not self._sealed_from:
            self._seal(data if len(data) <= PIECE_NBYTES else memoryview(data)[:PIECE_NBYTES])
        return self._send_sealed()

    def sendmsg(self, buffers: Sequence[Buffer]) -> int:
        """`send` of all these."""
        if not self._sealed_from:
            parts: list[Buffer] = []
            room = PIECE_NBYTES
            for buffer in buffers:
                parts.append(buffer if len(buffer) <= room else memoryview(buffer)[:room])
                room -= len(parts[-1])
                if not room:
                    break
            self._seal(parts[0] if len(parts) == 1 else b"".join(parts))  # a record each would cost more than a copy
        return self._send_sealed()

    def _seal(self, data: Buffer) -> None:
        if self._turn_nbytes >= TURN_NBYTES:
            self._turn_nbytes = 0
            raise BlockingIOError("enough for one turn of the loop")
        self._sealed_from = self._tls.write(data)
        self._sealed = memoryview(self._outgoing.read())

    def _send_sealed(self) -> int:
        while self._sealed:
            self._sealed = self._sealed[self._sock.send(self._sealed) :]
        sent, self._sealed_from = self._sealed_from, 0
        self._turn_nbytes += sent
        return sent

    def shutdown(self, how: int) -> None:
        """As `socket.socket.shutdown`, without a goodbye."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Say goodbye if the socket takes it, and close."""
        if self._sock.fileno() >= 0 and not self._sealed:
            with contextlib.suppress(OSError):  # it has left already, or there is no room: both see the end anyway
                with contextlib.suppress(ssl.SSLError):  # the other's goodbye is not there, nobody waits for it
                    self._tls.unwrap()
                self._sock.send(self._outgoing.read())
        self._sock.close()


# ---------------------------------------------------------------- the handshake


async def secure(
    sock: socket.socket,
    own: Certificates,
    address: str,
    is_server: bool,
    pinned: str | None = None,
    is_optional: bool = False,
) -> TlsSocket:
    """TLS over a connected non-blocking socket, with a peer whose certificate we accept. The caller bounds the time.

    Costs each side about 1 ms of the loop. On errors the socket stays open.

    Args:
        address: of the peer, for error texts.
        pinned: the only fingerprint to accept, instead of those in our file.
        is_optional: whether a client that shows no certificate is let in all the same; one that shows one shows ours.
    Raises:
        AuthenticationError: another certificate, or a peer that does not speak TLS 1.3.
        OSError: the connection ended.
    """
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = own.context(is_server, is_optional).wrap_bio(incoming, outgoing, server_side=is_server)
    received = 0
    while True:
        try:
            is_done = _shake_hands(tls)
        except ssl.SSLError as error:
            with contextlib.suppress(OSError):  # an alert tells the peer why, if it still listens
                sock.send(outgoing.read())
            raise AuthenticationError(address, f"no TLS with it: {_words(error)}", CURE) from error
        if outgoing.pending:
            await loop.sock_sendall(sock, outgoing.read())
        if is_done:
            break
        chunk = await loop.sock_recv(sock, HANDSHAKE_NBYTES_MAX)
        if not chunk:
            raise ConnectionAbortedError(errno.ECONNABORTED, "it closed the connection during the TLS handshake")
        if chunk.startswith(BRAND) and not received:
            await _on_plain_peer(sock, address, is_server)
        received += len(chunk)
        if received > HANDSHAKE_NBYTES_MAX:
            raise AuthenticationError(address, f"its TLS handshake is over {HANDSHAKE_NBYTES_MAX:,} bytes long", CURE)
        incoming.write(chunk)
    shown = tls.getpeercert(binary_form=True)
    found = "" if is_optional and not shown else own.check(shown, address, pinned)
    ends = (own.fingerprint, found) if is_server else (found, own.fingerprint)
    return TlsSocket(sock, tls, incoming, outgoing, _channel(tls, *ends), found)


def _shake_hands(tls: ssl.SSLObject) -> bool:
    """One step; whether it was the last one."""
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


async def _on_plain_peer(sock: socket.socket, address: str, is_server: bool) -> None:
    if is_server:
        await asyncio.get_running_loop().sock_sendall(sock, refusal_without_tls())
        raise AuthenticationError(address, "what connects does not speak TLS", "connect with tls:// instead of tcp://")
    raise AuthenticationError(address, "it listens without TLS", "connect with tcp:// instead of tls://")


def _channel(tls: ssl.SSLObject, server: str, client: str) -> bytes:
    """The client's Finished message, a MAC over the whole TLS handshake under keys of this session, and who it is of.

    An exporter (RFC 9266) would be the official way, and the standard library has none.
    """
    finished = tls.get_channel_binding("tls-unique") or b""
    return b"tls" + finished + server.encode() + client.encode()


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
