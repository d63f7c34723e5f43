"""submit, map and compute, on a cluster in this loop."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from operator import add
from typing import Any, NamedTuple

import pytest

from distributed import Client, wait
from distributed.errors import (
    BadRequestError,
    UnpicklableError,
)
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import dec, div, double, inc, slowinc
from distributed.worker.server import Worker

SHARED: dict[str, Any] = {}


class Pair(NamedTuple):
    left: Any
    right: Any


def call_shared(name: str, *args: Any) -> Any:
    """What a test put under `name`: the workers are in this process."""
    return SHARED[name](*args)


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


# ---------------------------------------------------------------- submit


@gen_cluster(client=True)
async def test_a_submitted_call_is_run_on_a_worker(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    future = client.submit(inc, 1)
    assert await future.result() == 2
    assert future.status == "finished" and future.done() and not future.cancelled()
    holders = [worker.address for worker in workers if future.key in worker.store]
    assert await client.who_has(future) == {future.key: holders}


@gen_cluster(client=True)
async def test_keywords_are_given_too(client: Client, *servers: Any) -> None:
    assert await client.submit(div, y=2, x=client.submit(inc, 3)) == 2


@pytest.mark.parametrize(
    ("build", "result"),
    [
        (lambda a, b: [a, b], [2, 3]),
        (lambda a, b: (a, (b,)), (2, (3,))),
        (lambda a, b: {"a": a, "b": [b, {"c": a}]}, {"a": 2, "b": [3, {"c": 2}]}),
        (lambda a, b: {a, b}, {2, 3}),
        (lambda a, b: frozenset({a}), frozenset({2})),
    ],
    ids=["list", "tuple", "dict", "set", "frozenset"],
)
@gen_cluster(client=True)
async def test_futures_in_arguments_become_results(
    client: Client, *servers: Any, build: Callable[..., Any], result: Any
) -> None:
    value = build(client.submit(inc, 1), client.submit(inc, 2))
    assert await client.submit(lambda x: x, value) == result
    assert await client.compute(value) == result


@gen_cluster(client=True)
async def test_a_sequence_of_futures_is_an_argument(client: Client, *servers: Any) -> None:
    assert await client.submit(sum, client.map(inc, range(3))) == 6
    assert await client.submit(sum, client.map(inc, range(3))[1:]) == 5


@gen_cluster(client=True)
async def test_a_future_hidden_in_an_object_is_refused(client: Client, *servers: Any) -> None:
    hidden = client.submit(inc, 1)
    with pytest.raises(UnpicklableError, match="hidden inside another object"):
        client.submit(inc, Pair(hidden, 2))
    with pytest.raises(UnpicklableError, match="hidden inside another object"):
        client.submit(lambda: hidden)


@gen_cluster(client=True)
async def test_equal_calls_are_one_task(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    calls = [client.submit(inc, 1), client.submit(inc, 1), client.map(inc, [1])[0]]
    assert len({future.key for future in calls}) == 1
    assert await client.gather(calls) == [2, 2, 2]
    assert len(scheduler.machine.state.tasks) == 1


@gen_cluster(client=True)
async def test_other_arguments_are_another_task(client: Client, *servers: Any) -> None:
    calls = [client.submit(inc, 1), client.submit(inc, 1.0), client.submit(inc, True), client.submit(dec, 1)]
    assert len({future.key for future in calls}) == 4
    assert await client.gather(calls) == [2, 2.0, 2, 0]


@gen_cluster(client=True)
async def test_impure_calls_are_tasks_of_their_own(client: Client, *servers: Any) -> None:
    SHARED["roll"] = random.random
    a, b = [client.submit(call_shared, "roll", pure=False) for _ in range(2)]
    assert a.key != b.key and await a != await b


@gen_cluster(client=True)
async def test_a_key_may_be_chosen(client: Client, *servers: Any) -> None:
    future = client.submit(inc, 1, key="x")
    assert future.key == "x" and await future == 2
    assert await client.submit(inc, 10, key="x") == 2, "the same key is computed once"


@pytest.mark.parametrize("key", ["", 5, b"x", ("x", 1), "x" * 1001])
@gen_cluster([], client=True)
async def test_what_cannot_be_a_key_is_refused(client: Client, scheduler: Scheduler, key: Any) -> None:
    with pytest.raises(BadRequestError, match="cannot be a key"):
        client.submit(inc, 1, key=key)
    if isinstance(key, str):
        with pytest.raises(BadRequestError, match="cannot be a key"):
            client.map(inc, [1], key=key)


@gen_cluster(client=True)
async def test_a_key_of_odd_characters_is_a_key(client: Client, *servers: Any) -> None:
    for key in ("\ud800", "a b\n\x00", "ключ", "🔑"):
        assert await client.submit(inc, 1, key=key) == 2


@gen_cluster(client=True)
async def test_workers_can_be_chosen_by_address_name_and_host(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    by_address = client.map(inc, range(20), workers=[b.address], key="address")
    by_name = client.map(inc, range(20), workers="0", key="name")
    by_host = client.submit(inc, 1, workers="127.0.0.1")
    await wait([*by_address, *by_name, by_host])
    assert {address for held in (await client.who_has(by_address)).values() for address in held} == {b.address}
    assert {address for held in (await client.who_has(by_name)).values() for address in held} == {a.address}


@gen_cluster([("127.0.0.1", 4)], client=True, worker_options={"resources": {"GPU": 1}})
async def test_resources_bound_how_many_run_at_once(client: Client, *servers: Any) -> None:
    running, most, lock = [0], [0], threading.Lock()

    def task(x: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.002)
        with lock:
            running[0] -= 1
        return x

    SHARED["resources"] = task
    tasks = client.map(call_shared, ["resources"] * 5, range(5), resources={"GPU": 1})
    assert await client.gather(tasks) == list(range(5))
    assert most == [1]


@gen_cluster(client=True)
async def test_a_task_nobody_can_run_waits_until_somebody_can(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    future = client.submit(inc, 1, resources={"GPU": 1})
    assert await client.submit(inc, 5) == 6, "others are not held up"
    assert not future.done()
    newcomer = Worker(scheduler.address, nthreads=1, resources={"GPU": 1})
    await newcomer.start()
    assert await future == 2
    await newcomer.close()


@gen_cluster(client=True)
async def test_retries_are_used_up_before_it_fails(client: Client, *servers: Any) -> None:
    calls: list[int] = []

    def flaky(successes_after: int) -> int:
        calls.append(1)
        if len(calls) <= successes_after:
            raise ValueError(len(calls))
        return len(calls)

    SHARED["flaky"] = flaky
    assert await client.submit(call_shared, "flaky", 2, retries=2) == 3
    calls.clear()
    with pytest.raises(ValueError, match="2"):
        await client.submit(call_shared, "flaky", 5, retries=1)
    assert len(calls) == 2


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_higher_priorities_run_first(client: Client, scheduler: Scheduler, a: Worker) -> None:
    order: list[int] = []
    gate = threading.Event()
    SHARED["gate"], SHARED["note"] = gate.wait, order.append
    first = client.submit(call_shared, "gate", 5.0)
    await until(lambda: a.executor.running.keys() == [first.key])
    low = client.map(call_shared, ["note"] * 3, range(3), priority=-1)
    high = client.map(call_shared, ["note"] * 3, range(10, 13), priority=10)
    await client.who_has()  # both are at the scheduler, which has given the only thread to the first
    gate.set()
    await wait([*low, *high])
    assert order == [10, 11, 12, 0, 1, 2]


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"retries": "1"},
        {"retries": 2**70},
        {"priority": "high"},
        {"priority": 1.5},
        {"priority": 2**70},
        {"workers": 5},
        {"workers": [5]},
        {"workers": []},
        {"workers": [""]},
        {"resources": {"GPU": "many"}},
        {"resources": {"GPU": -1}},
        {"resources": {"GPU": float("nan")}},
        {"resources": {5: 1}},
        {"resources": 5},
        {"allow_other_workers": True},
        {"allow_other_workers": 1, "workers": "a"},
        {"platform": 5},
        {"platform": ""},
        {"platform": "x" * 300},
        {"memory_limit": 0},
        {"memory_limit": -1},
        {"memory_limit": "much"},
        {"memory_limit": True},
        {"memory_limit": 2**80},
    ],
    ids=str,
)
@gen_cluster(client=True)
async def test_options_that_make_no_sense_harm_nothing_else(
    client: Client, *servers: Any, options: dict[str, Any]
) -> None:
    other = client.submit(slowinc, 1)
    with pytest.raises((BadRequestError, ValueError, TypeError)):
        client.submit(inc, 1, **options)
    with pytest.raises((BadRequestError, ValueError, TypeError)):
        client.map(inc, [1], **options)
    assert await other == 2


@gen_cluster(client=True)
async def test_numpy_numbers_are_numbers(client: Client, *servers: Any) -> None:
    import numpy

    options = {"retries": numpy.int64(1), "priority": numpy.int32(3)}
    assert await client.submit(inc, numpy.int64(1), **options) == 2


@pytest.mark.parametrize("function", [5, None, "inc"])
@gen_cluster([], client=True)
async def test_what_cannot_be_called_is_refused(client: Client, scheduler: Scheduler, function: Any) -> None:
    with pytest.raises(TypeError, match="first argument is the function"):
        client.submit(function, 1)
    with pytest.raises(TypeError, match="first argument is the function"):
        client.map(function, [1])


# ---------------------------------------------------------------- map


@gen_cluster(client=True)
async def test_map_calls_once_per_element(client: Client, *servers: Any) -> None:
    assert await client.gather(client.map(inc, range(5))) == [1, 2, 3, 4, 5]
    assert await client.gather(client.map(add, range(5), [10, 20, 30])) == [10, 21, 32], "the shortest ends it"
    assert await client.gather(client.map(div, [2, 4], y=2)) == [1, 2]


@gen_cluster(client=True)
async def test_map_takes_generators(client: Client, *servers: Any) -> None:
    assert await client.gather(client.map(add, numbers(3), (x for x in range(3)))) == [0, 2, 4]


@gen_cluster(client=True)
async def test_map_over_futures(client: Client, *servers: Any) -> None:
    first = client.map(inc, range(3))
    assert await client.gather(client.map(add, first, client.map(double, first))) == [3, 6, 9]


@gen_cluster(client=True)
async def test_an_empty_map_is_an_empty_sequence(client: Client, *servers: Any) -> None:
    futures = client.map(inc, [])
    assert len(futures) == 0 and list(futures) == [] and futures.keys == ()
    assert await client.gather(futures) == []
    assert await client.submit(sum, futures) == 0


@gen_cluster(client=True)
async def test_one_key_may_stand_several_times_in_a_map(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    futures = client.map(inc, [1, 2, 1, 1])
    assert await client.gather(futures) == [2, 3, 2, 2]
    assert len(scheduler.machine.state.tasks) == 2
    del futures
    await until(lambda: not scheduler.machine.state.tasks)


@gen_cluster(client=True)
async def test_keys_of_a_map_may_be_chosen(client: Client, *servers: Any) -> None:
    assert client.map(inc, range(2), key="n").keys == ("n-0", "n-1")
    assert client.map(inc, range(2), key=["a", "b"]).keys == ("a", "b")


@gen_cluster(client=True)
async def test_a_map_that_fails_halfway_leaves_nothing(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    def broken() -> Iterator[int]:
        yield from range(1500)
        raise OSError("the source dried up")

    with pytest.raises(OSError, match="dried up"):
        client.map(inc, broken())
    with pytest.raises(BadRequestError):
        client.map(inc, range(5), key=["a", "b"])
    with pytest.raises(UnpicklableError):
        client.map(inc, [*range(1500), threading.Lock()])
    await client.submit(inc, 1)
    await until(lambda: not scheduler.machine.state.tasks)


@gen_cluster(client=True)
async def test_a_sequence_of_futures_is_like_a_tuple(client: Client, *servers: Any) -> None:
    futures = client.map(inc, range(5))
    assert len(futures) == 5
    assert await futures[-1] == 5
    assert await client.gather(futures[1:3]) == [2, 3]
    assert await client.gather(futures[::-1]) == [5, 4, 3, 2, 1]
    assert [future.key for future in futures] == list(futures.keys)
    assert futures[2] in futures and futures.index(futures[2]) == 2
    assert {future: i for i, future in enumerate(futures)}[futures[3]] == 3, "made anew, and still the same"
    with pytest.raises(IndexError):
        futures[5]


@gen_cluster(client=True)
async def test_twenty_thousand_tasks(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    futures = client.map(inc, range(20_000), pure=False)
    assert await client.gather(futures) == list(range(1, 20_001))
    del futures
    await until(lambda: not scheduler.machine.state.tasks and not any(len(worker.store) for worker in workers))
