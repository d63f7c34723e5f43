"""Moving data and letting workers go, over real connections: replicate, rebalance, retire, pause, silence."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from distributed import Client
from distributed.calls import connect, rpc
from distributed.errors import BadRequestError, CommClosedError, UncopiedDataError
from distributed.messages import WorkerPaused
from distributed.scheduler.server import Scheduler
from distributed.scheduler.state import Settings
from distributed.testing.clusters import gen_cluster, gen_test, until
from distributed.testing.functions import inc
from distributed.worker.server import Worker

TWO = [("127.0.0.1", 1)] * 2
FOUR = [("127.0.0.1", 1)] * 4


def slow_inc(x: int) -> int:
    time.sleep(0.1)
    return x + 1


def holders(scheduler: Scheduler, key: str) -> list[str]:
    return scheduler.who_has(None, [key])[key]


@gen_cluster(client=True, ncores=FOUR)
async def test_a_key_is_copied_to_everybody(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    future = client.submit(bytes, 100_000, key="big")
    await future
    async with rpc(scheduler.address) as remote:
        nbytes = scheduler.machine.state.tasks["big"].nbytes
        assert await remote.replicate(keys=["big"]) == {"copied": 3, "nbytes": 3 * nbytes}
        assert await remote.replicate(keys=["big"]) == {"copied": 0, "nbytes": 0}
    assert len(holders(scheduler, "big")) == 4
    assert all("big" in worker.store for worker in workers)


@gen_cluster(client=True, ncores=FOUR)
async def test_some_copies_and_no_more(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    futures = client.map(inc, range(8))
    for future in futures:
        await future
    keys = [future.key for future in futures]
    async with rpc(scheduler.address) as remote:
        answer = await remote.replicate(keys=keys, copies=2)
    assert answer["copied"] == 8
    assert all(len(holders(scheduler, key)) == 2 for key in keys)


@gen_cluster(client=True, ncores=TWO)
async def test_what_cannot_be_copied_is_named(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    future = client.submit(inc, 1, key="good")
    await future
    async with rpc(scheduler.address) as remote:
        with pytest.raises(UncopiedDataError, match="1 keys could not be copied: unknown: it has no data now"):
            await remote.replicate(keys=["good", "unknown"])
        with pytest.raises(BadRequestError, match="no worker has the address or name 'nobody'"):
            await remote.replicate(keys=["good"], workers=["nobody"])
        with pytest.raises(BadRequestError, match="copies=0"):
            await remote.replicate(keys=["good"], copies=0)
        with pytest.raises(BadRequestError, match="keys is a list of texts"):
            await remote.replicate(keys="good")
    assert len(holders(scheduler, "good")) == 2


@gen_cluster(client=True, ncores=TWO)
async def test_data_is_evened_out(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    futures = [client.submit(bytes, 100_000 + number, workers=a.address) for number in range(10)]
    for future in futures:
        await future
    async with rpc(scheduler.address) as remote:
        answer = await remote.rebalance()
    assert answer["copied"] == 5
    await until(lambda: len(a.store) == len(b.store) == 5)
    assert [len(await future) for future in futures] == [100_000 + number for number in range(10)]


@gen_cluster(client=True, ncores=TWO)
async def test_a_retired_worker_leaves_nothing_undone(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    done = client.submit(inc, 1, workers=a.address, key="done")
    await done
    futures = client.map(slow_inc, range(10))
    await until(lambda: scheduler.machine.state.workers[a.address].processing)
    async with rpc(scheduler.address) as remote:
        assert await remote.retire_workers(workers=[a.address]) == {"retired": [a.address]}
    assert list(scheduler.machine.state.workers) == [b.address]
    await a.finished
    assert [await future for future in futures] == [x + 1 for x in range(10)]
    assert await done == 2
    assert scheduler.machine.state.tasks["done"].attempt == 1  # moved, not computed again
    assert all(task.attempt <= 2 for task in scheduler.machine.state.tasks.values())


@gen_cluster(client=True, ncores=TWO)
async def test_a_paused_worker_gets_nothing_until_it_has_room(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    a._send(WorkerPaused(True))
    await until(lambda: scheduler.scheduler_info(None)["workers"][a.address]["status"] == "paused")
    futures = client.map(inc, range(20))
    assert [await future for future in futures] == [x + 1 for x in range(20)]
    assert {holder for future in futures for holder in holders(scheduler, future.key)} == {b.address}
    a._send(WorkerPaused(False))
    await until(lambda: scheduler.scheduler_info(None)["workers"][a.address]["status"] == "running")


@gen_test()
async def test_a_silent_worker_is_given_up_and_one_that_is_vouched_for_is_not() -> None:
    scheduler = Scheduler(settings=Settings(worker_timeout_s=0.3))
    scheduler.listen(0)

    async def join(name: str) -> Any:
        stream = await connect(scheduler.address, role="worker")
        stream.write_message_nowait({
            "op": "register_worker", "address": f"tcp://{name}:1", "incarnation": f"{name}-1", "name": name,
            "nthreads": 1,
        })  # fmt: skip
        await stream.read_message()
        return stream

    silent, busy = await join("silent"), await join("busy")
    async with rpc(scheduler.address, role="worker") as nanny:
        while "tcp://silent:1" in scheduler.machine.state.workers:
            await nanny.worker_alive(address="tcp://busy:1", incarnation="busy-1")
            await asyncio.sleep(0.02)
    with pytest.raises(CommClosedError):
        await silent.read_message()
    assert list(scheduler.machine.state.workers) == ["tcp://busy:1"]
    busy.close()
    await scheduler.close()
