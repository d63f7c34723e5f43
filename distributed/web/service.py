"""`HTTPService`: what answers HTTP beside a server of ours, made and started as ``services=`` of that server says."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, ClassVar

from tornado.httpserver import HTTPServer

from distributed.web.guard import Guard, GuardedApplication, GuardedHandler
from distributed.web.listening import listen, port_of, url_of

__all__ = ["LEFT_OUT", "HTTPService", "JSONHandler"]

LEFT_OUT = "X-Distributed-Left-Out"  # how many entries were too many for one answer

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body {{ font: 16px/1.6 system-ui, sans-serif; margin: 2em auto; max-width: 40em; padding: 0 1em }}</style>
<h1>{title}</h1>
<p>What programs can read here, as JSON:</p>
<ul>
{rows}
</ul>
</html>
"""


class HTTPService:
    """Guarded routes about one server. Derived classes say which.

    Args:
        server: what it is about; handlers reach it as ``self.application["server"]``.

    Attributes:
        routes: ``(pattern, handler)`` or ``(pattern, handler, keywords)`` as Tornado's. Those that are plain paths are
            shown on the page for people, which is at ``/``.
    """

    routes: ClassVar[Sequence[tuple[Any, ...]]] = ()

    def __init__(self, server: Any) -> None:
        self._keys = getattr(server, "_keys", None)
        shared = {"server": server, "service": self}
        self.app = GuardedApplication([("/", _Index), *self.routes], shared, Guard(self._keys))
        self._listening: HTTPServer | None = None
        self._host = ""

    def listen(self, port: int = 0, host: str = "127.0.0.1", insecure: bool = False, tls: bool = False) -> None:
        """Answer at a port; 0: any free one. Arguments and errors as `distributed.web.listening.listen`."""
        self._listening = listen(self.app, port, host, insecure=insecure, tls=tls)
        self._host = host

    @property
    def port(self) -> int:
        """Where it listens; 0: nowhere."""
        return 0 if self._listening is None else port_of(self._listening)

    @property
    def url(self) -> str:
        """``http://host:port``, or ``https``; empty before `listen`."""
        return "" if self._listening is None else url_of(self._listening, self._host)

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._listening is not None:
            self._listening.stop()
            await self._listening.close_all_connections()


class JSONHandler(GuardedHandler):
    """A route that is read, by any role."""

    @property
    def server(self) -> Any:
        """What the route is about."""
        return self.application["server"]

    def answer_view(self, value: Any, left_out: int = 0) -> None:
        """End the request with a value as JSON; `left_out` entries were too many, and a header says so."""
        if left_out:
            self.set_header(LEFT_OUT, str(left_out))
        self.answer_json(value)


class _Index(GuardedHandler):
    """Links to the routes, for people."""

    def get(self) -> None:
        service = self.application["service"]
        server = self.application["server"]
        title = html.escape(f"{type(server).__name__} at {server.address}")
        shown = [path for path, *_ in service.routes if not set(path) & set("()[]*+?\\")]
        rows = "\n".join(f'<li><a href="{html.escape(path)}">{html.escape(path)}</a></li>' for path in shown)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_PAGE.format(title=title, rows=rows))
