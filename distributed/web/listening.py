"""Where HTTP servers listen: loopback unless told, beyond it with TLS or `insecure` spelled out, or a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from distributed.comm.addresses import Address, is_loopback
from distributed.comm.sockets import bind
from distributed.config import settings
from distributed.errors import ConfigError
from distributed.security.certificates import BEYOND_LOOPBACK, certificates, has_certificates
from distributed.web.accepting import Accepting
from distributed.web.guard import GuardedApplication

__all__ = ["listen", "port_of", "url_of"]

IDLE_S = 75.0  # a connection without a request for so long is closed
CHUNK_NBYTES = 262_144  # that handlers of streamed bodies get at once; fewer turns of the loop than with 65,536
HEADER_NBYTES_MAX = 65_536
BODY_NBYTES_MAX = 1_048_576  # of requests that are not streamed; a handler that streams raises it for itself
_TOKEN = re.compile(r"[0-9a-f]{64}")


class _Server(HTTPServer):
    """Has patience with strangers, but not much: who shows no token is hung up on, and so is who comes as one too many.

    That is what bounds the file descriptors that they can take.
    """

    request_callback: GuardedApplication
    unix_socket: tuple[str, int] | None = None  # path and inode of the one that we have made

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """As Tornado's, but for who takes the connections: without descriptors that one logs and logs."""
        for sock in sockets:
            self._sockets[sock.fileno()] = sock
            self._handlers[sock.fileno()] = Accepting(sock, self._handle_connection).stop

    def stop(self) -> None:
        """Listen no more, and remove the unix socket, unless another server has taken its path."""
        super().stop()
        if self.unix_socket is not None:
            path, inode = self.unix_socket
            self.unix_socket = None
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(path).st_ino == inode:
                    os.unlink(path)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Somebody has connected."""
        strangers = self.request_callback.strangers
        if len(strangers) >= settings().unauthenticated_max:
            stream.close()
            return
        loop = asyncio.get_running_loop()
        strangers[stream] = loop.call_later(settings().handshake_timeout_s, self._lose_patience, stream)
        super().handle_stream(stream, address)

    def on_close(self, server_conn: Any) -> None:
        """A connection is over, or is not HTTP any more."""
        super().on_close(server_conn)
        self.request_callback.know(server_conn.stream)

    def _lose_patience(self, stream: IOStream) -> None:
        self.request_callback.know(stream)
        stream.close()


class _NoTokens(logging.Filter):
    """Tornado logs lines of requests that it cannot read, and they may hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _TOKEN.sub("[token]", record.getMessage()), ()
        return True


_no_tokens = _NoTokens()


def listen(
    app: GuardedApplication,
    port: int | None = None,
    host: str = "127.0.0.1",
    path: str | None = None,
    insecure: bool = False,
    tls: bool = False,
) -> HTTPServer:
    """Serve `app`; returns at once, and answers as soon as the loop runs.

    Args:
        port: 0: any free one; None: no port, `path` alone.
        host: to bind; other machines cannot reach the default. It is a name under which we may be addressed.
        path: of a unix socket, mode 0600; a dead one that lies there is replaced.
        insecure: encrypt nothing even if other machines can reach `host`.
        tls: encrypt on loopback too.
    Raises:
        PortTakenError: another process listens there, or `host` is none of ours.
        OSError: nobody knows the host.
        ConfigError: `host` is beyond loopback, and there is neither a certificate nor `insecure`.
    """
    logging.getLogger("tornado.general").addFilter(_no_tokens)  # one that is there already is not added again
    app.guard.hosts.add(host.lower())
    wants_tls = tls or (port is not None and not insecure and not is_loopback(host))
    if wants_tls and not tls and not has_certificates():
        raise ConfigError("host", host, BEYOND_LOOPBACK)
    keywords: dict[str, Any] = {
        "idle_connection_timeout": IDLE_S,
        "chunk_size": CHUNK_NBYTES,
        "max_header_size": HEADER_NBYTES_MAX,
        "max_body_size": BODY_NBYTES_MAX,
    }
    server = _Server(app, ssl_options=certificates().page_context() if wants_tls else None, **keywords)
    places = [Address("tcp", host, port)] if port is not None else []
    places += [Address("unix", path)] if path is not None else []
    sockets: list[socket.socket] = []
    try:
        for place in places:
            sockets += bind(place)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    server.add_sockets(sockets)
    if path is not None:
        server.unix_socket = os.path.abspath(path), os.lstat(path).st_ino
    return server


def port_of(server: HTTPServer) -> int:
    """The port that `server` listens on; 0: on none."""
    return next((sock.getsockname()[1] for sock in server._sockets.values() if sock.family.name != "AF_UNIX"), 0)


def url_of(server: HTTPServer, host: str = "127.0.0.1") -> str:
    """``http://host:port`` or ``https://host:port``, without a slash at its end."""
    scheme = "https" if server.ssl_options is not None else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port_of(server)}"
