"""The foundation: messages over streams, and servers that answer them. Everything else here is a `Server`.

    from distributed.core import Server, connect, read, rpc, write

A request is a dict, ``{'op': 'add', 'x': 1, 'y': 2}``; the server calls the handler of that op with the stream and the
other keys, and writes back what it returns. Three keys are ours: ``op``; ``reply: False`` asks for no answer, not even
an error; ``close: True`` ends the connection after it. ``{'op': 'close'}`` answers ``'OK'`` and ends it too. Requests
on one stream are served in order, one after the other; `rpc` has many in flight.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from distributed.calls import (
    CALL,
    CANCEL,
    FAILED,
    REPLY,
    coerce_to_address,
    coerce_to_rpc,
    connect,
    read,
    rpc,
    send_recv,
    send_recv_sync,
    write,
)
from distributed.comm.addresses import is_loopback, parse_address
from distributed.comm.batched import BatchedSend
from distributed.comm.connect import Listener
from distributed.comm.stream import UNSENT_NBYTES_HIGH, Stream
from distributed.config import settings
from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    ConfigError,
    ConnectTimeoutError,
    MessageTooLargeError,
    PermissionDeniedError,
    ProtocolError,
    RemoteError,
    StreamingOpError,
    UnencodableError,
    UnknownOpError,
)
from distributed.ids import unique_id
from distributed.protocol.codec import SENTINEL, ErrorReply, Limits, lift
from distributed.protocol.failure import clean_exception, error_message, error_reply
from distributed.protocol.serialize import Serialized, to_serialize
from distributed.security.certificates import BEYOND_LOOPBACK, certificates, has_certificates
from distributed.security.credentials import FindKey
from distributed.security.keys import Keyring
from distributed.security.permissions import may_call

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "BatchedSend",
    "CommClosedError",
    "ConnectTimeoutError",
    "ErrorReply",
    "MessageTooLargeError",
    "PermissionDeniedError",
    "ProtocolError",
    "RemoteError",
    "Serialized",
    "Server",
    "StreamingOpError",
    "UnencodableError",
    "UnknownOpError",
    "clean_exception",
    "coerce_to_address",
    "coerce_to_rpc",
    "connect",
    "error_message",
    "read",
    "rpc",
    "send_recv",
    "send_recv_sync",
    "sentinel",
    "to_serialize",
    "write",
]

sentinel = SENTINEL  # what ends every message header on the wire

CALLS_MAX = 10_000  # in flight on one stream; then no more is read from it

Handler = Callable[..., Any]


class Server:
    """Answers requests by calling handlers.

    Args:
        handlers: ``{op: handler}``. A handler is called ``handler(stream, **keywords)`` and may be a plain function, an
            ``async def`` or a ``gen.coroutine``; what it returns is the answer. A handler may also write any number of
            messages itself; what it returns in the end is written too, unless the request said ``reply: False``.
        keys: whom to let in; None: this user's key file.
        max_buffer_size: bound in bytes on one message; None: the settings.
        find_key: the key of the guests' credential with that name, None: they are not let in (any more); asked at
            every connect. Handlers see in ``stream.peer`` who calls: its ``role``, ``name`` and ``claims``.
    Raises:
        TypeError: an op that is no text, begins with ``_`` or is ``close``; a handler that cannot be called.

    Every server also knows ``identity``, ``ping`` and ``ops`` (all ops with signature and documentation).
    Subclasses put their handlers in `handlers` before they call ``listen``.
    """

    default_port = 0

    def __init__(
        self,
        handlers: Mapping[str, Handler] | None = None,
        *,
        keys: Keyring | None = None,
        max_buffer_size: int | None = None,
        find_key: FindKey | None = None,
    ) -> None:
        self.id = unique_id(type(self).__name__.lower())
        self.handlers: dict[str, Handler] = {"identity": self.identity, "ping": self.ping, "ops": self.ops}
        self.add_handlers(handlers or {})
        self._keys = keys
        self._find_key = find_key
        self._limits = None if max_buffer_size is None else _limits_of(max_buffer_size)
        self._listeners: list[Listener] = []
        self._connections: set[_Connection] = set()
        self._unanswered: set[asyncio.Future[Any]] = set()  # calls whose caller wants no answer

    def add_handlers(self, handlers: Mapping[str, Handler]) -> None:
        """Serve more ops; one of the same name replaces the old. Errors as the constructor's."""
        for op, handler in handlers.items():
            if not isinstance(op, str) or op.startswith("_") or op == "close":
                raise TypeError(f"{op!r} cannot be an op: use a text that does not begin with _ and is not 'close'")
            if not callable(handler):
                raise TypeError(f"the handler of {op!r} is a {type(handler).__name__} and cannot be called")
            self.handlers[op] = handler

    # ------------------------------------------------------------ listening

    def listen(self, port: Any = None, address: str = "127.0.0.1", insecure: bool = False, tls: bool = False) -> None:
        """Accept connections, beyond loopback with TLS; returns at once, and serves as soon as the loop runs.

        Args:
            port: None: the class's `default_port`; 0: any free one; or a whole address (``'unix:///path'``,
                ``'inproc://name'``, ``'tcp://host:port'``, ``'tls://host:port'``).
            address: host to bind; other machines cannot reach the default.
            insecure: encrypt nothing even if other machines can reach the host.
            tls: encrypt on loopback too.
        Raises:
            PortTakenError: another process listens there.
            AddressError: no port or address.
            ConfigError: a host beyond loopback without a certificate or `insecure`.
            CertificateError: `tls`, but there is no certificate, or it cannot be used.
        """
        if isinstance(port, str) and not port.isdigit():
            place = parse_address(port, self.default_port)
        else:
            place = parse_address((address, self.default_port if port is None else port))
        if place.scheme == "tcp" and (tls or (not insecure and not is_loopback(place.host))):
            if not tls and not has_certificates():
                raise ConfigError("host", place.host, BEYOND_LOOPBACK)
            place = place._replace(scheme="tls")
        listener = Listener(self._on_stream, self._keys, self._limits, self._find_key)
        listener.start(place, _current_loop())
        self._listeners.append(listener)

    @property
    def port(self) -> int:
        """The port we listen on.

        Raises:
            OSError: `listen` was not called.
        """
        for listener in self._listeners:
            for address in listener.addresses:
                if address.port:
                    return address.port
        raise OSError("Server has no port.  Please call .listen first")

    @property
    def address(self) -> str:
        """Canonical address of the first place we listen on; OSError before `listen`."""
        if not self._listeners:
            raise OSError("Server has no address.  Please call .listen first")
        return str(self._listeners[0].addresses[0])

    @property
    def fingerprint(self) -> str | None:
        """Of the certificate that we show; None: we listen without TLS."""
        return certificates().fingerprint if self._listeners and self.address.startswith("tls://") else None

    def stop(self) -> None:
        """Listen no more and close every connection; handlers still running are cancelled."""
        for listener in self._listeners:
            listener.stop()
        for connection in list(self._connections):
            connection.stream.close()
        for call in self._unanswered:
            call.cancel()

    def cut_off(self, name: str) -> int:
        """Close the connections of guests of that name; how many. `find_key` tells whether they can come back."""
        found = [each for each in self._connections if each.stream.peer.name == name != ""]
        for connection in found:
            connection.stream.close()
        return len(found)

    # ------------------------------------------------------------ ops of every server

    def identity(self, stream: Any) -> dict[str, Any]:
        """Who this is: type and id."""
        return {"type": type(self).__name__, "id": self.id}

    def ping(self, stream: Any) -> bytes:
        """Answer b'pong'."""
        return b"pong"

    def ops(self, stream: Any) -> dict[str, dict[str, str]]:
        """All ops: signature without the stream, and documentation."""
        return {op: {"signature": _signature(handler), "doc": inspect.getdoc(handler) or ""}
                for op, handler in sorted(self.handlers.items())}  # fmt: skip

    def _on_stream(self, stream: Stream) -> None:
        connection = _Connection(self, stream)
        self._connections.add(connection)
        stream.add_close_callback(lambda: self._connections.discard(connection))
        connection.start()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address if self._listeners else 'not listening'}>"


