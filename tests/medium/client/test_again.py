"""Retries by hand, and what a client can see of the work."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from distributed import Client, futures_of, wait
from distributed.errors import CommClosedError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import double, inc

LUCK: dict[str, bool] = {}
GATES: dict[str, threading.Event] = {}


def need_luck(name: str) -> str:
    if not LUCK.get(name):
        raise KeyError(name)
    return name


def pass_gate(name: str) -> str:
    assert GATES[name].wait(10)
    return name


@gen_cluster(client=True)
async def test_what_failed_runs_again_with_what_failed_before_it(client: Client, *servers: Any) -> None:
    root = client.submit(need_luck, "again")
    top = client.submit(double, root)
    await wait([root, top])
    assert (root.status, top.status) == ("error", "error")
    LUCK["again"] = True
    await client.retry(top)
    assert await top == "againagain"
    assert await root == "again"
    root.retry()
    assert root.status == "finished", "it has not failed"


@gen_cluster(client=True)
async def test_a_retry_that_fails_tells_its_own_error(client: Client, *servers: Any) -> None:
    future = client.submit(need_luck, "never")
    for _ in range(2):
        with pytest.raises(KeyError, match="never"):
            await future
        await future.retry()
        assert future.status == "pending"
    with pytest.raises(KeyError):
        await future


@gen_cluster(client=True)
async def test_other_clients_hear_of_a_retry(client: Client, scheduler: Scheduler, *workers: Any) -> None:
    async with Client(scheduler.address, asynchronous=True) as other:
        mine, theirs = (who.submit(need_luck, "both", key="both") for who in (client, other))
        await wait([mine])
        await wait([theirs])
        LUCK["both"] = True
        await client.retry([mine])
        assert await mine == "both"
        await until(lambda: theirs.status == "finished")
        assert await theirs == "both"


def test_a_blocking_client_retries(background: Any) -> None:
    with Client(background.address) as client:
        futures = client.map(need_luck, ["a", "b"])
        wait(futures)
        LUCK["a"] = True
        client.retry(futures)
        assert client.gather(futures, errors="skip") == ["a"]
        unsent = client.submit(inc, 1)
    with pytest.raises(CommClosedError):
        client.retry(unsent)


@gen_cluster(client=True)
async def test_what_workers_do_and_how_big_results_are(client: Client, scheduler: Scheduler, a: Any, b: Any) -> None:
    GATES["look"] = threading.Event()
    slow = client.submit(pass_gate, "look", workers=b.address)
    sizes = client.map(bytes, [1_000, 3_000_000], key="sized")
    await wait(sizes)
    await until(lambda: bool(scheduler.processing(None)[b.address]))
    assert await client.processing() == {a.address: [], b.address: [slow.key]}
    assert await client.processing(a.address) == {a.address: []}
    by_key = await client.nbytes(sizes, summary=False)
    assert list(by_key) == ["sized-0", "sized-1"] and by_key["sized-1"] >= 3_000_000
    assert await client.nbytes() == {"sized": sum(by_key.values())}
    GATES["look"].set()
    assert await slow == "look"


@gen_cluster(client=True)
async def test_futures_of_a_structure(client: Client, *servers: Any) -> None:
    one, other = client.submit(inc, 1), client.submit(inc, 2)
    many = client.map(double, range(2))
    found = futures_of([1, {"x": (one, {other})}, many, one, "text"])
    assert found == [one, other, *many] == client.futures_of({"all": [one, other, *many]})
    assert futures_of(iter([one])) == [one] and futures_of(5) == []
