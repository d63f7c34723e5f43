"""Our pytest plugin: coroutines as tests, an event loop and an HTTP server for them, under pytest-tornado's names.

    @pytest.mark.gen_test(timeout=5)
    async def test_hello(http_client, base_url):           # or a generator function, or a gen.coroutine, with yield
        answer = await http_client.fetch(base_url)
        assert answer.code == 200

The fixture ``app`` is yours: a ``tornado.web.Application``. Load the plugin with
``pytest_plugins = ["distributed.testing.plugin"]`` and, where pytest-tornado is installed too, ``-p no:tornado``.
Not here: clusters, see `distributed.testing.clusters`.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
import os
from collections.abc import Iterator
from typing import Any

import pytest
from tornado import gen, util
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

__all__ = ["base_url", "http_client", "http_port", "http_server", "io_loop", "loop"]

TIMEOUT_S = 5.0  # as pytest-tornado; other defaults by --async-test-timeout or the environment's ASYNC_TEST_TIMEOUT


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of pytest-tornado's names."""
    group = parser.getgroup("distributed", "coroutines as tests")
    default = float(os.environ.get("ASYNC_TEST_TIMEOUT") or TIMEOUT_S)
    group.addoption("--async-test-timeout", type=float, default=default, help="seconds for a test marked gen_test")
    group.addoption("--app-fixture", default="app", help="fixture that returns the tornado application to test")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line(
        "markers",
        "gen_test(timeout=None, run_sync=True): run this generator, gen.coroutine or async def on the io_loop",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> list[pytest.Item] | None:
    """Collect generator functions with the mark, which pytest itself refuses."""
    if not inspect.isgeneratorfunction(obj) or not collector.istestfunction(obj, name):
        return None
    marks = [*getattr(obj, "pytestmark", ()), *collector.iter_markers()]
    if not any(mark.name == "gen_test" for mark in marks):
        return None
    items: list[pytest.Item] = list(collector._genfunctions(name, obj))
    return items


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marked test has a loop, whether or not it names it."""
    names: list[str] = getattr(item, "fixturenames", [])
    if item.get_closest_marker("gen_test") is not None and "io_loop" not in names:
        names.append("io_loop")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test on its loop."""
    mark = pyfuncitem.get_closest_marker("gen_test")
    if mark is None:
        return None
    loop: Any = pyfuncitem.funcargs["io_loop"]
    timeout_s = mark.kwargs.get("timeout") or pyfuncitem.config.getoption("async_test_timeout")
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    test = pyfuncitem.obj if inspect.iscoroutinefunction(pyfuncitem.obj) else gen.coroutine(pyfuncitem.obj)

    async def run() -> None:
        future = gen.convert_yielded(test(**arguments))
        try:
            await gen.with_timeout(datetime.timedelta(seconds=timeout_s), future)
        except util.TimeoutError:
            future.cancel()
            pytest.fail(f"not done within {timeout_s:g} s", pytrace=False)

    if mark.kwargs.get("run_sync", True):
        loop.run_sync(run)
        return True
    # What the test stops, stops the test: with run_sync=False it may use IOLoop.stop and add_callback itself.
    task = loop.asyncio_loop.create_task(run())
    loop.add_future(task, lambda done: loop.stop())
    loop.start()
    task.result()
    return True


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """A new loop of Tornado's for each test; current while the test runs."""
    asyncio_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(asyncio_loop)
    loop = IOLoop.current()
    yield loop
    for task in asyncio.all_tasks(asyncio_loop):
        task.cancel()
    asyncio_loop.run_until_complete(asyncio_loop.shutdown_asyncgens())
    asyncio_loop.run_until_complete(asyncio_loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture
def loop(io_loop: IOLoop) -> IOLoop:
    """The same under the name of older suites: ``loop.run_sync(function)``."""
    return io_loop


@pytest.fixture
def _http_socket() -> Any:
    return bind_unused_port()


@pytest.fixture
def http_port(_http_socket: Any) -> int:
    """The port on which the application is served."""
    return int(_http_socket[1])


@pytest.fixture
def base_url(http_port: int) -> str:
    """``http://localhost:<port>``, without a slash at its end."""
    return f"http://localhost:{http_port}"


@pytest.fixture
def http_server(request: pytest.FixtureRequest, io_loop: IOLoop, _http_socket: Any) -> Iterator[HTTPServer]:
    """Serves the application that the fixture ``app`` returns."""
    server = HTTPServer(request.getfixturevalue(request.config.getoption("app_fixture")))
    server.add_socket(_http_socket[0])
    yield server
    server.stop()
    if hasattr(server, "close_all_connections"):
        io_loop.run_sync(server.close_all_connections)


@pytest.fixture
def http_client(http_server: HTTPServer) -> Iterator[AsyncHTTPClient]:
    """A client of the loop, with the server running."""
    client = AsyncHTTPClient(force_instance=True)
    yield client
    client.close()