class _Connection:
    """One stream of a server: plain requests in order, or calls side by side once the peer sends calls."""

    def __init__(self, server: Server, stream: Stream) -> None:
        self.server = server
        self.stream = stream
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._unanswered_count = 0  # calls that run and whose caller wants no answer
        self._draining: asyncio.Task[None] | None = None  # while nothing is read because much is unsent

    def start(self) -> None:
        task = asyncio.ensure_future(self._serve())
        self.stream.add_close_callback(task.cancel)

    async def _serve(self) -> None:
        try:
            while True:
                request = await self.stream.read_message()
                if type(request) is list:
                    self.stream.add_close_callback(self._cancel_all)
                    self.stream.set_message_handler(self._on_call)
                    self._on_call(request)
                    return
                if not await self._serve_one(request):
                    return
        except (CommClosedError, ProtocolError):
            self.stream.close()  # the peer has left, or is told nothing more because its bytes make no sense

    # ------------------------------------------------------------ plain requests

    async def _serve_one(self, request: Any) -> bool:
        """Answer one request; whether to read another one."""
        if type(request) is not dict:
            error = _bad(f"a request is a dict with an 'op', not {type(request).__name__}")
            await write(self.stream, error_reply(error))
            await self.stream.close_after_flush()
            return False
        wants_reply, wants_close = bool(request.pop("reply", True)), bool(request.pop("close", False))
        op = request.pop("op", None)
        if op == "close":
            answer, wants_close = "OK", True
        else:
            answer = await self._answer(op, request)
        if wants_reply:
            await self._write_answer(answer)
        if wants_close:
            await self.stream.close_after_flush()
        return not self.stream.closed()

    async def _answer(self, op: Any, keywords: dict[str, Any]) -> Any:
        try:
            answer = self._run(op, keywords, self.stream)
            return await _cancellable(answer) if hasattr(answer, "__await__") else answer
        except Exception as error:  # the boundary: whatever a handler raises goes to its caller
            return error_reply(error)
        except asyncio.CancelledError as error:
            if self.stream.closed():
                raise
            return error_reply(error)  # not we were cancelled: the handler, or what it waited for

    async def _write_answer(self, answer: Any) -> None:
        try:
            await write(self.stream, answer)
        except (UnencodableError, MessageTooLargeError) as error:
            await write(self.stream, _short(answer, error))

    # ------------------------------------------------------------ calls

    def _on_call(self, message: Any) -> None:
        if type(message) is not list or len(message) < 2:
            self._reject("a call is a list [kind, id, ...]")
            return
        kind, number = message[0], message[1]
        is_new = number is None or (type(number) is int and number not in self._calls)
        if kind == CALL and len(message) == 4 and is_new:
            self._begin(number, message[2], message[3])
        elif kind == CANCEL and type(number) is int:
            call = self._calls.pop(number, None)
            if call is not None:
                call.cancel()
                self._regulate()
        else:
            self._reject("a call begins with its kind, and an id that is a new integer")

    def _begin(self, number: int | None, op: Any, keywords: Any) -> None:
        try:
            answer = self._run(op, keywords, _CallStream(self.stream, op))
        except Exception as error:  # the boundary: whatever a handler raises goes to its caller
            self._reply(number, FAILED, error_reply(error))
            return
        if not hasattr(answer, "__await__"):
            self._reply(number, REPLY, answer)
            return
        future = asyncio.ensure_future(_cancellable(answer))
        if number is None:
            self.server._unanswered.add(future)
            self._unanswered_count += 1
            future.add_done_callback(self._finish_unanswered)
            self._regulate()
            return
        self._calls[number] = future
        future.add_done_callback(lambda done: self._finish(number, done))
        self._regulate()

    def _finish_unanswered(self, done: asyncio.Future[Any]) -> None:
        self.server._unanswered.discard(done)
        self._unanswered_count -= 1
        self._regulate()
        _ = done.cancelled() or done.exception()  # its caller does not want to know

    def _finish(self, number: int, done: asyncio.Future[Any]) -> None:
        wanted = self._calls.pop(number, None) is not None
        if done.cancelled():
            if wanted:  # the handler cancelled itself
                self._reply(number, FAILED, error_reply(asyncio.CancelledError("the handler was cancelled")))
        elif (error := done.exception()) is not None:
            if wanted:
                self._reply(number, FAILED, error_reply(error))
        elif wanted:
            self._reply(number, REPLY, done.result())
        self._regulate()

    def _reply(self, number: int | None, kind: int, answer: Any) -> None:
        if number is None or self.stream.closed():
            return
        try:
            try:
                self.stream.write_plain_nowait([kind, number, lift(answer)])
            except (UnencodableError, MessageTooLargeError) as error:
                self.stream.write_message_nowait([FAILED, number, _short(answer, error)])
        except (MessageTooLargeError, CommClosedError):  # not even an error fits, or the peer does not read
            self.stream.close()
        if self._draining is None and self.stream.nbytes_unsent > UNSENT_NBYTES_HIGH:
            self._draining = asyncio.ensure_future(self._drain())
            self._regulate()

    async def _drain(self) -> None:
        try:
            await self.stream.drain()
        except CommClosedError:
            return
        finally:
            self._draining = None
        self._regulate()

    def _regulate(self) -> None:
        """Read on or not: not while too many calls run, or while too much is unsent."""
        if len(self._calls) + self._unanswered_count >= CALLS_MAX or self._draining is not None:
            self.stream.pause_reading()
        else:
            self.stream.resume_reading()

    def _reject(self, text: str) -> None:
        if not self.stream.closed():
            self.stream.set_message_handler(None)
            self.stream.write_message_nowait(error_reply(_bad(text)))
            asyncio.ensure_future(self.stream.close_after_flush())  # noqa: RUF006  (ends with the stream)

    def _cancel_all(self) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.cancel()

    # ------------------------------------------------------------ both

    def _run(self, op: Any, keywords: Any, stream: Any) -> Any:
        """Call the handler, or raise what tells the caller why not."""
        handler = self.server.handlers.get(op) if type(op) is str else None
        if handler is None or type(keywords) is not dict:
            raise self._misfit(op, keywords)
        if not may_call(self.stream.peer.role, op):
            raise PermissionDeniedError(op, self.stream.peer.role)
        try:
            answer = handler(stream, **keywords)
            if type(answer) is asyncio.Future and answer.done() and not answer.cancelled():
                answer.result()  # a gen.coroutine that ended at once, perhaps because it cannot be called so
            return answer
        except TypeError as error:
            if (reason := _mismatch(handler, keywords)) is not None:
                raise _bad(f"{op}{_signature(handler)}: {reason}") from error
            raise

    def _misfit(self, op: Any, keywords: Any) -> BadRequestError:
        if op is None:
            return _bad("the request has no 'op'; ask {'op': 'ops'} for what this server knows")
        if type(op) is str and type(keywords) is not dict:
            return _bad(f"{op}: keywords are a dict, not {type(keywords).__name__}")
        return UnknownOpError(str(op)[:100], sorted(self.server.handlers))


