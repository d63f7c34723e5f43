"""Services: what else answers beside a server of ours, such as HTTP. Started with it, told by port, stopped with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distributed.comm.addresses import parse_address
from distributed.errors import ConfigError

__all__ = ["HTTP", "WORKER_ROUTES", "Services"]

HTTP = "http"
WORKER_ROUTES = ("info", "processing", "resources", "files")  # of workers, which a scheduler asks for others


class Services:
    """Those of one server.

    Args:
        wanted: ``{(name, port): factory}`` or ``{name: factory}``, which takes any free port. The factory is called
            with the server, after that listens; what it returns has ``listen(port, host, insecure=, tls=)``, ``port``,
            ``url`` and a coroutine function ``stop()``, as `distributed.web.service.HTTPService`.
        http_port: of one more, named ``http``, whose factory is `http`; None: there is none.
        announced: ports, by name, of what others serve on this machine; only told.

    Attributes:
        running: by name.

    Raises:
        ConfigError: no such mapping.
    """

    def __init__(
        self,
        wanted: Mapping[Any, Callable[[Any], Any]] | None,
        http_port: int | None,
        http: Callable[[Any], Any],
        announced: Mapping[str, int] | None = None,
    ) -> None:
        self._announced = dict(announced or {})
        self._wanted: dict[str, tuple[int, Callable[[Any], Any]]] = {}
        self.running: dict[str, Any] = {}
        for key, factory in (wanted or {}).items():
            name, port = key if isinstance(key, tuple) and len(key) == 2 else (key, 0)
            if not isinstance(name, str) or type(port) is not int or not callable(factory):
                raise ConfigError("services", key, "write {(name, port): what is called with the server}")
            self._wanted[name] = (port, factory)
        self._http = http
        if http_port is not None:
            self.want_http(http_port)

    def start(self, server: Any, port: Any, address: str, insecure: bool, tls: bool) -> None:
        """Start those that do not run yet, where `server` listens; it has been given the same arguments.

        What cannot be started raises as its ``listen`` does.
        """
        place = parse_address(port) if isinstance(port, str) and not port.isdigit() else None
        if place is not None and place.scheme in ("tcp", "tls"):
            address, tls = place.host, tls or place.scheme == "tls"
        for name, (number, factory) in self._wanted.items():
            if name not in self.running:
                service = factory(server)
                service.listen(number, address, insecure=insecure, tls=tls)
                self.running[name] = service

    def want_http(self, port: int) -> None:
        """Have HTTP at this port from the next `start` on."""
        self._wanted[HTTP] = (port, self._http)

    def ports(self) -> dict[str, int]:
        """By name, of those that run or are announced."""
        return self._announced | {name: service.port for name, service in self.running.items()}

    def url(self, name: str = HTTP) -> str | None:
        """Where people and programs find it; None: it does not run."""
        service = self.running.get(name)
        return None if service is None else service.url

    async def stop(self) -> None:
        """Stop all of them."""
        while self.running:
            _, service = self.running.popitem()
            await service.stop()
