"""The calling side of a server: `connect`, `read` and `write`, `rpc` with many calls in flight, `send_recv` for one.

On a stream of calls every message is a list:

    CALL    [0, id, op, keywords]    id None: no answer wanted; it runs on when the caller leaves
    REPLY   [1, id, value]
    FAILED  [2, id, ErrorReply]
    CANCEL  [3, id]                  the caller no longer waits; the handler is cancelled

Answers come in any order. A handler that reads or writes its stream itself needs one of its own: connect, write, read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.comm.addresses import Address, parse_address
from distributed.comm.connect import connect_address
from distributed.comm.stream import Stream
from distributed.config import settings
from distributed.errors import (
    BadRequestError,
    CommClosedError,
    DistributedError,
    MessageTooLargeError,
    ProtocolError,
    UnencodableError,
)
from distributed.protocol.codec import ErrorReply, lift
from distributed.protocol.failure import exception_from_reply
from distributed.security.keys import Keyring
from distributed.security.permissions import may_send_objects

__all__ = [
    "CALL",
    "CANCEL",
    "FAILED",
    "REPLY",
    "coerce_to_address",
    "coerce_to_rpc",
    "connect",
    "read",
    "rpc",
    "send_recv",
    "send_recv_sync",
    "write",
]

CALL, REPLY, FAILED, CANCEL = 0, 1, 2, 3

STREAMS_MAX = 4  # per rpc; a second one opens only while the others are busy with megabytes
BUSY_NBYTES = 1024 * 1024
IDLE_S = 60.0  # a spare stream unused that long is closed


class _Call(asyncio.Future[Any]):
    """The answer to come; cancelling it tells the server."""

    link: _Link
    number: int

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.link.forget(self.number)
        return True


class _Link:
    """One stream and the calls that wait for answers on it."""

    def __init__(self, stream: Stream, may_unpickle: bool) -> None:
        self.stream = stream
        self.may_unpickle = may_unpickle
        self.calls: dict[int, _Call] = {}
        self.loop = asyncio.get_running_loop()
        self.last_used = self.loop.time()
        self._number = 0
        stream.set_message_handler(self._on_message)
        stream.set_close_callback(self._on_close)

    def call(self, op: str, keywords: dict[str, Any]) -> _Call:
        self._number += 1
        call = _Call(loop=self.loop)
        call.link, call.number = self, self._number
        try:
            self.stream.write_plain_nowait([CALL, self._number, op, lift(keywords)])
        except DistributedError as error:  # for who awaits it, as every other error
            call.set_exception(error)
            return call
        self.calls[self._number] = call
        return call

    def forget(self, number: int) -> None:
        if self.calls.pop(number, None) is not None and not self.stream.closed():
            with contextlib.suppress(CommClosedError):  # the peer does not read: closing cancels too
                self.stream.write_plain_nowait([CANCEL, number])

    def _on_message(self, message: Any) -> None:
        try:
            kind, number, value = message
            call = self.calls.pop(number, None)
        except (TypeError, ValueError):
            self.stream.close()
            return
        if call is None or call.done():
            return  # cancelled here while the answer was on its way
        if kind == REPLY:
            call.set_result(value)
        elif kind == FAILED and isinstance(value, ErrorReply):
            error = _exception(value, self.stream, self.may_unpickle)
            if isinstance(error, StopIteration):  # no future takes it
                error = RuntimeError("the handler raised StopIteration")
            call.set_exception(error)
        else:
            call.set_exception(ProtocolError(f"{self.stream.peer.address} answered with no known kind of answer"))

    def _on_close(self) -> None:
        error = self.stream.why_closed()
        reason = error.reason if isinstance(error, CommClosedError) else str(error)
        calls, self.calls = self.calls, {}
        for call in calls.values():
            if not call.done():
                call.set_exception(CommClosedError(self.stream.peer.address, reason))


class _Method:
    """An op of a server, to be called with keywords."""

    __slots__ = ("__name__", "_rpc")

    def __init__(self, server: rpc, op: str) -> None:
        self._rpc = server
        self.__name__ = op

    def __call__(self, *args: Any, **keywords: Any) -> Awaitable[Any]:
        op, server = self.__name__, self._rpc
        if args:
            raise BadRequestError(f"{op}: give arguments by keyword, {op}(x=1), the server knows them by name")
        if "reply" not in keywords and "close" not in keywords and server._given is None:
            link = server._ready_link()
            if link is not None:  # nearly always; `call` would take the keywords apart and put them together again
                return link.call(op, keywords)
        return server.call(op, **keywords)


class rpc:
    """A server at a distance: ``await rpc('127.0.0.1:8888').add(x=1, y=2)``.

    Nothing is connected until the first call. Calls share few streams and overlap freely. Cancelling a call, or letting
    `asyncio.timeout` pass, cancels the handler on the server. Use it as ``async with`` to close its streams in the end.

    Args:
        arg: ``'host:port'``, ``'tcp://host:port'``, ``(host, port)``, the same as bytes; or a host, with `port`.
        stream: an open stream to use instead of connecting; or, as in ``rpc('127.0.0.1', 8888)``, the port.
        ip, port, addr: the other historical spellings, ``rpc(ip='127.0.0.1', port=8888)``, ``rpc(addr='host:port')``.
        timeout: seconds to connect in; None: the setting ``connect_timeout_s`` (3 s).
        role: what to be there, see `connect_address`.
        may_unpickle: whether errors that the server answers may be rebuilt from their pickles; False for servers that
            never run the code of others: then built-in types and our own are rebuilt by name, the rest is RemoteError.
        patient: False for a server that was there: a refused connection tells that it is gone, see `connect_address`.
        keys: what to prove; None: the key file of this user.
    Raises:
        AddressError: no such spelling.

    Any op is a method with keywords only; two keywords are ours: ``reply=False`` waits for no answer and ``close=True``
    closes the stream afterwards. Ops whose name is taken here (``r.call``, ``r.address``, ...) are reached as
    ``r['name'](...)``. An error raised by the handler is raised here with its type and the remote traceback as cause.
    """

    def __init__(
        self,
        arg: Any = None,
        stream: Any = None,
        ip: Any = None,
        port: int | None = None,
        addr: Any = None,
        timeout: float | None = None,
        role: str | None = None,
        may_unpickle: bool = True,
        patient: bool = True,
        keys: Keyring | None = None,
    ) -> None:
        if isinstance(stream, int) and not isinstance(stream, bool):
            stream, port = None, stream
        self.timeout = settings().connect_timeout_s if timeout is None else timeout
        self._role = role
        self._may_unpickle = may_unpickle
        self._patient = patient
        self._keys = keys
        self._given = stream if stream is not None else (arg if hasattr(arg, "read_bytes") else None)
        self._links: list[_Link] = []
        self._connecting: asyncio.Task[_Link] | None = None
        self._closed = False
        self._turn: asyncio.Lock | None = None  # only with a given stream, which is used by one call at a time
        if self._given is None:
            place = next((value for value in (addr, arg, ip) if value is not None), None)
            self._address: Address | None = parse_address((place, port) if port is not None else place)
        else:
            self._address = None

    @property
    def address(self) -> str:
        """Canonical address of the server."""
        if self._address is not None:
            return str(self._address)
        return str(self._given.peer.address) if isinstance(self._given, Stream) else "the given stream"

    @property
    def streams(self) -> dict[Stream, bool]:
        """Open streams, and whether each is free at the moment."""
        return {link.stream: not link.calls for link in self._links if not link.stream.closed()}

    @property
    def receives(self) -> int:
        """How often bytes have come on the streams that are open: it changes while the peer is not silent."""
        return sum(link.stream.receives for link in self._links)

    def call(self, op: str, /, reply: bool = True, close: bool = False, **keywords: Any) -> asyncio.Future[Any]:
        """Call `op`; the same as the method of that name.

        Raises (when awaited):
            ConnectTimeoutError, AuthenticationError: no connection.
            CommClosedError: the connection ended before the answer came; whether the op ran is then unknown.
            UnencodableError: a keyword that messages cannot carry.
            Anything the handler raised.
        """
        if close or self._given is not None:
            return asyncio.ensure_future(self._call_alone(op, reply, close, keywords))
        link = self._ready_link() if reply else None
        if link is None:
            return asyncio.ensure_future(self._connect_and_call(op, reply, keywords))
        return link.call(op, keywords)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise AttributeError(f"{name!r}: names that begin with _ are never ops")
        return self[name]

    def __getitem__(self, op: str) -> Callable[..., Awaitable[Any]]:
        return _Method(self, op)

    def close_streams(self) -> None:
        """Close every stream; calls in flight fail with CommClosedError. The next call connects again."""
        for link in self._links:
            link.stream.close()
        self._links.clear()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    async def close(self) -> None:
        """Close for good."""
        self._closed = True
        self.close_streams()

    async def __aenter__(self) -> rpc:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __del__(self) -> None:
        for link in self.__dict__.get("_links", ()):
            link.stream.close()

    def __repr__(self) -> str:
        return f"<rpc to {self.address}, {len(self.streams)} streams>"

    # ------------------------------------------------------------ streams

    def _ready_link(self) -> _Link | None:
        """An open link that can take a call now; None: connect first."""
        best = None
        loop = asyncio.get_running_loop()
        if len(self._links) == 1:  # nearly always
            link = self._links[0]
            if link.loop is loop and not link.stream.closed() and link.stream.nbytes_unsent <= BUSY_NBYTES:
                return link
        for link in self._links:
            if link.loop is not loop:  # of an earlier run_sync: nobody would send what we write there
                link.stream.close()
            elif not link.stream.closed() and (best is None or link.stream.nbytes_unsent < best.stream.nbytes_unsent):
                best = link
                if not link.stream.nbytes_unsent:
                    break
        if best is not None and best.stream.nbytes_unsent > BUSY_NBYTES and len(self._links) < STREAMS_MAX:
            return None
        if best is not None:
            best.last_used = loop.time()  # of several; a single one is never idle too long
        return best

    async def _connect_and_call(self, op: str, reply: bool, keywords: dict[str, Any]) -> Any:
        link = self._ready_link() or await self._new_link()
        if reply:
            return await link.call(op, keywords)
        link.stream.write_message_nowait([CALL, None, op, keywords])
        await link.stream.drain()
        return None

    async def _new_link(self) -> _Link:
        if self._closed:
            raise CommClosedError(self.address, "this rpc was closed")
        connecting = self._connecting
        if connecting is None or connecting.get_loop() is not asyncio.get_running_loop():
            connecting = self._connecting = asyncio.ensure_future(self._connect())
            connecting.add_done_callback(lambda done: done.cancelled() or done.exception())  # if nobody waits
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if connecting.cancelled() and not (task and task.cancelling()):  # not we were cancelled
                raise CommClosedError(self.address, "closed here") from None
            raise

    async def _connect(self) -> _Link:
        try:
            link = _Link(
                await connect_address(self._address, self.timeout, self._role, self._keys, self._patient),
                self._may_unpickle,
            )
        finally:
            self._connecting = None
        now = asyncio.get_running_loop().time()
        for old in self._links:
            if not old.calls and now - old.last_used > IDLE_S:
                old.stream.close()
        self._links = [old for old in self._links if not old.stream.closed()] + [link]
        return link

    async def _call_alone(self, op: str, reply: bool, close: bool, keywords: dict[str, Any]) -> Any:
        """A call in the plain form, on a stream of its own or on the one that was given."""
        request = {**keywords, "op": op, "reply": reply, "close": close}
        if self._closed:
            raise CommClosedError(self.address, "this rpc was closed")
        if self._given is not None:
            self._turn = self._turn or asyncio.Lock()
            async with self._turn:
                return await exchange(self._given, request)
        stream = await connect_address(self._address, self.timeout, self._role, self._keys)
        return await exchange_and_close(stream, request)


async def connect(
    host: Any,
    port: int | None = None,
    timeout: float | None = None,
    role: str | None = None,
    keys: Keyring | None = None,
) -> Stream:
    """Open an authenticated stream to a server.

    Args:
        host: a host with `port`, or any address: ``'tcp://127.0.0.1:8888'``, ``'[::1]:8888'``, ``('127.0.0.1', 8888)``.
        timeout: seconds for everything together; None: the setting ``connect_timeout_s`` (3 s). Refused connections
            are tried again until then, so a server may still be starting.
        role: ``client``, ``worker`` or ``readonly``; None: the strongest that our key file allows.
        keys: what to prove; None: the key file of this user.
    Raises:
        ConnectTimeoutError: nobody answered in time.
        AuthenticationError: somebody answered who holds another key.
        AddressError: no such spelling.
    """
    return await connect_address(host if port is None else (host, port), timeout, role, keys)


async def send_recv(
    arg: Any = None,
    /,
    stream: Any = None,
    ip: Any = None,
    port: int | None = None,
    addr: Any = None,
    timeout: float | None = None,
    reply: bool = True,
    **request: Any,
) -> Any:
    """One request on an open stream, or on a connection made and closed for it; the answer, or the handler's error.

    ``await send_recv(stream, op='add', x=1, y=2)``, ``await send_recv('127.0.0.1:8888', op='ping')``.
    """
    stream = stream if stream is not None else (arg if hasattr(arg, "read_bytes") else None)
    if stream is not None:
        return await exchange(stream, {**request, "reply": reply})
    place = next((value for value in (addr, arg, ip) if value is not None), None)
    return await exchange_and_close(await connect(place, port, timeout), {**request, "reply": reply})


def send_recv_sync(*args: Any, **request: Any) -> Any:
    """`send_recv` for callers without a loop; opens one for this call."""
    return asyncio.run(send_recv(*args, **request))


def coerce_to_address(value: Any, default_port: int | None = None) -> str:
    """The canonical form of any spelling of an address, ``'tcp://host:port'``. Errors as `parse_address`."""
    return str(parse_address(value, default_port))


def coerce_to_rpc(value: Any, **keywords: Any) -> rpc:
    """An `rpc` from an address, a stream, or an rpc (returned as it is).

    Raises:
        TypeError: none of these.
    """
    if isinstance(value, rpc):
        return value
    if isinstance(value, (str, bytes, tuple, list, Address)) or hasattr(value, "read_bytes"):
        return rpc(value, **keywords)
    raise TypeError(f"cannot make an rpc of {type(value).__name__}; give an address, a stream or an rpc")


async def exchange(stream: Any, request: dict[str, Any]) -> Any:
    """One plain request on an open stream (ours or Tornado's), and its answer if it wants one."""
    try:
        await write(stream, request)
        answer = await read(stream) if request.get("reply", True) else None
    except (UnencodableError, MessageTooLargeError):
        raise  # nothing was sent
    except BaseException:  # cancelled, too: the answer that comes would be taken for the next request's
        stream.close()
        raise
    if isinstance(answer, ErrorReply):
        raise _exception(answer, stream)
    return answer


async def exchange_and_close(stream: Stream, request: dict[str, Any]) -> Any:
    """One request on a stream opened for it."""
    try:
        if request.get("reply", True):
            return await exchange(stream, request)
        # As a call, because those without an answer run on when we leave; a plain request ends with its connection.
        keywords = {key: value for key, value in request.items() if key not in ("op", "reply", "close")}
        stream.write_message_nowait([CALL, None, request.get("op"), keywords])
        await stream.close_after_flush()
        return None
    finally:
        stream.close()


def _exception(reply: ErrorReply, stream: Any, may_unpickle: bool = True) -> BaseException:
    """What the server raised. Whoever proved only a key for reading may not make us run pickles."""
    if isinstance(stream, Stream):
        trusted = may_unpickle and may_send_objects(stream.peer.role)
        return exception_from_reply(reply, stream.peer.address, trusted)
    return exception_from_reply(reply, "the server", may_unpickle)


async def read(stream: Any) -> Any:
    """The next message of a stream: ours, or a Tornado ``IOStream``.

    Returns:
        What was written, as msgpack has it: tuples are lists. Wrapped objects are `Serialized`, call ``.load()``. The
        error answer of a server is an `ErrorReply`, a dict with ``status``, ``type``, ``text`` and ``traceback``.
    Raises:
        CommClosedError: the connection ended (Tornado's StreamClosedError for an IOStream).
        ProtocolError: bytes that are no message, or over the limits; the stream is closed.
    Cost: one pass over the message; frames are received where they stay.
    """
    if isinstance(stream, Stream):
        return await stream.read_message()
    from distributed.comm.tornado_stream import read_from_iostream  # lazy: only with a foreign stream at hand

    return await read_from_iostream(stream)


async def write(stream: Any, message: Any) -> None:
    """Send one message; waits only while more than 4 MiB are unsent.

    Args:
        message: any msgpack value (None, bool, int to 64 bits, float, text, bytes, list, tuple, dict) of any nesting
            to 511 levels; other objects wrapped: ``to_serialize(value)``.
    Raises:
        UnencodableError: a value that a message cannot carry; nothing was sent.
        MessageTooLargeError: over the limits; nothing was sent.
        CommClosedError: the connection has ended.
    """
    if isinstance(stream, Stream):
        stream.write_message_nowait(message)
        await stream.drain()
        return
    from distributed.comm.tornado_stream import write_to_iostream  # lazy: only with a foreign stream at hand

    await write_to_iostream(stream, message)
