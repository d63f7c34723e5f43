"""gather, scatter, get, cancel and release, on a cluster in this loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from operator import add
from typing import Any, NamedTuple

import pytest

from distributed import Client, Future, fire_and_forget, wait
from distributed.errors import (
    BadRequestError,
    CancelledError,
    CommClosedError,
    LostDataError,
    UnpicklableError,
    WorkerStartError,
)
from distributed.protocol.codec import Limits
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import div, double, inc, slowinc, throws
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


# ---------------------------------------------------------------- gather


@gen_cluster(client=True)
async def test_gather_keeps_the_structure(client: Client, *servers: Any) -> None:
    a, b = client.submit(inc, 1), client.submit(inc, 2)
    assert await client.gather(a) == 2
    assert await client.gather([a, {"b": (b, 5), "c": {a}}, "text", None]) == [2, {"b": (3, 5), "c": {2}}, "text", None]
    assert await client.gather(Pair(a, [b])) == Pair(2, [3])
    assert await client.gather([]) == []
    assert await client.gather({}) == {}
    assert await client.gather(5) == 5


@gen_cluster(client=True)
async def test_gather_takes_iterators_and_views(client: Client, *servers: Any) -> None:
    futures = {x: client.submit(inc, x) for x in range(3)}
    assert await client.gather(future for future in futures.values()) == [1, 2, 3]
    assert await client.gather(futures.values()) == [1, 2, 3]
    assert await client.gather(iter(client.map(inc, range(3)))) == [1, 2, 3]


@gen_cluster(client=True)
async def test_gather_raises_the_first_error(client: Client, *servers: Any) -> None:
    with pytest.raises(RuntimeError, match="hello!"):
        await client.gather([client.submit(inc, 1), client.submit(throws, 1), client.submit(div, 1, 0)])


@gen_cluster(client=True)
async def test_gather_can_skip_errors(client: Client, *servers: Any) -> None:
    good, bad = client.submit(inc, 1), client.submit(throws, 1)
    gone, local = client.submit(slowinc, 5, delay=0.01), client.submit(threading.Lock)
    await gone.cancel()
    assert await client.gather([bad, good, {"x": bad, "y": good}, gone, local], errors="skip") == [2, {"y": 2}]
    assert await client.gather(client.map(div, [1, 2, 3], [1, 0, 1]), errors="skip") == [1, 3]
    assert await client.gather(bad, errors="skip") is None


@gen_cluster([], client=True)
async def test_gather_knows_two_ways_to_handle_errors(client: Client, scheduler: Scheduler) -> None:
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        await client.gather([], errors="ignore")


# ---------------------------------------------------------------- scatter


@pytest.mark.parametrize(
    "data", [[1, 2, 3], (1, 2, 3), range(1, 4), iter([1, 2, 3])], ids=lambda data: type(data).__name__
)
@gen_cluster(client=True)
async def test_scattered_data_becomes_futures(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker, data: Any
) -> None:
    futures = await client.scatter(data)
    assert [type(future) for future in futures] == [Future] * 3
    assert await client.gather(futures) == [1, 2, 3]
    assert await client.submit(sum, futures) == 6
    assert (len(a.store), len(b.store)) >= (1, 2), "spread by threads"


@gen_cluster(client=True)
async def test_dicts_and_single_objects_can_be_scattered(client: Client, *servers: Any) -> None:
    futures = await client.scatter({"x": 1, "y": [2]})
    assert await client.gather(futures) == {"x": 1, "y": [2]}
    assert futures["x"].key == "x"
    future = await client.scatter("text")
    assert await future == "text"
    assert await client.scatter([]) == [] and await client.scatter({}) == {}


@gen_cluster(client=True)
async def test_data_can_be_scattered_to_chosen_workers(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    futures = [*await client.scatter([1, 2], workers=[b.address]), *await client.scatter([3, 4], workers=b.address)]
    assert await client.has_what(b.address) == {b.address: [future.key for future in futures]}
    assert await client.has_what([a.address]) == {a.address: []}


@gen_cluster(client=True)
async def test_scattering_a_key_again_keeps_the_first(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    first = await client.scatter({"x": 1})
    again = await client.scatter({"x": 2})
    assert await client.gather([first, again]) == [{"x": 1}, {"x": 1}]


@gen_cluster([], client=True)
async def test_scatter_needs_workers(client: Client, scheduler: Scheduler) -> None:
    with pytest.raises(WorkerStartError, match="no worker is there"):
        await client.scatter([1])
    with pytest.raises(WorkerStartError, match="only tcp://nobody:1"):
        await client.scatter([1], workers="tcp://nobody:1")


@gen_cluster(client=True)
async def test_unpicklable_data_is_refused_and_nothing_stays(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    with pytest.raises(UnpicklableError, match="lock"):
        await client.scatter([1, threading.Lock()])
    with pytest.raises(BadRequestError, match="cannot be a key"):
        await client.scatter({5: 1})
    await until(lambda: not scheduler.machine.state.tasks and not any(len(worker.store) for worker in workers))


@gen_cluster(client=True)
async def test_scattered_data_goes_with_its_futures(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    futures = await client.scatter(list(range(10)))
    del futures
    await until(lambda: not scheduler.machine.state.tasks and not any(len(worker.store) for worker in workers))


# ---------------------------------------------------------------- get


@gen_cluster(client=True)
async def test_get_computes_a_plain_graph(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    graph = {"x": 1, "y": (inc, "x"), "z": (sum, ["x", "y", (inc, "y")]), "unused": (throws, 1)}
    assert await client.get(graph, "z") == 6
    assert await client.get(graph, ["x", ["y", "z"]]) == [1, [2, 6]]
    assert await client.get(graph, []) == []
    await until(lambda: not scheduler.machine.state.tasks)


@gen_cluster(client=True)
async def test_keys_of_a_graph_may_be_tuples(client: Client, *servers: Any) -> None:
    graph = {("x", 0): 1, ("x", 1): (inc, ("x", 0)), "alias": ("x", 1), 5: (add, ("x", 1), "alias")}
    assert await client.get(graph, [5, ("x", 1)]) == [4, 2]


@gen_cluster([], client=True)
async def test_graphs_that_cannot_be_computed_are_refused(client: Client, scheduler: Scheduler) -> None:
    with pytest.raises(BadRequestError, match="'y' is not in the graph"):
        client.get({"x": 1}, "y")
    with pytest.raises(BadRequestError, match="cycle through"):
        client.get({"x": (inc, "y"), "y": (inc, "x")}, "x")
    assert not scheduler.machine.state.tasks


@gen_cluster(client=True)
async def test_an_error_in_a_graph_reaches_the_caller(client: Client, *servers: Any) -> None:
    with pytest.raises(RuntimeError, match="hello!"):
        await client.get({"x": (throws, 1), "y": (inc, "x"), "z": (inc, "y")}, "z")


@gen_cluster(client=True)
async def test_chains_may_be_deep(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    future = client.submit(inc, 0)
    for _ in range(2_999):
        future = client.submit(inc, future)
    assert await future == 3_000
    del future
    await until(lambda: not scheduler.machine.state.tasks)


@gen_cluster(client=True)
async def test_a_graph_may_be_larger_than_one_message(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    graph = {"n0": 0, **{f"n{i}": (inc, f"n{i - 1}") for i in range(1, 3_001)}}
    assert await client.get(graph, "n3000") == 3_000
    await until(lambda: not scheduler.machine.state.tasks)


# ---------------------------------------------------------------- cancel and release


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_cancelled_tasks_and_their_dependents_do_not_run(client: Client, scheduler: Scheduler, a: Worker) -> None:
    gate = threading.Event()
    SHARED["gate"] = gate.wait
    first = client.submit(call_shared, "gate", 5.0)
    second = client.submit(inc, 1, key="second")
    third = client.submit(inc, second)
    await client.cancel([second], reason="not needed")
    assert second.cancelled() and third.cancelled() and not first.cancelled()
    assert second.status == "cancelled"
    with pytest.raises(CancelledError, match="not needed"):
        await third
    gate.set()
    assert await first is True


@gen_cluster(client=True)
async def test_a_finished_task_can_be_cancelled(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    future = client.submit(inc, 1)
    await future
    await future.cancel()
    assert future.cancelled()
    with pytest.raises(CancelledError):
        await future
    await until(lambda: not any(len(worker.store) for worker in workers))


@gen_cluster(client=True)
async def test_a_cancelled_task_may_be_asked_for_again(client: Client, *servers: Any) -> None:
    future = client.submit(inc, 1)
    await future.cancel()
    await future.cancel()
    assert await client.submit(inc, 1) == 2


@gen_cluster(client=True)
async def test_a_result_nobody_holds_is_forgotten(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    future = client.submit(inc, 1)
    second = client.submit(inc, future)
    assert await second == 3
    del future
    await until(lambda: sum(len(worker.store) for worker in workers) == 1)
    assert await second == 3
    second.release()
    second.release()
    await until(lambda: not scheduler.machine.state.tasks and not any(len(worker.store) for worker in workers))


@gen_cluster(client=True)
async def test_asking_for_a_released_future_does_not_hang(client: Client, *servers: Any) -> None:
    pending, big = client.submit(slowinc, 1), client.submit(bytes, 100_000)
    await wait([big])
    pending.release()
    big.release()
    for future in (pending, big):
        with pytest.raises((CancelledError, LostDataError), match="released"):
            await future.result(timeout=5)


@gen_cluster(client=True)
async def test_a_sequence_holds_its_results_until_the_last_slice_goes(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    futures = client.map(inc, range(10))
    await client.gather(futures)
    part, one = futures[2:4], futures[0]
    del futures
    await until(lambda: sum(len(worker.store) for worker in workers) == 3)
    assert await client.gather([part, one]) == [[3, 4], 1]
    del part, one
    await until(lambda: not scheduler.machine.state.tasks)


@gen_cluster(client=True)
async def test_a_failed_task_fails_again_until_it_is_released(
    client: Client, scheduler: Scheduler, *workers: Any
) -> None:
    calls: list[int] = []

    def once() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("the first time")
        return len(calls)

    SHARED["once"] = once
    future = client.submit(call_shared, "once")
    with pytest.raises(ValueError, match="the first time"):
        await future
    again = client.submit(call_shared, "once")
    with pytest.raises(ValueError, match="the first time"):
        await again
    del future, again
    await until(lambda: not scheduler.machine.state.tasks)
    assert await client.submit(call_shared, "once") == 2


@gen_cluster(client=True)
async def test_after_close_everything_says_so(client: Client, *servers: Any) -> None:
    here, there = client.submit(inc, 1), client.submit(bytes, 100_000)
    futures = client.map(inc, range(3))
    await wait([here, there, *futures])
    await client.close()
    await client.close()
    assert client.status == "closed"
    assert await here == 2, "a result that came along is here"
    with pytest.raises(CommClosedError, match="this client was closed"):
        await there
    for ask in (lambda: client.submit(inc, 1), lambda: client.map(inc, [1]), lambda: client.cancel(here)):
        with pytest.raises(CommClosedError, match="this client was closed"):
            ask()
    for question in (
        client.scatter([1]),
        client.ncores(),
        client.who_has(),
        client.get_versions(),
        client.gather(there),
    ):
        with pytest.raises(CommClosedError, match="this client was closed"):
            await question


# ---------------------------------------------------------------- fire and forget


@gen_cluster(client=True)
async def test_tasks_that_are_fired_and_forgotten_run_to_their_end(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    ran: list[int] = []
    SHARED["ran"] = ran.append
    kept = client.submit(inc, 1)
    futures = client.map(call_shared, ["ran"] * 20, range(20), pure=False)
    fire_and_forget([futures[:10], {"x": futures[10:]}, kept])
    del futures
    await until(lambda: sorted(ran) == list(range(20)))
    await until(lambda: list(scheduler.machine.state.tasks) == [kept.key])
    kept.release()
    await until(lambda: not scheduler.machine.state.tasks)
    with pytest.raises(ValueError, match="was released"):
        fire_and_forget(kept)
    with pytest.raises(TypeError, match="int is no future"):
        fire_and_forget(5)


# ---------------------------------------------------------------- races


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_another_task_under_a_key_just_released_has_its_own_result(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    for number in range(200):
        first = client.submit(inc, number, key="same")
        if number % 3:
            await asyncio.sleep(0.0002 * (number % 7))
        first.release()
        second = client.submit(double, number, key="same")
        assert await second == 2 * number
        second.release()


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_a_task_that_could_not_be_sent_is_cancelled_at_once(
    client: Client, scheduler: Scheduler, a: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client._session is not None
    monkeypatch.setattr(client._session.link._endpoint, "limits", Limits(header_nbytes_max=10_000))
    future = client.submit(len, bytes(12_000))
    await wait(future)
    assert future.status == "error"
    await asyncio.wait_for(client.cancel(future), 1)
    assert future.cancelled()


@gen_cluster(client=True)
async def test_a_scatter_that_is_cancelled_leaves_nothing(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    for turns in range(12):
        scattering = asyncio.ensure_future(client.scatter([turns, bytes(100_000)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        scattering.cancel()
        await asyncio.wait([scattering])
        del scattering  # its traceback holds futures
        await until(lambda: not scheduler.machine.state.tasks and not any(len(worker.store) for worker in workers))


@gen_cluster(client=True)
async def test_only_so_many_workers_stay_connected(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.client.workers.WORKERS_MAX", 1)
    assert client._session is not None
    for worker in (a, b, a):
        assert await client.submit(bytes, 100_000, workers=worker.address, pure=False) == bytes(100_000)
        assert list(client._session.workers._links) == [worker.address]
    client._session.workers.forget(a.address)
    assert not client._session.workers._links
    assert await client.submit(bytes, 100_000, workers=a.address, pure=False) == bytes(100_000)


@gen_cluster(client=True)
async def test_many_results_are_released_in_pieces(
    client: Client, scheduler: Scheduler, *workers: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.client.session.RELEASE_COUNT", 7)
    many, few = client.map(inc, range(100), pure=False), [client.submit(inc, n, pure=False) for n in range(20)]
    alone = client.submit(inc, 1)
    await wait([*many, *few, alone])
    del many, few
    assert await client.submit(inc, 2) == 3
    await until(lambda: list(scheduler.machine.state.tasks) == [alone.key])
