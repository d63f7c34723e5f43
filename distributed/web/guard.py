"""Who is let in: every request shows a token, names a host that we are, and changes something only from our own pages.

A page is opened once as ``http://.../?token=...``; the browser then keeps the token in a cookie that scripts cannot
read and other sites cannot send, and the address without the token is what stays in its history.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from distributed.comm.addresses import is_loopback
from distributed.security.keys import Keyring, keyring
from distributed.security.permissions import CLIENT, ROLES, WORKER
from distributed.web.tokens import role_of

__all__ = ["ANYONE", "TRUSTED", "Guard", "GuardedApplication", "GuardedHandler"]

ANYONE = frozenset(ROLES)
TRUSTED = frozenset({CLIENT, WORKER})
COOKIE = "distributed-token"
READING = ("GET", "HEAD", "OPTIONS")
HOW_TO_GET_IT = "send the header 'Authorization: Bearer TOKEN'; `python -m distributed key --http` prints the token"


class Guard:
    """Judges requests.

    Args:
        keys: whose tokens are let in; None: this user's, read when the first request comes.
        hosts: names beside loopback's and this machine's under which we may be addressed, without ports; a page of
            another name that leads here (DNS rebinding) is refused.
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
        role, by_cookie = self.role(request)
        if role is None:
            return 401, f"no token, or one of another key: {HOW_TO_GET_IT}"
        if role not in roles:
            return 403, f"the token of role {role!r} may not do this; it takes one of {', '.join(sorted(roles))}"
        origin = request.headers.get("Origin")
        if request.method not in READING and not _is_same(origin, request.host, by_cookie):
            return 403, "only pages of this server itself may change something with the token in a cookie"
        return None

    def role(self, request: HTTPServerRequest) -> tuple[str | None, bool]:
        """The role of the token that a request shows, and whether it came in a cookie."""
        keys = self._keys or keyring()
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return role_of(keys, token.strip()), False
        if request.method in READING and (in_url := request.query_arguments.get("token")):
            return role_of(keys, in_url[-1].decode(errors="replace")), False
        cookie = request.cookies.get(COOKIE)
        return (None, True) if cookie is None else (role_of(keys, cookie.value), True)

    def _is_us(self, host: str) -> bool:
        name = host.strip("[]").lower()
        own = socket.gethostname().lower()
        return name == "" or is_loopback(name) or name in self.hosts or name in (own, own.partition(".")[0])


class GuardedApplication(Application):
    """A Tornado application whose handlers are guarded; what handlers share is reached as ``app["master"]``.

    Args:
        handlers: as Tornado's; classes derived from `GuardedHandler`.
        shared: by name.
    """

    def __init__(
        self, handlers: Sequence[Any], shared: Mapping[str, Any], guard: Guard | None = None, **settings: Any
    ) -> None:
        super().__init__(list(handlers), default_handler_class=_Unknown, log_function=lambda handler: None, **settings)
        self._shared = dict(shared)
        self.guard = guard or Guard()

    def __getitem__(self, name: str) -> Any:
        return self._shared[name]


class GuardedHandler(RequestHandler):
    """Answers one path, for whoever may. Refusals and errors are one line of plain text that says what to do.

    Attributes:
        roles_by_method: who may do what; methods that are not named are for `TRUSTED`.
    """

    application: GuardedApplication
    roles_by_method: ClassVar[Mapping[str, frozenset[str]]] = {"GET": ANYONE, "HEAD": ANYONE}

    def prepare(self) -> None:
        """Refuse who may not come in, before a byte of the body is looked at."""
        roles = self.roles_by_method.get(self.request.method or "", TRUSTED)
        refusal = self.application.guard.refusal(self.request, roles)
        if refusal is not None:
            connection: Any = self.request.connection
            connection.no_keep_alive = True  # the body is not read
            self.answer(*refusal)
        elif "token" in self.request.query_arguments and "text/html" in self.request.headers.get("Accept", ""):
            self._keep_token()

    def answer(self, status: int, text: str = "") -> None:
        """End the request with a status and a line of text."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if status == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        self.finish(text)

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

    def _keep_token(self) -> None:
        """Into a cookie and out of the address."""
        token = self.get_query_argument("token")
        secure = self.request.protocol == "https"
        self.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=secure, path="/")
        rest = [
            (name, value)
            for name, values in self.request.query_arguments.items()
            if name != "token"
            for value in values
        ]
        self.redirect(self.request.path + (f"?{urlencode(rest)}" if rest else ""))


class _Unknown(GuardedHandler):
    """404 for those who are let in; nobody else learns which paths there are."""

    def prepare(self) -> None:
        super().prepare()
        if not self._finished:
            self.answer(404, f"there is nothing at {self.request.path}")


def _is_same(origin: str | None, host: str, by_cookie: bool) -> bool:
    """Whether a change comes from our own page; programs, which show a token themselves, send no origin."""
    if origin is None:
        return not by_cookie
    return urlsplit(origin).netloc.lower() == host.lower()
