"""The pytest plugin under pytest-tornado's names."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest
import tornado.web
from tornado import gen
from tornado.ioloop import IOLoop

SILENT = ["-p", "no:tornado", "-p", "no:cacheprovider", "--import-mode=importlib"]


class Hello(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("hello")


@pytest.fixture
def app() -> tornado.web.Application:
    return tornado.web.Application([("/", Hello)])


@pytest.mark.gen_test
def test_a_generator_function_is_a_test(http_client: Any, base_url: str) -> Generator[Any, Any, None]:
    answer = yield http_client.fetch(base_url)
    assert answer.body == b"hello"


@pytest.mark.gen_test(timeout=3)
async def test_an_async_def_is_a_test(http_client: Any, base_url: str, http_port: int) -> None:
    assert base_url.endswith(str(http_port))
    assert (await http_client.fetch(f"{base_url}/")).code == 200


@pytest.mark.gen_test
@gen.coroutine
def test_a_gen_coroutine_is_a_test(io_loop: IOLoop) -> Generator[Any, Any, None]:
    yield gen.moment
    assert IOLoop.current() is io_loop


@pytest.mark.gen_test(run_sync=False)
async def test_without_run_sync_callbacks_of_the_loop_run_too(io_loop: IOLoop) -> None:
    ran = asyncio.Event()
    io_loop.add_callback(ran.set)
    await ran.wait()


def test_the_loop_can_be_used_without_the_mark(loop: IOLoop, io_loop: IOLoop) -> None:
    assert loop is io_loop
    assert loop.run_sync(lambda: asyncio.sleep(0, "x")) == "x"


class TestInAClass:
    @pytest.mark.gen_test
    def test_methods_with_yield_are_tests(self, io_loop: IOLoop) -> Generator[Any, Any, None]:
        yield gen.moment
        assert IOLoop.current() is io_loop


OTHERS = """
import asyncio, pytest, tornado.web
from tornado import gen

@pytest.fixture
def app():
    return tornado.web.Application()

@pytest.mark.gen_test(timeout=0.05)
async def test_late():
    await asyncio.Event().wait()

@pytest.mark.gen_test
def test_raises():
    yield gen.moment
    raise ValueError("mine")

@pytest.mark.gen_test(run_sync=False)
async def test_raises_too():
    raise ValueError("mine")

@pytest.mark.gen_test
async def test_gets_404(http_client, base_url):
    answer = await http_client.fetch(base_url, raise_error=False)
    assert answer.code == 404
"""


def test_failures_are_told_and_warnings_are_none(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(OTHERS)
    result = pytester.runpytest_inprocess("-p", "distributed.testing.plugin", "-W", "error", *SILENT)
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines_random(["*not done within 0.05 s*", "*ValueError: mine*"])
