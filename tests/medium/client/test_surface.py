"""The whole surface of a client, for coroutines, in notebooks and from threads."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from distributed import Client, as_completed, wait
from distributed.testing.clusters import gen_cluster
from distributed.testing.functions import inc

# Calls of a client and a future of it that is done; each gives something to await.
AWAITED: dict[str, Callable[[Client, Any], Any]] = {
    "gather": lambda client, future: client.gather([future]),
    "get": lambda client, future: client.get({"x": (inc, 1)}, "x"),
    "scatter": lambda client, future: client.scatter([1]),
    "replicate": lambda client, future: client.replicate(future),
    "rebalance": lambda client, future: client.rebalance(),
    "cancel": lambda client, future: client.cancel(client.submit(inc, 5)),
    "retry": lambda client, future: client.retry(future),
    "retire_workers": lambda client, future: client.retire_workers("1"),
    "wait_for_workers": lambda client, future: client.wait_for_workers(1),
    "ncores": lambda client, future: client.ncores(),
    "nthreads": lambda client, future: client.nthreads(),
    "who_has": lambda client, future: client.who_has(future),
    "has_what": lambda client, future: client.has_what(),
    "processing": lambda client, future: client.processing(),
    "nbytes": lambda client, future: client.nbytes(),
    "scheduler_info": lambda client, future: client.scheduler_info(),
    "get_versions": lambda client, future: client.get_versions(),
    "close": lambda client, future: client.close(),
    "result": lambda client, future: future.result(),
    "exception": lambda client, future: future.exception(),
    "traceback": lambda client, future: future.traceback(),
    "Future.cancel": lambda client, future: client.submit(inc, 6).cancel(),
    "Future.retry": lambda client, future: future.retry(),
    "wait": lambda client, future: wait([future]),
}


@pytest.mark.parametrize("name", AWAITED)
def test_whatever_waits_can_be_awaited_with_an_asynchronous_client(name: str) -> None:
    @gen_cluster(client=True)
    async def look(client: Client, *servers: Any) -> None:
        future = client.submit(inc, 1)
        assert await future == 2
        awaitable = AWAITED[name](client, future)
        assert inspect.isawaitable(awaitable)
        await awaitable

    look()


@gen_cluster(client=True)
async def test_what_does_not_wait_is_there_at_once(client: Client, *servers: Any) -> None:
    future = client.submit(inc, 1)
    many = client.map(inc, range(3))
    assert client.compute([future]).client is client and len(many) == 3
    assert client.futures_of([future]) == [future]
    client.get_executor().shutdown()
    assert Client.current() is client and client.status == "running"
    assert sorted([await done async for done in as_completed(many)]) == [1, 2, 3]


def test_a_notebook_uses_a_blocking_client_while_its_loop_runs(background: Any) -> None:
    async def cell() -> list[Any]:
        with Client(background.address) as client:
            future = client.submit(inc, 1)
            seen: list[Any] = [future.result(), client.gather(client.map(inc, range(3)))]
            seen.append(await client.submit(inc, 5))
            seen.append(sorted([await done async for done in as_completed(client.map(inc, [7, 8]))]))
            seen.append(len(wait(client.map(inc, range(4))).done))
            with client.get_executor() as executor:
                seen.append(await asyncio.get_running_loop().run_in_executor(executor, inc, 9))
        return seen

    assert asyncio.run(cell()) == [2, [1, 2, 3], 6, [8, 9], 4, 10]


def test_threads_share_a_client_and_its_iterators(background: Any) -> None:
    with Client(background.address) as client:
        completed = as_completed(client.map(inc, range(200)))
        taken: list[int] = []

        def take() -> None:
            taken.extend(future.result() for future in client.futures_of(completed.next_batch(block=False)))
            taken.append(client.submit(inc, threading.get_ident()).result())

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rest = [future.result() for future in completed]
        small = [value for value in (*taken, *rest) if value <= 200]
        assert sorted(small) == list(range(1, 201))
