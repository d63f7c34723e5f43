"""client.stream: items as they are yielded, a few ahead, until either side ends."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from distributed import Client
from distributed.errors import ActorLostError, BadRequestError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.worker.server import Worker

MADE: list[int] = []
CLOSED: list[str] = []
GATE = threading.Event()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Nothing was made yet."""
    MADE.clear()
    CLOSED.clear()
    GATE.clear()
    yield
    GATE.set()


def numbers(count: int, start: int = 0) -> Iterator[int]:
    try:
        for number in range(start, start + count):
            MADE.append(number)
            yield number
    finally:
        CLOSED.append("closed")


def arrays(count: int) -> Iterator[Any]:
    for number in range(count):
        yield np.full(50_000, number)


def failing() -> Iterator[int]:
    yield 1
    raise ValueError("after one")


def gated() -> Iterator[int]:
    yield 1
    GATE.wait(10)
    yield 2


async def slowly(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def not_iterable() -> int:
    return 1


def wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + 10
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert is_so()


def test_items_come_in_order(background: Any) -> None:
    with Client(background.address) as client:
        assert list(client.stream(numbers, 100)) == list(range(100))
        assert list(client.stream(numbers, 3, start=7, ahead=1)) == [7, 8, 9]
        assert list(client.stream(numbers, client.submit(abs, -4))) == [0, 1, 2, 3]
        assert list(client.stream(range, 4)) == [0, 1, 2, 3]
        assert list(client.stream(slowly, 20)) == list(range(20))
        assert [array[0] for array in client.stream(arrays, 20)] == list(range(20))


@gen_cluster(client=True)
async def test_coroutines_iterate_too(client: Client, *servers: Any) -> None:
    assert [item async for item in client.stream(numbers, 50)] == list(range(50))
    assert [item async for item in client.stream(slowly, 50)] == list(range(50))
    async with client.stream(numbers, 1_000_000) as stream:
        assert await anext(stream) == 0
    await until(lambda: CLOSED == ["closed", "closed"])


def test_an_item_comes_before_the_next_one_is_made(background: Any) -> None:
    with Client(background.address) as client:
        stream = client.stream(gated)
        assert next(stream) == 1
        GATE.set()
        assert list(stream) == [2]


def test_the_generator_rests_when_it_is_far_enough_ahead(background: Any) -> None:
    with Client(background.address) as client:
        stream = client.stream(numbers, 1_000, ahead=5)
        assert next(stream) == 0
        wait_until(lambda: len(MADE) == 6)
        assert next(stream) == 1
        wait_until(lambda: len(MADE) == 7)
        assert list(stream) == list(range(2, 1_000))


def test_closing_ends_the_generator(background: Any) -> None:
    with Client(background.address) as client:
        with client.stream(numbers, 1_000_000) as stream:
            assert next(stream) == 0
        wait_until(lambda: CLOSED == ["closed"])
        assert list(stream) == []
        assert "ended" in repr(stream)


def test_dropping_ends_the_generator(background: Any) -> None:
    with Client(background.address) as client:
        for item in client.stream(numbers, 1_000_000):
            if item == 3:
                break
        gc.collect()
        wait_until(lambda: CLOSED == ["closed"])


def test_dropping_ends_a_generator_that_is_waited_for(background: Any) -> None:
    with Client(background.address) as client:
        stream = client.stream(gated)
        assert next(stream) == 1
        del stream
        gc.collect()
        wait_until(lambda: not any(worker.actors for worker in background.workers))


def test_what_the_generator_raises_comes_after_its_items(background: Any) -> None:
    with Client(background.address) as client:
        stream = client.stream(failing, retries=3)
        assert next(stream) == 1
        with pytest.raises(ValueError, match="after one"):
            next(stream)
        assert list(stream) == []
        with pytest.raises(BadRequestError, match="a stream needs a generator"):
            list(client.stream(not_iterable))
        with pytest.raises(ValueError, match="ahead=0"):
            client.stream(numbers, 3, ahead=0)


def lose_worker_of(scheduler: Scheduler, workers: tuple[Worker, ...], key: str) -> Worker:
    return next(worker for worker in workers if key in worker.store)


@gen_cluster(client=True)
async def test_with_retries_a_stream_goes_on_at_another_worker(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    stream = client.stream(numbers, 100, retries=1)
    found = [await anext(stream) for _ in range(10)]
    await lose_worker_of(scheduler, workers, stream.key).close()
    found += [item async for item in stream]
    assert found == list(range(100))
    assert MADE.count(0) == 2


@gen_cluster(client=True)
async def test_without_retries_a_lost_stream_raises(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    stream = client.stream(numbers, 1_000_000, ahead=1)
    assert await anext(stream) == 0
    await lose_worker_of(scheduler, workers, stream.key).close()
    with pytest.raises(ActorLostError):
        while True:
            await anext(stream)
