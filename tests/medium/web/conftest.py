"""A small guarded application to attack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import stream_request_body

from distributed.security.permissions import CLIENT
from distributed.web.guard import ANYONE, Guard, GuardedApplication, GuardedHandler
from distributed.web.listening import listen

Serve = Callable[..., AbstractAsyncContextManager[HTTPServer]]


class Look(GuardedHandler):
    def get(self) -> None:
        self.answer_json({"seen": self.application["master"], "names": self.get_query_arguments("name")})


class Change(GuardedHandler):
    roles_by_method: ClassVar = {"GET": ANYONE, "DELETE": frozenset({CLIENT})}

    def post(self) -> None:
        self.answer(200, f"{len(self.request.body)} bytes")

    def delete(self) -> None:
        self.answer(200, "gone")


@stream_request_body
class Take(GuardedHandler):
    taken: ClassVar[list[int]] = []

    def prepare(self) -> None:
        self.taken.append(0)

    def data_received(self, chunk: bytes) -> None:
        self.taken[-1] += len(chunk)

    def post(self) -> None:
        self.answer(200, f"{self.taken[-1]} bytes of body {len(self.taken)}")


class Fail(GuardedHandler):
    def get(self) -> None:
        raise RuntimeError("a fault of ours")


@pytest.fixture
def serve() -> Serve:
    """``async with serve(**keywords of listen) as server``."""

    @asynccontextmanager
    async def run(guard: Guard | None = None, **keywords: Any) -> AsyncIterator[HTTPServer]:
        paths = [("/look", Look), ("/change", Change), ("/take", Take), ("/fail", Fail)]
        server = listen(GuardedApplication(paths, {"master": "the shared one"}, guard), **{"port": 0, **keywords})
        Take.taken.clear()
        try:
            yield server
        finally:
            server.stop()
            await server.close_all_connections()

    return run
