"""What a nanny can be asked to do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from distributed import Client
from distributed.core import connect, read, rpc, write
from distributed.testing.processes import Processes, Started, wait_until


@dataclass(slots=True)
class Guarded:
    """A nanny at `address`, its worker, and a client of their scheduler."""

    processes: Processes
    dworker: Started
    address: str
    client: Client

    def folders(self) -> list[Path]:
        return list(self.processes.folder.glob("distributed-worker-*"))


@pytest.fixture
def guarded(processes: Processes) -> Iterator[Guarded]:
    scheduler = processes.address(processes.dscheduler())
    dworker = processes.dworker(f"{scheduler} --nthreads 1 --local-directory .")
    dworker.wait_said("registered with")
    with Client(scheduler) as client:
        (worker,) = client.scheduler_info()["workers"].values()
        yield Guarded(processes, dworker, worker["nanny"], client)


def test_kill_ends_the_worker_for_good_and_may_be_said_twice(guarded: Guarded) -> None:
    async def tell() -> None:
        async with rpc(guarded.address) as nanny:
            assert (await nanny.identity())["worker"] == next(iter(guarded.client.ncores()))
            assert [await nanny.kill(), await nanny.kill()] == ["OK", "OK"]
            assert (await nanny.identity())["worker"] is None

    asyncio.run(tell())
    wait_until(lambda: guarded.client.ncores() == {}, "the scheduler hears of it")
    assert guarded.folders() == []
    assert guarded.dworker.process.poll() is None
    assert guarded.dworker.end(timeout_s=3) == 0


def test_a_task_is_not_blamed_for_a_worker_that_was_killed_on_purpose(guarded: Guarded) -> None:
    future = guarded.client.submit(lambda: time.sleep(0.2) or os.getpid())

    async def tell() -> None:
        async with rpc(guarded.address) as nanny:
            for _ in range(4):
                while guarded.client.scheduler_info()["tasks"]["processing"] == 0:
                    await asyncio.sleep(0.01)
                await nanny.kill()
                await nanny.instantiate()

    asyncio.run(tell())
    assert future.result(20) > 0


def test_a_worker_can_be_started_again_but_not_twice(guarded: Guarded) -> None:
    async def tell() -> None:
        async with rpc(guarded.address) as nanny:
            with pytest.raises(ValueError, match=r"a worker is alive already, process \d+; kill it first"):
                await nanny.instantiate()
            await nanny.kill()
            answers = await asyncio.gather(nanny.instantiate(), nanny.instantiate(), return_exceptions=True)
            assert sorted(type(answer).__name__ for answer in answers) == ["ValueError", "str"]

    asyncio.run(tell())
    wait_until(lambda: len(guarded.client.ncores()) == 1, "it has joined again")
    assert guarded.client.submit(pow, 2, 10).result() == 1024
    assert len(guarded.folders()) == 1


def test_terminate_answers_and_then_ends_everything(guarded: Guarded) -> None:
    async def tell() -> None:
        async with rpc(guarded.address) as nanny:
            assert await nanny.terminate() == "OK"

    asyncio.run(tell())
    assert guarded.dworker.wait(3) == 0
    assert guarded.folders() == []


def test_terminate_answers_also_when_no_worker_is_left_to_end(guarded: Guarded) -> None:
    async def tell() -> None:
        async with rpc(guarded.address) as nanny:
            await nanny.kill()
            assert await nanny.terminate() == "OK"

    asyncio.run(tell())
    assert guarded.dworker.wait(3) == 0


def test_resources_are_told_until_the_stream_closes(guarded: Guarded) -> None:
    async def watch() -> None:
        stream = await connect(guarded.address)
        await write(stream, {"op": "monitor_resources", "interval": 0})
        first = await read(stream)
        assert first["pid"] == guarded.client.submit(os.getpid).result()
        assert first["memory_nbytes"] > 2**20
        assert first["num_threads"] >= 1
        assert first["cpu_percent"] >= 0
        async with rpc(guarded.address) as nanny:
            await nanny.kill()
            while (await read(stream))["pid"] is not None:
                pass
            await nanny.instantiate()
            while (await read(stream))["pid"] in (None, first["pid"]):
                pass
        stream.close()

    asyncio.run(asyncio.wait_for(watch(), 20))
    assert guarded.dworker.end(timeout_s=3) == 0
    assert "Traceback" not in guarded.dworker.said()
