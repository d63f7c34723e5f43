"""Big arguments travel once, are shared by the calls that get equal ones, and go with them."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from distributed import Client, wait
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.cutting import CuttingProxy
from distributed.testing.functions import inc
from distributed.worker.server import Worker

COUNT = 200_000  # float64: 1.6 MB
ONE = [("127.0.0.1", 1)]


def total(array: Any, more: Any = 0) -> float:
    return float(array.sum()) + float(numpy.sum(more))


def fill(array: Any) -> None:
    array[:] = 0


def data_keys(scheduler: Scheduler) -> list[str]:
    return [key for key in scheduler.machine.state.tasks if key.startswith("data-")]


@gen_cluster(client=True)
async def test_one_object_in_many_calls_travels_once(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    array = numpy.ones(COUNT)
    by_submit = [client.submit(total, array, n) for n in range(20)]
    by_map = client.map(total, [array] * 20, range(20, 40), pure=False)
    by_keyword = client.map(inc_of_total, range(5), array=array)
    assert await client.gather(by_submit) == [COUNT + n for n in range(20)]
    assert await client.gather(by_map) == [COUNT + n for n in range(20, 40)]
    assert await client.gather(by_keyword) == [COUNT + n for n in range(5)]
    assert len(data_keys(scheduler)) == 1
    del by_submit, by_map
    assert len(data_keys(scheduler)) == 1
    del by_keyword
    await until(lambda: not scheduler.machine.state.tasks and not any(len(worker.store) for worker in workers))
    assert client._session is not None and not client._session.table.records


def inc_of_total(x: int, array: Any) -> float:
    return float(array.sum()) + x


@gen_cluster(client=True)
async def test_an_object_changed_between_two_calls_is_other_data(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    array = numpy.ones(COUNT)
    before = client.submit(total, array)
    array[:] = 2  # at once: what was submitted is as it was
    after = client.submit(total, array)
    array[:] = 3
    assert await client.gather([before, after]) == [COUNT, 2 * COUNT]
    assert len(data_keys(scheduler)) == 2
    small = numpy.ones(10_000)  # not moved out, but beside the header
    future = client.submit(total, small)
    small[:] = 2
    assert await future == 10_000


@gen_cluster(client=True)
async def test_a_shared_array_is_read_only(client: Client, *servers: Any) -> None:
    array = numpy.ones(COUNT)
    with pytest.raises(ValueError, match="read-only"):
        await client.submit(fill, array)
    assert array.flags.writeable
    assert await client.submit(total, array) == COUNT


@gen_cluster(client=True)
async def test_big_arguments_of_any_kind(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    text, numbers = "x" * 2_000_000, list(range(600_000))
    assert await client.submit(len, text) == 2_000_000
    assert await client.submit(sum, numbers) == sum(numbers)
    assert await client.submit(len, bytes(3_000_000)) == 3_000_000
    holding_itself: list[Any] = [bytes(2_000_000)]
    holding_itself.append(holding_itself)
    assert await client.submit(len, holding_itself) == 2
    future = client.submit(inc, 1)
    assert await client.submit(len, [future, text]) == 2, "with a future inside it stays in its call"
    both = client.submit(total, numpy.ones(COUNT), numpy.full(COUNT, 2.0))
    assert await both == 3 * COUNT
    assert len(data_keys(scheduler)) == 2


@gen_cluster(ONE, client=True)
async def test_data_goes_with_calls_that_are_cancelled(client: Client, scheduler: Scheduler, a: Worker) -> None:
    array = numpy.ones(COUNT)
    future = client.submit(total, array, key="mine", resources={"GPU": 1})
    await client.cancel(future)
    again = client.submit(total, 2 * array, key="mine")
    assert await again == 2 * COUNT
    await until(lambda: len(data_keys(scheduler)) == 1)
    del future, again
    await until(lambda: not scheduler.machine.state.tasks)


@pytest.mark.usefixtures("forwarded")
@gen_cluster(ONE)
async def test_data_is_sent_again_to_a_scheduler_that_has_forgotten(scheduler: Scheduler, a: Worker) -> None:
    scheduler._clients._patience_s = 0.01
    async with CuttingProxy(scheduler.address) as proxy, Client(proxy.address, asynchronous=True) as client:
        array = numpy.ones(COUNT)
        future = client.submit(bytearray, array)
        await wait(future)
        proxy.is_refusing = True
        proxy.cut()
        await until(lambda: not list(scheduler._clients))
        proxy.is_refusing = False
        await until(lambda: future.status == "lost")
        again = client.submit(bytearray, array)
        assert len(await again) == 8 * COUNT
        assert again == future
        future.release()
        again.release()
        await until(lambda: not scheduler.machine.state.tasks)


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_data_survives_its_worker(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    array = numpy.ones(COUNT)
    first = client.submit(total, array, workers=a.address)
    assert await first == COUNT
    await a.close()
    assert await client.submit(total, array, 1, workers=b.address) == COUNT + 1