class _CallStream:
    """What a handler called by `rpc` gets for its stream: it can be asked, not written, since others use it too."""

    __slots__ = ("_op", "_stream")

    def __init__(self, stream: Stream, op: str) -> None:
        self._stream = stream
        self._op = op

    def __getattr__(self, name: str) -> Any:
        if name == "set_close_callback":
            return self._stream.add_close_callback
        if name in ("peer", "closed", "close", "nbytes_unsent"):
            return getattr(self._stream, name)
        raise StreamingOpError(self._op)


def _cancellable(answer: Any) -> Any:
    """What to await for a handler's answer, so that cancelling it is right for its kind.

    Coroutines and tasks are cancelled where they wait. The future of a ``gen.coroutine`` cannot stop its coroutine:
    that one goes on, and ends when it next touches the closed stream, which is no news for anybody.
    """
    if not isinstance(answer, asyncio.Future) or isinstance(answer, asyncio.Task):
        return answer
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())
    return asyncio.shield(answer)


def _short(answer: Any, error: Exception) -> ErrorReply:
    """In place of an `answer` that cannot be sent because of `error`; without the parts that may be long."""
    reply = answer if type(answer) is ErrorReply else error_reply(error)
    return ErrorReply({**reply, "text": reply["text"][:200], "traceback": "", "exception": None})


def _bad(text: str) -> BadRequestError:
    return BadRequestError(text)


def _signature(handler: Handler) -> str:
    """Signature without the stream; ``(...)`` for builtins that tell none."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return "(...)"
    return str(signature.replace(parameters=list(signature.parameters.values())[1:]))


def _mismatch(handler: Handler, keywords: dict[str, Any]) -> str | None:
    """Why `keywords` do not fit, or None if they do (then the TypeError came from inside the handler)."""
    try:
        inspect.signature(handler).bind(None, **keywords)
    except TypeError as error:
        return str(error)
    except ValueError:
        return None
    return None


def _limits_of(message_nbytes_max: int) -> Limits:
    given = settings().limits
    return Limits(min(given.header_nbytes_max, message_nbytes_max), given.frame_count_max, message_nbytes_max)


def _current_loop() -> asyncio.AbstractEventLoop:
    """The running loop, else the one that ``IOLoop.current().start()`` will run."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        from tornado.ioloop import IOLoop  # lazy: only scripts in Tornado's style come here

        return IOLoop.current().asyncio_loop  # type: ignore[attr-defined, no-any-return]
