"""A nanny whose scheduler it cannot reach: what it and its worker say goes over streams that were dialled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from distributed import Client, get_client
from distributed.nanny import Nanny
from distributed.process.fresh import FreshZygote
from distributed.process.restart_policy import RestartPolicy
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import until

PATIENCE_S = 30.0


def fib(n: int) -> int:
    if n < 2:
        return n
    client = get_client()
    return sum(client.gather([client.submit(fib, n - 1), client.submit(fib, n - 2)]))


def die_once(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "after a death"


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[Scheduler, Nanny, Client]]:
    """A scheduler that nothing outside of this process can reach, and a nanny with a worker in a process of its own."""
    scheduler = Scheduler()
    scheduler.listen("inproc://of-a-main")
    zygote = FreshZygote({"worker": "distributed.worker.process:run_worker_child"})
    zygote.attach()
    nanny = Nanny(
        scheduler.dialled_address, zygote, worker_options={"nthreads": 2}, policy=RestartPolicy(pause_s_first=0.01)
    )
    try:
        await nanny.start()
        scheduler.dial(nanny.address)
        await asyncio.wait_for(nanny.wait_registered(), PATIENCE_S)
        async with Client(scheduler.address, asynchronous=True) as client:
            yield scheduler, nanny, client
    finally:
        await nanny.close()
        await scheduler.close()
        zygote.close()


def test_d15_a_dialled_worker_that_dies_is_replaced_and_its_tasks_run_again(tmp_path: Path) -> None:
    """D15: worker leaves/returns at will, Main requeues: certificate and next life, with nobody who can be reached"""

    async def run() -> None:
        async with guarded() as (scheduler, nanny, client):
            assert await client.submit(fib, 6) == 8
            before = nanny.worker_address
            future = client.submit(die_once, str(tmp_path / "died"))
            assert await future == "after a death"
            assert scheduler.machine.state.tasks[future.key].deaths == 1  # so says the certificate
            assert nanny.worker_address not in (None, before)
            await until(lambda: before not in scheduler._dialler._lines)
            assert set(scheduler._dialler._lines) == {nanny.address, nanny.worker_address}

    asyncio.run(run())
