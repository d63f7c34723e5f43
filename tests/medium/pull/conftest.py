"""A pull master in this process, with a clock that tests move, and settings that make it quick."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distributed import config, constants
from distributed.pull.lending import Master
from distributed.pull.master import init
from distributed.pull.worker import Worker
from distributed.testing.web import Answer, bearer, request
from distributed.web.listening import listen, port_of

NAMES = ("WORKER_PROCESSING_TIMEOUT_SECONDS", "HASH_ALGORITHM", "BATCH_MAX_FILES", "BATCH_MAX_BYTES", "CHUNK_SIZE")


class Running:
    """A master and what tests do with it.

    Attributes:
        now: what its clock says; None: the real time.
    """

    def __init__(self, app: Any, port: int, settings: Any) -> None:
        self.app = app
        self.master: Master = app["master"]
        self.port = port
        self.settings = settings
        self.now = 100.0

    def stop_the_clock(self) -> None:
        """From here on the test says what time it is."""
        self.master._clock = lambda: self.now

    async def ask(self, path: str, *headers: str, worker: str | None = "w", **keywords: Any) -> Answer:
        """One request of a worker."""
        name = [f"{constants.HTTP_HEADER_X_WORKER_NAME}: {worker}"] if worker is not None else []
        return await request(self.port, path, bearer(), *name, *headers, **keywords)

    async def register(self, *names: str) -> None:
        for name in names:
            assert (await self.ask("/worker_register", worker=name, method="POST")).status == 200

    async def get_file(self, worker: str = "w") -> str | int:
        """The path of the file that a worker is given, or the status instead of one."""
        answer = await self.ask("/get_file", worker=worker)
        return answer.headers[constants.HTTP_HEADER_X_FILE_PATH.lower()] if answer.status == 200 else answer.status

    async def put(self, body: str, worker: str = "w", path: str = "/update_file_hash") -> Answer:
        kind = "json" if path.endswith("es") else "x-www-form-urlencoded"
        return await self.ask(
            path, f"Content-Type: application/{kind}", worker=worker, method="PUT", body=body.encode()
        )

    async def work(self, **settings: Any) -> None:
        """What one worker process does, in a thread."""
        changed = SimpleNamespace(**{**vars(self.settings), **settings})
        await asyncio.to_thread(Worker("w", changed, ("127.0.0.1", self.port)).work)


Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """``async with serve({name: content}, **settings) as running``."""

    @asynccontextmanager
    async def run(files: dict[str | bytes, bytes], **changed: Any) -> AsyncIterator[Running]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        for name, content in files.items():
            path = home / (name if isinstance(name, str) else name.decode(errors="surrogateescape"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        known = {name: getattr(config, name) for name in NAMES}
        settings = SimpleNamespace(**{**known, "WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS": 1, **changed})
        app = init(home, settings)
        server = listen(app, 0)
        try:
            yield Running(app, port_of(server), settings)
        finally:
            server.stop()
            await server.close_all_connections()
            app["threads"].shutdown()

    return run
