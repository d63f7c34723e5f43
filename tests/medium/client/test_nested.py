"""Tasks that submit tasks and wait for them: the client they get, and that nothing waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from distributed import Client, as_completed, get_client, get_worker, rejoin, secede, wait, worker_client
from distributed.client import inside
from distributed.client.inside import WorkerClient
from distributed.errors import SelfWaitError, SessionLostError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.worker.server import Worker

PATIENCE_S = 30.0


def fib(n: int) -> int:
    """With a task for every call."""
    if n < 2:
        return n
    client = get_client()
    one, other = client.submit(fib, n - 1, pure=False), client.submit(fib, n - 2, pure=False)
    return int(one.result() + other.result())


def chain(n: int) -> int:
    """Each waits for the next."""
    return n if n == 0 else int(get_client().submit(chain, n - 1).result()) + 1


async def async_fib(n: int) -> int:
    """The same on the loop of async tasks."""
    if n < 2:
        return n
    client = get_client()
    one, other = client.submit(async_fib, n - 1, pure=False), client.submit(async_fib, n - 2, pure=False)
    return int(await one + await other)


def double(x: int) -> int:
    return 2 * x


def by_gather(n: int) -> list[int]:
    client = get_client()
    return list(client.gather(client.map(double, range(n))))


def by_wait(n: int) -> int:
    futures = list(get_client().map(double, range(n)))
    return len(wait(futures, timeout=PATIENCE_S).done)


def by_as_completed(n: int) -> int:
    return sum(future.result() for future in as_completed(list(get_client().map(double, range(n)))))


def wait_for_myself() -> Any:
    return get_client().submit(wait_for_myself).result()


async def await_myself() -> Any:
    return await get_client().submit(await_myself)


async def block_the_loop() -> Any:
    return get_client().submit(double, 1, pure=False, workers=["nowhere"]).result()  # there is nothing to have yet


def about_me() -> tuple[str, bool]:
    client = get_client()
    return get_worker().address, client is get_client() and isinstance(client, WorkerClient)


def with_worker_client(n: int) -> int:
    with worker_client() as client:
        return int(client.submit(double, n).result())


def secede_and_rejoin(n: int) -> int:
    secede()
    future = get_client().submit(double, n)
    value = future.result()
    rejoin()
    return int(value + get_client().submit(double, n + 1).result())


def parent_and_child(priority: int) -> list[Any]:
    worker, client = get_worker(), get_client()
    future = client.submit(options_of_me, priority=priority, pure=False)
    return [worker.name, future.result()]


def options_of_me() -> tuple[int, int]:
    from distributed.worker.context import current

    context = current()
    assert context is not None and context.task is not None
    return context.task.options.priority, context.task.options.depth


@pytest.fixture
def client(background: Any) -> Any:
    """Of two workers with a thread each."""
    with Client(background.address) as client:
        yield client


def test_a_recursion_in_two_slots_ends(client: Any) -> None:
    assert client.submit(fib, 9).result(PATIENCE_S) == 34


def test_a_recursion_of_async_tasks_ends(client: Any) -> None:
    assert client.submit(async_fib, 8).result(PATIENCE_S) == 21


def test_a_chain_longer_than_there_are_threads_ends(client: Any) -> None:
    assert client.submit(chain, 120).result(PATIENCE_S) == 120


@pytest.mark.parametrize("function", [by_gather, by_wait, by_as_completed])
def test_every_way_to_wait_lends_the_slot(client: Any, function: Any) -> None:
    futures = [client.submit(function, 5, pure=False) for _ in range(4)]
    for future in futures:
        assert future.result(PATIENCE_S) in ([0, 2, 4, 6, 8], 5, 20)


@pytest.mark.parametrize("function", [wait_for_myself, await_myself])
def test_a_task_that_waits_for_itself_is_told_at_once(client: Any, function: Any) -> None:
    with pytest.raises(SelfWaitError, match="waits for its own result"):
        client.submit(function).result(PATIENCE_S)


def test_an_async_task_cannot_block_the_loop_of_others(client: Any) -> None:
    with pytest.raises(RuntimeError, match="block the loop of all async tasks"):
        client.submit(block_the_loop).result(PATIENCE_S)


def test_all_tasks_of_a_worker_share_a_client_which_closes_with_it(background: Any, client: Any) -> None:
    addresses = set()
    for worker in background.workers:
        address, is_one = client.submit(about_me, workers=[worker.address], pure=False).result(PATIENCE_S)
        addresses.add(address)
        assert is_one and worker.companion.status == "running"
    assert addresses == {worker.address for worker in background.workers}
    assert get_client() is client  # those of tasks are not for the program
    companion = background.workers[0].companion
    background.thread.run(background.workers[0].close())
    assert companion.status == "closed"


def test_the_client_of_a_worker_that_only_seemed_dead_begins_anew(background: Any, client: Any) -> None:
    scheduler, worker = background.scheduler, background.workers[0]
    client.submit(about_me, workers=[worker.address]).result(PATIENCE_S)
    companion = worker.companion
    held = companion.submit(bytes, 100_000)  # too big to come along
    wait([held], timeout=PATIENCE_S)
    background.thread.run(_cut_off(scheduler, worker))
    background.thread.run(until(lambda: held.status == "lost" and companion.status == "running"))
    with pytest.raises(SessionLostError, match="waited no longer for this client"):
        held.result(PATIENCE_S)
    assert companion.submit(double, 5).result(PATIENCE_S) == 10
    assert client.submit(about_me, workers=[worker.address], pure=False).result(PATIENCE_S) == (worker.address, True)
    assert worker.companion is companion


async def _cut_off(scheduler: Any, worker: Any) -> None:
    """The connection of the worker ends, that of its client does not."""
    scheduler._workers[worker.address].close()


def test_a_client_for_a_while_and_a_slot_given_away(client: Any) -> None:
    assert client.submit(with_worker_client, 4).result(PATIENCE_S) == 8
    assert client.submit(secede_and_rejoin, 4).result(PATIENCE_S) == 18


def test_children_are_as_urgent_as_their_parents_and_deeper(client: Any) -> None:
    assert client.submit(parent_and_child, 0, priority=5).result(PATIENCE_S)[1] == (5, 1)
    assert client.submit(parent_and_child, 2, priority=5).result(PATIENCE_S)[1] == (7, 1)


def test_outside_of_tasks_there_is_no_client_of_a_worker() -> None:
    with pytest.raises(ValueError, match="no client is open"):
        get_client()
    with pytest.raises(ValueError, match="inside tasks only"), worker_client():
        pytest.fail("it was given one")


def test_the_scheduler_gives_lent_slots_to_others_and_keeps_account(background: Any, client: Any) -> None:
    client.submit(fib, 7).result(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    state = background.scheduler.machine.state
    while any(worker.processing for worker in state.workers.values()):
        assert time.monotonic() < deadline
    assert [(worker.lent, worker.lent_count) for worker in state.workers.values()] == [({}, 0), ({}, 0)]


def test_generators_and_async_generators_become_lists(client: Any) -> None:
    assert client.submit(squares, 4).result(PATIENCE_S) == [0, 1, 4, 9]
    assert client.submit(async_squares, 4).result(PATIENCE_S) == [0, 1, 4, 9]


def squares(n: int) -> Any:
    yield from (x * x for x in range(n))


async def async_squares(n: int) -> Any:
    for x in range(n):
        yield x * x


def ask_for_client() -> str:
    return get_client().name


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_task_that_is_cancelled_while_its_client_is_made_leaves_no_half_of_it(
    client: Client, scheduler: Scheduler, a: Worker, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, go = threading.Event(), threading.Event()

    def make(worker: Worker) -> WorkerClient:
        making.set()
        assert go.wait(PATIENCE_S)
        return WorkerClient(worker)

    monkeypatch.setattr(inside, "WorkerClient", make)
    future = client.submit(ask_for_client)
    assert await asyncio.to_thread(making.wait, PATIENCE_S)
    await future.cancel()
    assert await client.submit(double, 2) == 4  # its thread is free, though nothing is made yet
    go.set()
    await until(lambda: a.companion is not None)
    assert await client.submit(ask_for_client) == a.companion.name
