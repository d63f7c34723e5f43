"""Where HTTP servers listen: loopback unless told, beyond it with TLS or `insecure` spelled out, or a unix socket."""

from __future__ import annotations

import errno
import os
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets, bind_unix_socket

from distributed.comm.addresses import is_loopback
from distributed.errors import ConfigError, PortTakenError
from distributed.security.certificates import BEYOND_LOOPBACK, certificates, has_certificates
from distributed.web.guard import GuardedApplication

__all__ = ["listen", "port_of", "url_of"]

IDLE_S = 75.0  # a connection without a request for so long is closed
HEADER_NBYTES_MAX = 65_536
BODY_NBYTES_MAX = 1_048_576  # of requests that are not streamed; a handler that streams raises it for itself


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
        PortTakenError: another process listens there.
        ConfigError: `host` is beyond loopback, and there is neither a certificate nor `insecure`.
    """
    app.guard.hosts.add(host.lower())
    wants_tls = tls or (port is not None and not insecure and not is_loopback(host))
    if wants_tls and not tls and not has_certificates():
        raise ConfigError("host", host, BEYOND_LOOPBACK)
    keywords: dict[str, Any] = {
        "idle_connection_timeout": IDLE_S,
        "max_header_size": HEADER_NBYTES_MAX,
        "max_body_size": BODY_NBYTES_MAX,
    }
    server = HTTPServer(app, ssl_options=certificates().page_context() if wants_tls else None, **keywords)
    if port is not None:
        try:
            server.add_sockets(bind_sockets(port, host))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTakenError(host, port, os.strerror(errno.EADDRINUSE)) from None
            raise
    if path is not None:
        server.add_socket(bind_unix_socket(path, mode=0o600))
    return server


def port_of(server: HTTPServer) -> int:
    """The port that `server` listens on; 0: on none."""
    return next((sock.getsockname()[1] for sock in server._sockets.values() if sock.family.name != "AF_UNIX"), 0)


def url_of(server: HTTPServer, host: str = "127.0.0.1") -> str:
    """``http://host:port`` or ``https://host:port``, without a slash at its end."""
    scheme = "https" if server.ssl_options is not None else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port_of(server)}"
