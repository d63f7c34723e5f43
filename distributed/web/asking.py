"""One connection to an HTTP server, kept open between requests, on which bodies of any size are sent piece by piece.

`tornado.httpclient` makes a connection for each request and has one time limit for all of it. Here every step has its
own: connecting, each piece that the server takes, and the answer. Not here: redirects, compression, proxies.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import DefaultLoopResolver
from tornado.tcpclient import TCPClient

from distributed.comm.addresses import place_of
from distributed.dataclass import dataclass, field
from distributed.errors import AddressError, CommClosedError, UnreachableError
from distributed.log import shown
from distributed.web.connecting import headers, ssl_context

__all__ = ["Answer", "Body", "Connection"]

CONNECT_S = 5.0
SILENCE_S = 60.0  # for a piece that the server does not take, or an answer that does not come
ASK_FIRST_NBYTES = 65_536  # of a bigger body the server is asked whether it wants it (Expect: 100-continue)
ANSWER_NBYTES_MAX = 1_048_576
PIECE_NBYTES = 262_144

_URL = re.compile(r"(https?)://(?:\[([0-9a-fA-F:.]+)\]|([^/:\[\]@?#]+)):([0-9]{1,5})/?|unix://(/.+)")

Body = bytes | Callable[[], AsyncGenerator[bytes]]  # whole, or made anew for each attempt to send it


@dataclass(slots=True)
class Answer:
    """What the server said; `retry_after_s` is its own wish."""

    status: int = 0
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def retry_after_s(self) -> float | None:
        """How long to wait before asking again; None: it does not say."""
        text = self.headers.get("Retry-After", "")
        return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None

    @property
    def line(self) -> str:
        """Status and text on one line, for error texts and terminals."""
        return shown(f"{self.status} {' '.join(self.text[:200].split())}".rstrip())


class Connection:
    """Asks one server, one request after the other.

    Args:
        url: ``http://host:port``, ``https://host:port`` or ``unix:///path``.
        token_headers: what lets us in; None: this user's token.
        silence_s: how long the server may neither take a piece nor answer.
    Raises:
        AddressError: `url` is none of these.
    """

    def __init__(self, url: str, token_headers: Mapping[str, str] | None = None, silence_s: float = SILENCE_S) -> None:
        found = _URL.fullmatch(url)
        if found is None:
            raise AddressError(url, "write http://host:port, https://host:port or unix:///path")
        self.url = url.rstrip("/")
        self._scheme, self._host, self._path = found[1], found[2] or found[3], found[5]
        self._port = int(found[4] or 0)
        self._headers = headers() if token_headers is None else token_headers
        self._silence_s = silence_s
        self._stream: IOStream | None = None

    async def ask(
        self,
        method: str,
        path: str,
        given: Mapping[str, str] | None = None,
        body: Body | None = None,
        nbytes: int | None = None,
    ) -> Answer:
        """The answer to one request.

        Args:
            given: headers beside the token.
            body: what making it piece by piece raises ends the connection and is raised.
            nbytes: of a body that is made piece by piece; None: it is not known, and the body goes chunked.
        Raises:
            UnreachableError: there is nobody.
            CommClosedError: the server went away, or was silent for too long.
        """
        is_kept = self._stream is not None and not self._stream.closed()
        try:
            return await self._ask(method, path, given or {}, body, nbytes)
        except CommClosedError:
            if not is_kept:
                raise
            return await self._ask(method, path, given or {}, body, nbytes)  # it was closed while nobody asked

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _ask(
        self, method: str, path: str, given: Mapping[str, str], body: Body | None, nbytes: int | None
    ) -> Answer:
        if self._stream is None or self._stream.closed():
            self._stream = await self._connect()
        parameters = HTTP1ConnectionParameters(max_body_size=ANSWER_NBYTES_MAX)
        connection = HTTP1Connection(self._stream, is_client=True, params=parameters)
        answering = _Answering()
        reading = asyncio.ensure_future(answering.read(connection))
        try:
            connection.write_headers(RequestStartLine(method, path, ""), self._head(given, body, nbytes))
            await self._send(connection, answering, body)
            await self._within(answering.is_over.wait(), "no answer")
            if not answering.is_whole:
                raise CommClosedError(self.url, answering.reason)
        finally:
            if not answering.may_be_kept:
                self.close()
            await reading
        return answering.answer

    def _head(self, given: Mapping[str, str], body: Body | None, nbytes: int | None) -> HTTPHeaders:
        host = f"[{self._host}]" if self._host and ":" in self._host else self._host or "localhost"
        head = HTTPHeaders({"Host": f"{host}:{self._port}", **self._headers, **given})
        if body is None or isinstance(body, bytes):
            nbytes = len(body or b"")
        if nbytes is not None:
            head["Content-Length"] = str(nbytes)
        if _is_asked_first(body):
            head["Expect"] = "100-continue"
        return head

    async def _send(self, connection: HTTP1Connection, answering: _Answering, body: Body | None) -> None:
        if _is_asked_first(body):
            await self._within(answering.go_on.wait(), "it does not say whether it wants the content")
            if not answering.is_awaited:
                return  # it does not
        async with contextlib.aclosing(_pieces(body)) as pieces:
            async for piece in pieces:
                if answering.go_on.is_set() and not answering.is_awaited:
                    return  # its answer is there already, whatever else would come
                try:
                    await self._within(connection.write(piece), "it takes no more")
                except StreamClosedError:
                    return  # it may have said why
        if answering.is_awaited:
            answering.is_sent = True
            connection.finish()

    async def _within(self, awaitable: Awaitable[object], what: str) -> None:
        try:
            async with asyncio.timeout(self._silence_s):
                await awaitable
        except TimeoutError:
            raise CommClosedError(self.url, f"{what} within {self._silence_s:g} s") from None

    async def _connect(self) -> IOStream:
        try:
            if self._path is not None:
                stream = IOStream(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                async with asyncio.timeout(CONNECT_S):
                    await stream.connect(self._path)
                return stream
            context = ssl_context() if self._scheme == "https" else None
            return await TCPClient(_Resolver()).connect(self._host, self._port, ssl_options=context, timeout=CONNECT_S)
        except TimeoutError:
            raise UnreachableError(self.url, f"no answer within {CONNECT_S:g} s") from None
        except OSError as error:
            real = getattr(error, "real_error", None) or error
            raise UnreachableError(self.url, getattr(real, "strerror", None) or str(real)) from None


class _Resolver(DefaultLoopResolver):
    """Without a thread for addresses: who gives up connecting would leave it behind."""

    async def resolve(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Any]:
        """As Tornado's."""
        known = place_of(host, port)
        return [(known[0], known[4])] if known else await super().resolve(host, port, family)


