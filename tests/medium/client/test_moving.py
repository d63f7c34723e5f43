"""replicate, rebalance, retire_workers and broadcasting, on a cluster in this loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from distributed import Client, wait
from distributed.errors import BadRequestError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import inc, slowinc, throws
from distributed.worker.server import Worker

FOUR = [("127.0.0.1", 1)] * 4


@gen_cluster(FOUR, client=True)
async def test_results_are_copied_to_all_workers_or_to_some(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    everywhere, twice = client.submit(inc, 1), client.submit(bytes, 100_000)
    assert (await client.replicate([everywhere]))["copied"] == 3
    await client.replicate({"x": twice}, n=2)
    chosen = [worker.address for worker in workers[:2]]
    here = client.submit(inc, 5)
    await client.replicate(here, workers=chosen)
    holders = await client.who_has([everywhere, twice, here])
    assert sorted(holders[everywhere.key]) == sorted(worker.address for worker in workers)
    assert len(holders[twice.key]) == 2
    assert set(chosen) <= set(holders[here.key])
    assert await client.gather([everywhere, twice, here]) == [2, bytes(100_000), 6]


@gen_cluster(FOUR, client=True)
async def test_replicas_survive_their_workers(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    (data,) = await client.scatter([bytes(100_000)])
    await client.replicate(data, n=2)
    first = (await client.who_has(data))[data.key][0]
    await next(worker for worker in workers if worker.address == first).close()
    assert await data == bytes(100_000)


@gen_cluster(FOUR, client=True)
async def test_only_what_exists_can_be_replicated(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    with pytest.raises(RuntimeError, match="hello!"):
        await client.replicate(client.submit(throws, 1))
    with pytest.raises(BadRequestError):
        await client.replicate(client.submit(inc, 1), workers=["nobody"])
    for n in (0, -1, "all"):
        with pytest.raises(ValueError, match="copies"):
            await client.replicate([], n=n)  # type: ignore[arg-type]


@gen_cluster(FOUR, client=True)
async def test_data_is_scattered_to_everybody(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    futures = await client.scatter({"x": 1, "y": bytes(100_000)}, broadcast=True)
    for holders in (await client.who_has(futures)).values():
        assert sorted(holders) == sorted(worker.address for worker in workers)
    chosen = [worker.address for worker in workers[:2]]
    (some,) = await client.scatter([5], workers=chosen, broadcast=True)
    assert sorted((await client.who_has(some))[some.key]) == sorted(chosen)
    del futures, some
    await until(lambda: not any(len(worker.store) for worker in workers))


@gen_cluster(FOUR, client=True)
async def test_data_is_spread_evenly(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    futures = await client.scatter([bytes(100_000 + n) for n in range(8)], workers=workers[0].address)
    await client.rebalance()
    counts = [len(keys) for keys in (await client.has_what()).values()]
    assert sum(counts) == 8 and max(counts) <= 4
    await client.rebalance(futures[:2], workers=[workers[0].address])
    assert await client.gather(futures) == [bytes(100_000 + n) for n in range(8)]


@gen_cluster(FOUR, client=True)
async def test_workers_are_retired_without_losing_anything(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    data = await client.scatter([bytes(100_000 + n) for n in range(8)])
    done = client.map(inc, range(20))
    await wait(done)
    working = client.map(slowinc, range(20), delay=0.005)
    leaving = [workers[0].address, workers[1].address]
    retired = await client.retire_workers(leaving, reason="maintenance")
    assert sorted(retired) == sorted(leaving)
    assert sorted(await client.ncores()) == sorted(worker.address for worker in workers[2:])
    assert await client.gather(data) == [bytes(100_000 + n) for n in range(8)]
    assert await client.gather([done, working]) == [list(range(1, 21))] * 2
    with pytest.raises(BadRequestError):
        await client.retire_workers(["nobody"])


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_workers_are_preferred_but_not_needed(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    assert await client.submit(inc, 1, workers="nobody", allow_other_workers=True) == 2
    strict: Any = client.submit(inc, 2, workers="nobody")
    preferred = client.map(bytes, [100_000 + n for n in range(4)], workers=b.address, allow_other_workers=True)
    await wait(preferred)
    assert set(map(tuple, (await client.who_has(preferred)).values())) == {(b.address,)}
    assert not strict.done()


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_tasks_choose_a_platform(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    import sys

    assert await client.submit(inc, 1, platform=sys.platform) == 2
    assert await client.submit(inc, 2, platform=f"{sys.platform}*") == 3
    other = client.submit(inc, 3, platform="plan9")
    assert await client.submit(inc, 4) == 5
    assert not other.done()


@gen_cluster(FOUR[:1], client=True)
async def test_a_client_waits_until_enough_workers_are_there(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    await client.wait_for_workers(1)
    waiting = asyncio.ensure_future(client.wait_for_workers(2, timeout="10s"))
    second = Worker(scheduler.address, nthreads=1)
    await second.start()
    await waiting
    await second.close()
    for count in (-1, None, True):
        with pytest.raises(ValueError, match="number of workers"):
            await client.wait_for_workers(count)
    with pytest.raises(TimeoutError, match=r"of 9 workers are there after 0\.01 s"):
        await client.wait_for_workers(9, timeout=0.01)


@gen_cluster(FOUR[:2], client=True)
async def test_keywords_that_users_of_dask_know_are_taken_or_explained(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    (future,) = await client.scatter([5], direct=True, hash=False)
    await client.replicate(future, n=2, branching_factor=3)
    with pytest.raises(ValueError, match="always end"):
        await client.retire_workers([workers[0].address], close_workers=False)
    with pytest.raises(ValueError, match="name those"):
        await client.retire_workers()
    assert await client.retire_workers(workers=[workers[0].address], close_workers=True) == [workers[0].address]
    assert await future == 5
