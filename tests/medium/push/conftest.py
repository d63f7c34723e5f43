"""A push master and its workers in this process; only what makes digests are processes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from distributed.push import master as master_module
from distributed.push import worker as worker_module
from distributed.push.pushing import Master
from distributed.push.worker import Worker
from distributed.testing.recipes import serving, some_settings
from distributed.web.guard import GuardedApplication

HEARTBEAT_S = 0.05

Serve = Callable[..., AbstractAsyncContextManager[Master]]


@asynccontextmanager
async def worker_serving(
    processes: int = 1, config: Any = None, app: GuardedApplication | None = None, port: int = 0
) -> AsyncIterator[tuple[Worker, int]]:
    """A push worker, and its port."""
    app = app or worker_module.init(processes, None, config)
    try:
        async with serving(app, port) as port:
            yield app["worker"], port
    finally:
        await app["worker"].close()


@asynccontextmanager
async def master_serving(tree: Path, *ports: int, **settings: Any) -> AsyncIterator[Master]:
    """A push master with workers at these ports, its files loaded."""
    values = {"WORKER_HEARTBEAT_SECONDS": HEARTBEAT_S, "WORKERS": [("127.0.0.1", port) for port in ports], **settings}
    app = master_module.init(tree, some_settings(**values))
    master: Master = app["master"]
    async with serving(app) as port:
        master.url = f"http://127.0.0.1:{port}"
        await master.load()
        master.start()
        try:
            yield master
        finally:
            await master.close()


@pytest.fixture
def serve_worker() -> Any:
    """``async with serve_worker(processes, config) as (worker, port)``."""
    return worker_serving


@pytest.fixture
def serve_master() -> Any:
    """``async with serve_master(tree, *ports, **settings) as master``."""
    return master_serving


@pytest.fixture
def both() -> Any:
    """``async with both(tree, 2, **settings) as (master, workers)``: as many workers, one process each."""

    @asynccontextmanager
    async def run(tree: Path, count: int = 1, **settings: Any) -> AsyncIterator[tuple[Master, list[Worker]]]:
        async with contextlib.AsyncExitStack() as stack:
            config = some_settings(**settings)
            workers = [await stack.enter_async_context(worker_serving(1, config)) for _ in range(count)]
            ports = [port for _, port in workers]
            master = await stack.enter_async_context(master_serving(tree, *ports, **settings))
            yield master, [worker for worker, _ in workers]

    return run