class _Answering(HTTPMessageDelegate):
    """What has come of an answer.

    Attributes:
        go_on: the server wants the body, or it has answered, or is gone.
        is_over: nothing more will come; `is_whole`: the answer is complete.
        is_awaited: the answer has not begun, and may.
        is_sent: all of the request has been written.
    """

    def __init__(self) -> None:
        self.answer = Answer()
        self.go_on = asyncio.Event()
        self.is_over = asyncio.Event()
        self.is_whole = False
        self.is_awaited = True
        self.is_sent = False
        self.reason = "it was closed before an answer came"
        self._content = bytearray()

    async def read(self, connection: HTTP1Connection) -> None:
        """Until the answer is complete, or cannot be."""
        try:
            await connection.read_response(self)
        except OSError as error:
            self.reason = str(getattr(error, "real_error", None) or self.reason)
        finally:
            self.is_awaited = False
            self.go_on.set()
            self.is_over.set()

    @property
    def may_be_kept(self) -> bool:
        """Whether the next request can go over the same connection."""
        return self.is_whole and self.is_sent and self.answer.headers.get("Connection", "").lower() != "close"

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        """Either 100, which asks for the body, or the answer begins."""
        code = start_line.code if isinstance(start_line, ResponseStartLine) else 0
        if code >= 200:
            self.answer = Answer(code, "", headers)
            self.is_awaited = False
        self.go_on.set()

    def data_received(self, chunk: bytes) -> None:
        """Some of the text; `ANSWER_NBYTES_MAX` bounds it."""
        self._content += chunk

    def finish(self) -> None:
        """The answer is complete."""
        self.answer.text = self._content.decode(errors="replace")
        self.is_whole = True
        self.is_over.set()


def _is_asked_first(body: Body | None) -> bool:
    return body is not None and (not isinstance(body, bytes) or len(body) > ASK_FIRST_NBYTES)


async def _pieces(body: Body | None) -> AsyncGenerator[bytes]:
    if callable(body):
        async with contextlib.aclosing(body()) as pieces:
            async for piece in pieces:
                yield piece
    elif body:
        for at in range(0, len(body), PIECE_NBYTES):
            yield body[at : at + PIECE_NBYTES]
