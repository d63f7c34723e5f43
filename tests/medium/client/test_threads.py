"""Tasks of several threads, on real workers: ``threads=``."""

from __future__ import annotations

import threading
import time

import pytest

from distributed import Client, get_worker
from distributed.errors import BadRequestError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.worker.server import Worker

PATIENCE_S = 30.0

_lock = threading.Lock()
_running = {"now": 0, "most": 0}
_gates: dict[str, threading.Event] = {}


def busy(number: int, threads: int, seconds: float = 0.01) -> int:
    """Counts the threads that are taken while it runs."""
    with _lock:
        _running["now"] += threads
        _running["most"] = max(_running["most"], _running["now"])
    time.sleep(seconds)
    with _lock:
        _running["now"] -= threads
    return number


def wait_at(gate: str) -> str:
    assert _gates[gate].wait(PATIENCE_S)
    return gate


def parent(n: int) -> int:
    if n < 2:
        return n
    client = get_worker_client()
    return sum(client.gather([client.submit(parent, n - 1, threads=2), client.submit(parent, n - 2)]))


def get_worker_client() -> Client:
    from distributed import get_client

    return get_client()


@gen_cluster(client=True, ncores=[("127.0.0.1", 4)])
async def test_d13_a_worker_never_runs_more_threads_than_it_has(
    client: Client, scheduler: Scheduler, worker: Worker
) -> None:
    """D13: resource offer + matching (platform glob, threads, memory, strict): threads, the engine's half"""
    _running.update(now=0, most=0)
    wide = client.map(busy, range(20), [3] * 20, threads=3)
    pairs = client.map(busy, range(100, 120), [2] * 20, threads=2)
    single = client.map(busy, range(200, 240), [1] * 40)
    assert await client.gather([*wide, *pairs, *single]) == [*range(20), *range(100, 120), *range(200, 240)]
    assert 3 <= _running["most"] <= 4


@gen_cluster(client=True, ncores=[("127.0.0.1", 1), ("127.0.0.1", 3)])
async def test_only_a_worker_with_so_many_threads_gets_it(
    client: Client, scheduler: Scheduler, one: Worker, three: Worker
) -> None:
    where = await client.gather(client.map(lambda n: get_worker().nthreads, range(6), threads=2))
    assert where == [3] * 6
    future = client.submit(pow, 2, 2, threads=8)
    await until(lambda: scheduler.machine.state.queues)
    assert "with 8 threads of one worker" in str(await client.why(future))


@gen_cluster(client=True, ncores=[("127.0.0.1", 2)])
async def test_tasks_of_several_threads_that_wait_for_others_lend_all(
    client: Client, scheduler: Scheduler, worker: Worker
) -> None:
    assert await client.submit(parent, 7, threads=2) == 13


@gen_cluster(client=True, ncores=[("127.0.0.1", 2)])
async def test_one_that_is_cancelled_while_it_waits_for_threads_never_begins(
    client: Client, scheduler: Scheduler, worker: Worker
) -> None:
    _gates["first"], _gates["second"] = threading.Event(), threading.Event()
    worker.allow(1)
    wide = client.submit(wait_at, "second", threads=2)
    await until(lambda: worker.executor.queue_length() == 0 and wide.key in worker.machine.state.tasks)
    assert worker.executor.demand() == (0, 2, 2)  # it waits for two, and has none meanwhile
    await wide.cancel()
    worker.allow(2)
    assert await client.submit(busy, 1, 1) == 1
    await until(lambda: worker.executor.demand()[:2] == (0, 0))


@gen_cluster(client=True, ncores=[("127.0.0.1", 2)])
async def test_a_worker_that_is_allowed_fewer_slots_goes_on_with_what_runs(
    client: Client, scheduler: Scheduler, worker: Worker
) -> None:
    gates = [f"gate-{number}" for number in range(4)]
    _gates.update((gate, threading.Event()) for gate in gates)
    futures = client.map(wait_at, gates)
    await until(lambda: len(worker.executor.running.keys()) == 2)
    worker.allow(0)
    assert worker.executor.demand()[0] == 2
    for gate in gates[:2]:
        _gates[gate].set()
    assert await client.gather(futures[:2]) == gates[:2]
    await until(lambda: worker.executor.demand()[:2] == (0, 2))
    assert worker.executor.running.keys() == []
    worker.allow(1)
    await until(lambda: worker.executor.running.keys() == [futures[2].key])
    worker.allow(2)
    await until(lambda: len(worker.executor.running.keys()) == 2)
    for gate in gates[2:]:
        _gates[gate].set()
    assert await client.gather(futures[2:]) == gates[2:]


@gen_cluster(client=True, ncores=[("127.0.0.1", 4)])
async def test_a_task_wider_than_there_will_ever_be_slots_takes_all_of_them(
    client: Client, scheduler: Scheduler, worker: Worker
) -> None:
    worker.allow(2, most=2)
    assert await client.submit(busy, 5, 2, threads=4) == 5


@gen_cluster(client=True, ncores=[("127.0.0.1", 2)])
async def test_bad_numbers_of_threads_are_refused(client: Client, scheduler: Scheduler, worker: Worker) -> None:
    with pytest.raises(ValueError, match="threads=0"):
        client.submit(pow, 2, 2, threads=0)
    with pytest.raises(BadRequestError, match="threads='2'"):
        client.map(pow, [2], [2], threads="2")  # type: ignore[arg-type]
    for option in ("actor", "redundant"):
        with pytest.raises(BadRequestError, match="threads=2"):
            client.submit(pow, 2, 2, threads=2, **{option: True})
