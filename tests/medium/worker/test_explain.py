"""What a worker says of the tasks that it has, and what is said when it says nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from distributed import Client, wait
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import inc
from distributed.worker.explain import explain
from distributed.worker.server import Worker

GATE = threading.Event()


def hold(number: int) -> int:
    """Runs until the test opens the gate."""
    GATE.wait(30)
    return number


@gen_cluster(client=True)
async def test_a_task_that_gets_its_data_says_from_whom(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    opened = asyncio.Event()
    real = a.data.get_data

    async def late(stream: Any, keys: list[str], or_busy: bool = False) -> Any:
        await opened.wait()
        return await real(stream, keys, or_busy)

    a.add_handlers({"get_data": late})
    data = client.submit(inc, 1, key="data", workers=a.address)
    await wait(data)
    user = client.submit(inc, data, key="user", workers=b.address)
    await until(lambda: "user" in b.machine.state.tasks)
    answer = await client.why(user)
    assert (answer.state, answer.reason, answer.blockers) == ("processing", "fetching", ["data"])
    assert f"There it waits for 1 result(s) of other workers, first data from {a.address}." in answer
    opened.set()
    assert await user == 3


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_paused_worker_says_so(client: Client, scheduler: Scheduler, worker: Worker) -> None:
    GATE.clear()
    running = client.map(hold, range(1))
    await until(lambda: bool(worker.executor.running.keys()))
    worker.executor.gate.set_paused(True)
    future = client.submit(inc, 1, key="x")
    GATE.set()
    await wait(running)
    await until(lambda: "x" in worker.machine.state.tasks)
    answer = await client.why(future)
    assert answer.reason == "paused" and "It has not begun: the worker is paused" in answer
    worker.executor.gate.set_paused(False)
    assert await future == 2


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_what_is_not_here_is_not_explained(client: Client, scheduler: Scheduler, worker: Worker) -> None:
    assert explain("nothing", worker.machine, worker.executor) is None
    assert worker.explain(None, "nothing") == {}


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_worker_that_says_nothing_is_named(client: Client, scheduler: Scheduler, worker: Worker) -> None:
    async def never(stream: Any, key: str) -> Any:
        await asyncio.sleep(60)

    worker.add_handlers({"explain": never})
    GATE.clear()
    future = client.submit(hold, 1, key="x")
    await until(lambda: bool(worker.executor.running.keys()))
    answer = await client.why(future)
    assert (answer.reason, answer.blockers) == ("with-worker", [worker.address])
    assert answer.endswith("The worker did not answer within a second.")
    GATE.set()
    assert await future == 1
