"""`HTTPScheduler`: JSON about a scheduler and, through it, about its workers. Every route only reads.

Not here: what the routes show, see `http_views`; a dashboard for people.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any, ClassVar

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from distributed.comm.addresses import Address, parse_address
from distributed.scheduler import http_views as views
from distributed.security.permissions import READONLY
from distributed.web.connecting import headers, ssl_context
from distributed.web.service import HTTPService, JSONHandler
from distributed.web.services import HTTP, WORKER_ROUTES

__all__ = ["HTTPScheduler"]

CONNECT_S = 3.0  # to a worker's HTTP server
ANSWER_S = 10.0  # for all of its answer
ANSWER_NBYTES_MAX = 4 * 2**20  # of one worker
ANSWERS_NBYTES_MAX = 64 * 2**20  # of all of them together
ASKED_AT_ONCE = 32
LEVELS_MAX = 10  # of lists and dicts in each other; what could just be read can perhaps not be written again


class _View(JSONHandler):
    """One view of the machine's state."""

    def initialize(self, view: Callable[[Any], views.View]) -> None:
        self._view = view

    def get(self) -> None:
        value, left_out = self._view(self.server.machine.state)
        self.answer_view(value, left_out)


class _Info(JSONHandler):
    """Who this is."""

    def get(self) -> None:
        value, left_out = views.info(self.server.machine.state)
        server = self.server
        who = {"type": type(server).__name__, "id": server.id, "address": server.address, "status": server.status}
        self.answer_view({**who, **value, "services": server.services.ports()}, left_out)


class _Proxy(JSONHandler):
    """A route of one worker: only of one that is registered, and only at the address that it registered."""

    async def get(self, place: str, route: str) -> None:
        service: HTTPScheduler = self.application["service"]
        url = service.urls().get(place.lower())
        if url is None:
            self.answer(
                404, f"{place} is neither the address of a worker of this scheduler nor that of its HTTP server"
            )
            return
        try:
            self.answer_json(await service.ask(f"{url}/{route}.json"))
        except (HTTPClientError, OSError, ValueError) as error:
            self.answer(502, f"the worker at {place} does not answer as it should: {_reason(error)}")


class _Broadcast(JSONHandler):
    """A route of every worker that has an HTTP server."""

    async def get(self, route: str) -> None:
        service: HTTPScheduler = self.application["service"]
        self.answer_json(await service.ask_all(route))


class HTTPScheduler(HTTPService):
    """Routes about one scheduler.

    Workers are asked with the token of the role ``readonly``: one that lies gets nothing that it could use elsewhere.

    Args:
        server: the `Scheduler`.
    """

    _ROUTE = f"({'|'.join(WORKER_ROUTES)})"
    routes: ClassVar = (
        ("/info.json", _Info),
        ("/tasks.json", _View, {"view": views.tasks}),
        ("/processing.json", _View, {"view": views.processing}),
        ("/resources.json", _View, {"view": views.resources}),
        ("/workers.json", _View, {"view": views.workers}),
        ("/memory-load.json", _View, {"view": views.memory_load}),
        ("/memory-load-by-key.json", _View, {"view": views.memory_load_by_key}),
        (rf"/broadcast/{_ROUTE}\.json", _Broadcast),
        (rf"/proxy/(\[[0-9a-fA-F:.]+\]:\d+|[^/:]+:\d+)/{_ROUTE}\.json", _Proxy),
    )

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self._server = server
        self._client = AsyncHTTPClient(
            force_instance=True, max_clients=ASKED_AT_ONCE, max_body_size=ANSWER_NBYTES_MAX, max_header_size=65_536
        )

    async def stop(self) -> None:
        """Close the port and all connections."""
        self._client.close()
        await super().stop()

    def urls(self) -> dict[str, str]:
        """Of the HTTP servers of registered workers, by ``host:port`` of the worker and of the HTTP server itself."""
        found: dict[str, str] = {}
        for worker, services in self._server.worker_services().items():
            place = parse_address(worker)
            if (port := services.get(HTTP)) and place.scheme in ("tcp", "tls"):
                scheme = "https" if place.scheme == "tls" else "http"
                for shown in (place, place._replace(port=port)):
                    found[_shown(shown)] = f"{scheme}://{_shown(place._replace(port=port))}"
        return found

    async def ask(self, url: str) -> Any:
        """The JSON at `url`, which is one of ours. Raises HTTPClientError, OSError, ValueError."""
        answer = await self._client.fetch(
            url,
            headers=headers(self.app.guard.keys, READONLY),
            follow_redirects=False,  # a worker that lies must not lead us elsewhere
            connect_timeout=CONNECT_S,
            request_timeout=ANSWER_S,
            ssl_options=ssl_context() if url.startswith("https") else None,
        )
        try:
            value = json.loads(answer.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not _can_be_passed_on(value, LEVELS_MAX):
            raise ValueError("nested too deeply, or with numbers that JSON has not")
        return value

    async def ask_all(self, route: str) -> dict[str, Any]:
        """What every worker with an HTTP server answers, by address of the worker; ``{"error": text}``: it did not."""
        turn = asyncio.Semaphore(ASKED_AT_ONCE)
        urls = self.urls()
        room = ANSWERS_NBYTES_MAX

        async def one(worker: str) -> Any:
            nonlocal room
            async with turn:
                if room <= 0:
                    return {"error": "left out: the answers of the others are too much for one answer"}
                try:
                    value = await self.ask(f"{urls[_shown(parse_address(worker))]}/{route}.json")
                except (HTTPClientError, OSError, ValueError) as error:
                    return {"error": _reason(error)}
                room -= len(json.dumps(value))
                return value

        workers = [worker for worker in self._server.worker_services() if _shown(parse_address(worker)) in urls]
        return dict(zip(workers, await asyncio.gather(*map(one, workers)), strict=True))


def _shown(place: Address) -> str:
    return str(place).partition("://")[2].lower()


def _can_be_passed_on(value: Any, levels: int) -> bool:
    """Whether one worker's answer leaves that of all of them JSON."""
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, (dict, list)):
        return True
    children = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_can_be_passed_on(child, levels - 1) for child in children)


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPClientError):
        return f"status {error.code}" if error.code != 599 else "no answer"
    return str(getattr(error, "strerror", None) or error) if isinstance(error, OSError) else "no JSON"
