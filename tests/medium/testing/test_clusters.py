"""Clusters for tests: `gen_test`, `gen_cluster`, and that they leave nothing behind unnoticed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import pytest
from tornado import gen

from distributed import Client, utils_test
from distributed.scheduler.server import Scheduler
from distributed.utils_test import gen_cluster, gen_test, inc
from distributed.worker.server import Worker


@gen_test()
async def test_gen_test_runs_an_async_def() -> None:
    await asyncio.sleep(0)


@gen_test(timeout=5)
@gen.coroutine
def test_gen_test_runs_a_gen_coroutine() -> Generator[Any, Any, None]:
    yield gen.moment


def test_gen_test_runs_a_generator_function() -> None:
    steps = []

    @gen_test()
    def test() -> Generator[Any, Any, None]:
        steps.append("begin")
        yield gen.moment
        steps.append("end")

    test()
    assert steps == ["begin", "end"]


@gen_cluster()
async def test_a_cluster_is_a_scheduler_and_workers(scheduler: Scheduler, a: Worker, b: Worker) -> None:
    assert scheduler.ncores(None) == {a.address: 1, b.address: 2}
    assert [a.name, b.name] == ["0", "1"]


@gen_cluster([("127.0.0.1", 3)], client=True)
async def test_a_cluster_with_a_client_begins_with_it(client: Client, scheduler: Scheduler, a: Worker) -> None:
    assert await client.submit(inc, 1) == 2
    assert scheduler.ncores(None) == {a.address: 3}


@gen_cluster([("127.0.0.1", 1)], worker_options={"resources": {"GPU": 2}})
async def test_workers_take_more_options(scheduler: Scheduler, a: Worker) -> None:
    assert a.resources == {"GPU": 2}


@gen_cluster([])
async def test_fixtures_follow_the_servers(scheduler: Scheduler, tmp_path: Any) -> None:
    assert tmp_path.exists()


@gen_cluster([], client=True)
def test_a_cluster_serves_a_generator_function(client: Client, scheduler: Scheduler) -> Generator[Any, Any, None]:
    assert (yield client.ncores()) == {}


def test_an_error_of_the_test_comes_through() -> None:
    @gen_cluster([])
    async def test(scheduler: Scheduler) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        test()


def test_a_test_that_takes_too_long_fails() -> None:
    @gen_cluster([], timeout=0.05)
    async def test(scheduler: Scheduler) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        test()


def test_a_task_left_behind_fails_the_test() -> None:
    tasks = []

    @gen_test()
    async def test() -> None:
        tasks.append(asyncio.ensure_future(asyncio.Event().wait()))

    with pytest.raises(AssertionError, match="tasks still run"):
        test()


def test_what_the_loop_complains_of_fails_the_test() -> None:
    @gen_test()
    async def test() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        test()


def test_a_thread_left_behind_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.testing.clusters.THREADS_S", 0.0)
    end = threading.Event()

    @gen_test()
    async def test() -> None:
        threading.Thread(target=end.wait, name="distributed-test").start()

    try:
        with pytest.raises(AssertionError, match="distributed-test still runs"):
            test()
    finally:
        end.set()


def test_the_door_shows_what_it_lists() -> None:
    for name in utils_test.__all__:
        assert getattr(utils_test, name) is not None
    with pytest.raises(AttributeError):
        utils_test.nothing  # noqa: B018


def test_the_functions_do_what_they_say() -> None:
    assert [utils_test.inc(1), utils_test.dec(1), utils_test.double(2), utils_test.div(1, 2)] == [2, 0, 4, 0.5]
    assert utils_test.slowinc(1, delay=0) == 2
    with pytest.raises(RuntimeError, match="hello!"):
        utils_test.throws(1)
