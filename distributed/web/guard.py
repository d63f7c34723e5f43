"""Who is let in: every request shows a token, names a host that we are, and changes something only from our own pages.

A page is opened once as ``http://.../?token=...``; the browser then keeps a token in a cookie that scripts cannot
read and other sites cannot send, and the address without the token is what stays in its history. Browsers show a cookie
to every port of a host, so it holds the token of the role ``readonly`` whatever was in the address.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from distributed.comm.addresses import is_loopback, is_numeric
from distributed.errors import AuthenticationError
from distributed.security.keys import Keyring, keyring
from distributed.security.permissions import CLIENT, READONLY, ROLES, WORKER
from distributed.web.tokens import role_of, token_of

__all__ = ["ANYONE", "TRUSTED", "Guard", "GuardedApplication", "GuardedHandler"]

logger = logging.getLogger(__name__)

ANYONE = frozenset(ROLES)
TRUSTED = frozenset({CLIENT, WORKER})
COOKIE = "distributed-token"
LINGER_S = 2.0  # for a peer that is refused to stop sending and read why
LINGER_NBYTES = 65_536
LINGERING_MAX = 100  # at once; others may not see why they are refused
READING = ("GET", "HEAD", "OPTIONS")
HOW_TO_GET_IT = "send the header 'Authorization: Bearer TOKEN'; `python -m distributed key --http` prints the token"


class Guard:
    """Judges requests.

    Args:
        keys: whose tokens are let in; None: this user's, read when the first request comes.
        hosts: names beside loopback's and this machine's under which we may be addressed, without ports; a page of
            another name that leads here (DNS rebinding) is refused. Addresses of digits are all let in.
    """

    def __init__(self, keys: Keyring | None = None, hosts: Sequence[str] = ()) -> None:
        self._keys = keys
        self.hosts = {host.lower() for host in hosts}

    def refusal(self, request: HTTPServerRequest, roles: frozenset[str]) -> tuple[int, str] | None:
        """Status and text for a request that is not let in; None: it is.

        Args:
            roles: who may do this.
        """
        if not self._is_us(request.host_name):
            return 403, f"this server is not called {request.host_name!r}; start it with that --host to reach it so"
        role, by_cookie = self._role(request)
        if role is None:
            return 401, f"no token, or one of another key: {HOW_TO_GET_IT}; {AuthenticationError.SAME_KEY}"
        if role not in roles:
            return 403, f"the token of role {role!r} may not do this; it takes one of {', '.join(sorted(roles))}"
        origin = request.headers.get("Origin")  # several are joined by commas, and so equal to none
        if request.method not in READING and not _is_same(origin, request.host, by_cookie):
            return 403, "only pages of this server itself may change something with the token in a cookie"
        return None

    def reading_token(self) -> str:
        """What a browser may keep: the token of the weakest role that we hold the key of."""
        return token_of(self.keys, READONLY, WORKER)

    @property
    def keys(self) -> Keyring:
        """Whose tokens are let in."""
        return self._keys or keyring()

    def _role(self, request: HTTPServerRequest) -> tuple[str | None, bool]:
        """The role of the token that a request shows, and whether it came in a cookie."""
        keys = self.keys
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return role_of(keys, token.strip()), False
        if request.method in READING and (in_url := request.query_arguments.get("token")):
            return role_of(keys, in_url[-1].decode(errors="replace")), False
        cookie = request.cookies.get(COOKIE)
        return (None, True) if cookie is None else (role_of(keys, cookie.value), True)

    def _is_us(self, host: str) -> bool:
        name = host.strip("[]").lower()
        if name == "" or is_loopback(name) or is_numeric(name):
            return True
        own = socket.gethostname().lower()
        return name in self.hosts or name in (own, own.partition(".")[0])


class GuardedApplication(Application):
    """A Tornado application whose handlers are guarded; what handlers share is reached as ``app["master"]``.

    Args:
        handlers: as Tornado's; classes derived from `GuardedHandler`.
        shared: by name.

    Attributes:
        strangers: connections on which nobody has shown a token yet; each has a time limit.
        lingering: how many that were refused are still open, see `_Refused`.
    """

    def __init__(
        self, handlers: Sequence[Any], shared: Mapping[str, Any], guard: Guard | None = None, **settings: Any
    ) -> None:
        super().__init__(list(handlers), default_handler_class=_Unknown, log_function=lambda handler: None, **settings)
        self._shared = dict(shared)
        self.guard = guard or Guard()
        self.strangers: dict[IOStream, asyncio.TimerHandle] = {}
        self.lingering = 0

    def __getitem__(self, name: str) -> Any:
        return self._shared[name]

    def find_handler(self, request: HTTPServerRequest, **keywords: Any) -> Any:
        """Who answers; for those who are not let in somebody who says so before a byte of their body is kept."""
        found: Any = super().find_handler(request, **keywords)
        handler = found.handler_class if issubclass(found.handler_class, GuardedHandler) else _Unknown
        refusal = self.guard.refusal(request, handler.roles_by_method.get(request.method or "", TRUSTED))
        if refusal is not None:
            return self.get_handler_delegate(request, _Refused, {"refusal": refusal})
        connection: Any = request.connection
        self.know(connection.stream)
        return found

    def know(self, stream: IOStream) -> None:
        """Whoever is at the other end is no stranger any more, or is gone."""
        patience = self.strangers.pop(stream, None)
        if patience is not None:
            patience.cancel()


class GuardedHandler(RequestHandler):
    """Answers one path, for whoever may. Refusals and errors are one line of plain text that says what to do.

    Attributes:
        roles_by_method: who may do what; methods that are not named are for `TRUSTED`.
    """

    application: GuardedApplication
    roles_by_method: ClassVar[Mapping[str, frozenset[str]]] = {"GET": ANYONE, "HEAD": ANYONE}

    def prepare(self) -> Awaitable[None] | None:
        """Whoever gets here was let in by `GuardedApplication.find_handler`; a browser's token goes into its cookie."""
        if "token" in self.request.query_arguments and "text/html" in self.request.headers.get("Accept", ""):
            self._keep_token()
        return None

    def answer(self, status: int, text: str = "") -> None:
        """End the request with a status and a line of text."""
        self.set_plain(status)
        self.finish(text)

    def set_plain(self, status: int) -> None:
        """A status, and the headers of a line of text."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if status == 401:
            self.set_header("WWW-Authenticate", "Bearer")

    def answer_json(self, value: Any) -> None:
        """End the request with a value as JSON."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(value))

    def set_default_headers(self) -> None:
        """No caches, no frames of others, no guesses of types, nothing from elsewhere on our pages."""
        self.set_header("Server", "distributed")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header(
            "Content-Security-Policy", "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        )

    def write_error(self, status_code: int, **keywords: Any) -> None:
        """Tornado's errors as our lines of text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}")

    def log_exception(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """Without the address that was asked for: there may be a token in it."""
        if isinstance(error, HTTPError):
            return  # the asker's fault, and it is told
        logger.error("%s %s could not be answered", self.request.method, self.request.path, exc_info=error)

    def _keep_token(self) -> None:
        """Into a cookie, as far as a browser needs it, and out of the address."""
        token = self.application.guard.reading_token()
        secure = self.request.protocol == "https"
        self.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=secure, path="/")
        rest = [
            (name, value)
            for name, values in self.request.query_arguments.items()
            if name != "token"
            for value in values
        ]
        path = "/" + self.request.path.lstrip("/\\")  # two slashes would lead to another host
        self.redirect(path + (f"?{urlencode(rest)}" if rest else ""))


class _Unknown(GuardedHandler):
    """404 for those who are let in; nobody else learns which paths there are."""

    def prepare(self) -> None:
        self.answer(404, f"there is nothing at {self.request.path}")


@stream_request_body
class _Refused(GuardedHandler):
    """Ends a request at its header."""

    def initialize(self, refusal: tuple[int, str]) -> None:
        self._refusal = refusal

    async def prepare(self) -> None:
        self.set_header("Connection", "close")
        if not {"Content-Length", "Transfer-Encoding"} & set(self.request.headers):
            self.answer(*self._refusal)
            return
        head, text = self._head(*self._refusal)
        app = self.application
        app.lingering += 1
        try:
            await _linger(self.detach(), head + text, LINGER_S if app.lingering <= LINGERING_MAX else 0.0)
        finally:
            app.lingering -= 1

    def _head(self, status: int, text: str) -> tuple[bytes, bytes]:
        """What `answer` would send, for a connection that is not Tornado's any more."""
        body = text.encode()
        self.set_plain(status)
        self.set_header("Content-Length", len(body))
        lines = [f"HTTP/1.1 {status} {self._reason}", *(f"{name}: {value}" for name, value in self._headers.get_all())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body

    def data_received(self, chunk: bytes) -> None:
        """What comes is dropped."""


async def _linger(stream: IOStream, answer: bytes, seconds: float) -> None:
    """Send an answer and end the connection, but not before the peer could read it.

    A connection that is closed while there is something to read is reset, and the peer, still sending, may never see
    the answer. So what it sends is dropped until it stops, for a while.
    """
    try:
        async with asyncio.timeout(seconds):
            await stream.write(answer)
            while True:
                await stream.read_bytes(LINGER_NBYTES, partial=True)
    except (StreamClosedError, TimeoutError):
        return
    finally:
        stream.close()


def _is_same(origin: str | None, host: str, by_cookie: bool) -> bool:
    """Whether a change comes from our own page; programs, which show a token themselves, send no origin."""
    if origin is None:
        return not by_cookie
    return origin.lower().partition("://")[2] == host.lower()
