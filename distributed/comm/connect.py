"""Connecting: try until somebody answers or time is up, then prove who we are; and the same from the listening side."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from distributed.comm.addresses import Address, parse_address
from distributed.comm.dialled import begin
from distributed.comm.same_host import UNIX, agree, bind_beside, open_beside
from distributed.comm.sockets import Wire, bind, bound_address, channel_at, open_socket, tune
from distributed.comm.stream import Peer, Stream
from distributed.comm.tls import TlsSocket, secure
from distributed.config import settings
from distributed.errors import AddressError, AuthenticationError, CommClosedError, ConnectTimeoutError
from distributed.protocol.codec import Limits
from distributed.security.certificates import Certificates, certificates, uncertified
from distributed.security.credentials import CLOCKS_DIFFER_S, NO_CLAIMS, FindKey, claims_of, key_of, root_of
from distributed.security.handshake import (
    CHALLENGE_NBYTES,
    HELLO_NBYTES,
    PROOF_NBYTES,
    ClientHandshake,
    ServerHandshake,
)
from distributed.security.keys import Keyring, keyring
from distributed.security.permissions import CLIENT, GUEST, READONLY, WORKER, may_send_frames, may_send_objects
from distributed.units import MiB

__all__ = ["Listener", "connect_address"]

RETRY_S_FIRST, RETRY_S_MAX = 0.01, 0.25
ACCEPT_REST_S = 0.5  # without descriptors or memory, until we accept again
LATER_S_MAX = 2_000_000.0  # a loop's timer takes no more (24 days); no connection lives so long
FOREIGN_LIMITS = Limits(message_nbytes_max=64 * MiB)  # of what comes from somebody else's server, if not told
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_inproc: dict[str, Listener] = {}  # listeners of this process, by name


async def connect_address(
    address: Any,
    timeout_s: float | None = None,
    role: str | None = None,
    keys: Keyring | None = None,
    patient: bool = True,
    pinned: str | None = None,
    limits: Limits | None = None,
) -> Stream:
    """An authenticated stream to the server at `address`.

    Args:
        address: any spelling of `parse_address` with a port.
        timeout_s: a bound on everything together; None: the setting ``connect_timeout_s``.
        role: what to be there; None: client if our key file allows it, else what it allows.
        keys: None: the key file of this user; those of a credential for servers of others, see `Credential.keyring`.
        patient: whether the server may not be up yet, so that a refused connection is tried again.
        pinned: with tls://, the fingerprint of the only certificate to accept; None: those in our file.
        limits: bounds on each message that comes; None: the settings', or narrower ones for a server of others.
    Raises:
        ConnectTimeoutError: nobody answered in time.
        CommClosedError: the connection was refused, and we are not `patient`: whoever was there is gone.
        AuthenticationError: somebody answered who has another key or certificate, or none at all. Not tried again.
        CertificateError: tls://, and we have no certificate.
    """
    place = parse_address(address)
    keys = keys or keyring()
    own = None
    if place.scheme == "tls":
        is_ours = keys.needs_certificate and keys.pinned is None
        own = certificates() if is_ours else uncertified(keys.pinned)
    timeout_s = settings().connect_timeout_s if timeout_s is None else timeout_s
    role = role or keys.strongest_role(CLIENT, WORKER, READONLY)
    deadline = time.monotonic() + timeout_s
    pause, reason = RETRY_S_FIRST, "no answer"
    while True:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                if place.scheme == "dialled":
                    return await begin(place.host, role)
                sock = await _open(place, beside=True)
                reason = "it accepts connections but does not answer; is it a server of distributed?"
                if place.scheme == "tcp" and sock.family == UNIX:
                    with suppress(AuthenticationError, CommClosedError):  # whoever it is, TCP has the last word
                        return await _prove(sock, place, role, keys, None, None, limits)
                    sock = await _open(place)
                return await _prove(sock, place, role, keys, own, pinned, limits)
        except TimeoutError:
            raise ConnectTimeoutError(str(place), timeout_s, reason) from None
        except (AuthenticationError, AddressError):
            raise
        except (OSError, CommClosedError) as error:  # refused, unreachable, or gone while we shook hands
            reason = _reason(error)
            if not patient and isinstance(error, ConnectionRefusedError):
                raise CommClosedError(str(place), reason) from None
        if time.monotonic() + pause >= deadline:
            raise ConnectTimeoutError(str(place), timeout_s, reason)
        await asyncio.sleep(pause)
        pause = min(2 * pause, RETRY_S_MAX)


def _reason(error: OSError) -> str:
    if isinstance(error, CommClosedError):
        return error.reason
    if error.errno and not isinstance(error, (socket.gaierror, ConnectionAbortedError)):  # these have a good one
        return os.strerror(error.errno)  # asyncio's own text is only that the call failed
    return error.strerror or str(error)


async def _open(place: Address, beside: bool = False) -> socket.socket:
    if place.scheme != "inproc":
        return await open_socket(place, open_beside if beside else None)
    listener = _inproc.get(place.host)
    if listener is None:
        raise ConnectionRefusedError(f"nothing in this process listens as {place}")
    ours, theirs = socket.socketpair()
    try:
        listener.hand_over(theirs)
    except RuntimeError:  # its loop was closed without stop()
        ours.close()
        theirs.close()
        raise ConnectionRefusedError(f"the loop of {place} has ended") from None
    return ours


async def _prove(
    sock: socket.socket,
    place: Address,
    role: str,
    keys: Keyring,
    own: Certificates | None,
    pinned: str | None,
    limits: Limits | None,
) -> Stream:
    wire: Wire = sock
    try:
        tune(sock)
        channel = channel_at(sock, is_server=False)
        if own is not None:
            wire = secured = await secure(sock, own, str(place), False, pinned)
            channel = secured.channel
    except BaseException:
        sock.close()
        raise
    peer = Peer(str(place), role, root_of(keys.name), claims_of(keys.name) or NO_CLAIMS)
    if limits is None and role == GUEST:
        limits = FOREIGN_LIMITS
    stream = Stream(wire, peer, limits=limits)
    try:
        may_be_forwarded = settings().allow_forwarding and own is None
        handshake = ClientHandshake(str(place), role, keys, os.urandom(32), channel, may_be_forwarded)
        stream.write_buffers([handshake.hello()])
        stream.write_buffers([handshake.prove(await stream.read_bytes(CHALLENGE_NBYTES))])
        if role == GUEST:
            stream.authenticated(peer, may_send_objects(role), may_send_frames(role))  # it is somebody else's server
        elif sock.family == UNIX and may_send_objects(role):
            await agree(stream, sock)
    except CommClosedError:
        if own is not None and isinstance(wire, TlsSocket) and "ALERT" in (wire.failure or ""):
            raise own.not_accepted(str(place)) from None  # TLS 1.3: it looks at ours when we have begun already
        raise
    except BaseException:
        stream.close()
        raise
    return stream


class Listener:
    """Accepts connections, lets strangers prove themselves, and hands over authenticated streams.

    Args:
        on_stream: called with every new stream, on the loop.
        keys: None: the key file of this user.
        limits: bounds per message; None: the settings'.
        find_key: of a guest, by the root of its name; None: guests are not let in. See `security.credentials`.
    """

    def __init__(
        self,
        on_stream: Callable[[Stream], object],
        keys: Keyring | None = None,
        limits: Limits | None = None,
        find_key: FindKey | None = None,
    ) -> None:
        self.addresses: list[Address] = []
        self.refused = 0  # connections that proved nothing, for people who wonder
        self._on_stream = on_stream
        self._keys = keys or keyring()
        self._limits = limits
        self._find_key = find_key
        self._sockets: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._strangers: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._own: Certificates | None = None  # if we listen with TLS

    def start(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        """Listen; works before `loop` runs. Errors as `bind`; tls:// without a certificate: CertificateError."""
        self._loop = loop
        if address.scheme == "tls":
            self._own = certificates()
            self._own.context(is_server=True)  # a private key that cannot be used is told here
        if address.scheme == "inproc":
            if address.host in _inproc:
                raise AddressError(str(address), "somebody in this process listens there already")
            _inproc[address.host] = self
            self.addresses = [address]
            return
        self._sockets = bind(address)
        self.addresses = [bound_address(sock)._replace(scheme=address.scheme) for sock in self._sockets]
        if address.scheme == "tcp":
            self._sockets += [beside for sock in self._sockets if (beside := bind_beside(sock)) is not None]
        for sock in self._sockets:
            loop.add_reader(sock.fileno(), self._accept, sock)

    def hand_over(self, sock: socket.socket) -> None:
        """Take a connected socket from any thread of this process (inproc)."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._meet, sock, str(self.addresses[0]))

    def stop(self) -> None:
        """Listen no more; streams handed over stay."""
        self._stopped = True
        for sock in self._sockets:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(sock.fileno())
            sock.close()
        for address in self.addresses:
            if address.scheme == "inproc":
                _inproc.pop(address.host, None)
            elif address.scheme == "unix" and os.path.exists(address.host):
                os.unlink(address.host)
        self._sockets = []
        for task in self._strangers:
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(64):  # then the loop gets a turn
            try:
                sock, place = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # gone before we looked, or no descriptors left
                if error.errno in OUT_OF_RESOURCES:
                    self._rest(listening)
                return
            scheme = self.addresses[0].scheme
            self._meet(sock, str(Address(scheme, *place[:2]) if place else self.addresses[0]))

    def _rest(self, listening: socket.socket) -> None:
        """Who connects waits in the backlog; without a pause the loop would try for ever and do nothing else."""
        assert self._loop is not None
        self._loop.remove_reader(listening.fileno())
        self._loop.call_later(ACCEPT_REST_S, self._accept_again, listening)

    def _accept_again(self, listening: socket.socket) -> None:
        if not self._stopped and self._loop is not None:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _meet(self, sock: socket.socket, address: str) -> None:
        if self._stopped or len(self._strangers) >= settings().unauthenticated_max:
            self.refused += 1
            sock.close()
            return
        try:
            tune(sock)
        except OSError:  # it has left already
            sock.close()
            return
        assert self._loop is not None
        task = self._loop.create_task(self._welcome(sock, address))
        self._strangers.add(task)
        task.add_done_callback(lambda done: self._on_met(done, sock))

    def _on_met(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        self._strangers.discard(task)
        if task.cancelled():  # perhaps before its first step
            sock.close()

    async def _welcome(self, sock: socket.socket, address: str) -> None:
        """Let a stranger prove who it is, and hand its stream over or close it."""
        wire: Wire = sock
        shows_none = False
        try:
            async with asyncio.timeout(settings().handshake_timeout_s):
                channel = channel_at(sock, is_server=True)
                if self._own is not None:
                    wire = secured = await secure(sock, self._own, address, True, is_optional=self._may_show_none())
                    channel = secured.channel
                    shows_none = not secured.shown
                stream = Stream(wire, Peer(address, "unknown"), is_stranger=True, limits=self._limits)
                find_key = None if self._find_key is None else self._find_now
                handshake = ServerHandshake(address, self._keys, os.urandom(32), channel, find_key)
                role = await self._authenticate(stream, sock, handshake)
                if shows_none and role != GUEST and self._keys.needs_certificate:
                    stream.close()
                    raise AuthenticationError(address, "it shows no certificate")
        except (AuthenticationError, OSError):  # CommClosedError and TimeoutError are among them
            self.refused += 1
            wire.close()
            return
        peer = Peer(address, role, root_of(handshake.name), claims_of(handshake.name) or NO_CLAIMS)
        stream.authenticated(peer, may_send_objects(role), may_send_frames(role))
        if peer.claims.expires_unix_s is not None:
            self._close_at(stream, peer.claims.expires_unix_s)
        self._on_stream(stream)

    def _may_show_none(self) -> bool:
        return self._find_key is not None or not self._keys.needs_certificate

    def _find_now(self, name: str) -> bytes | None:
        assert self._find_key is not None
        return key_of(name, self._find_key, time.time())

    def _close_at(self, stream: Stream, expires_unix_s: int) -> None:
        """End the connection with the ticket that opened it."""
        assert self._loop is not None
        rest_s = min(expires_unix_s + CLOCKS_DIFFER_S - time.time(), LATER_S_MAX)
        end = self._loop.call_later(rest_s, stream.close)
        stream.add_close_callback(end.cancel)

    async def _authenticate(self, stream: Stream, sock: socket.socket, handshake: ServerHandshake) -> str:
        """The role it has proven. Closes the stream on errors."""
        try:
            hello = await stream.read_bytes(HELLO_NBYTES)
            if more := handshake.name_nbytes(hello):
                hello += await stream.read_bytes(more)
            stream.write_buffers([handshake.challenge(hello)])
            role = handshake.accept(await stream.read_bytes(PROOF_NBYTES))
            if sock.family == UNIX and may_send_objects(role):
                await agree(stream, sock)
            return role
        except AuthenticationError:
            if handshake.refusal:
                stream.write_buffers([handshake.refusal])
                await stream.close_after_flush()
            stream.close()
            raise
        except BaseException:
            stream.close()
            raise
