"""Workers that run short of memory, or of disk: what they write, when they pause, what they give free."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from typing import Any

import numpy
import pytest

from distributed.client.client import Client
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.worker import keeper as keeper_module
from distributed.worker import memory
from distributed.worker.keeper import MemoryKeeper, memory_levels
from distributed.worker.memory import Levels
from distributed.worker.server import Worker
from distributed.worker.spill import SpillDisk

MB = 1_000_000
LEVELS = Levels.of(100 * MB, 0.6, 0.7, 0.8, 0.95)
ONE = [("127.0.0.1", 1)]
TINY: dict[str, Any] = {"memory_limit_nbytes": 50 * MB, "owns_process": False}  # this process is much bigger


def make(number: int) -> Any:
    return numpy.full(5 * MB, number, "u1")


def total(*arrays: Any) -> int:
    return sum(int(array[0]) + int(array[-1]) for array in arrays)


def folder_of(worker: Worker) -> str:
    disk = worker.memory._disk
    assert isinstance(disk, SpillDisk)
    assert disk.folder is not None
    return disk.folder


@gen_cluster(ONE, client=True, timeout=20, worker_options=TINY)
async def test_a_tiny_worker_computes_more_than_fits_right_and_frees_all(
    client: Client, scheduler: Scheduler, worker: Worker
) -> None:
    numbers = client.map(make, range(25))
    sums = client.map(total, numbers, list(numbers)[1:] + list(numbers)[:1])
    assert await client.gather(sums) == [2 * (number + (number + 1) % 25) for number in range(25)]
    assert worker.store.managed_nbytes <= 50 * MB
    folder = folder_of(worker)
    assert len(os.listdir(folder)) >= 15
    assert worker.memory.metrics()["spilled_nbytes"] >= 15 * 5 * MB
    arrays = await client.gather(numbers)  # straight from the files
    assert [int(array[7]) for array in arrays] == list(range(25))
    del numbers, sums
    await until(lambda: len(worker.store) == 0)
    await until(lambda: os.listdir(folder) == [])
    await worker.close()
    assert not os.path.exists(folder)


class FullDisk:
    """Takes nothing until it is mended."""

    def __init__(self, folder: str) -> None:
        self.disk = SpillDisk(folder)
        self.is_full = True
        self.tries = 0

    def write(self, key: str, payload: Any) -> Any:
        self.tries += 1
        if self.is_full:
            raise OSError(28, "No space left on device")
        return self.disk.write(key, payload)

    def remove(self, spilled: Any) -> None:
        self.disk.remove(spilled)

    def close(self) -> None:
        self.disk.close()


async def keep(keeper: MemoryKeeper, count: int) -> None:
    for number in range(count):
        keeper.keep([f"key-{number}"], [bytes(10 * MB)], [10 * MB])
    await asyncio.sleep(0)


async def test_a_full_disk_loses_nothing_is_told_once_and_tried_again(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "DISK_RETRY_S", 0.01)
    disk = FullDisk(str(tmp_path))
    keeper = MemoryKeeper(disk, LEVELS, owns_process=False)
    faults: list[BaseException] = []
    keeper.start(lambda paused: None, lambda paused: None, lambda: 0, faults.append)
    await keep(keeper, 9)
    await until(lambda: disk.tries >= 5)
    assert keeper.store.managed_nbytes == 90 * MB
    assert [record.levelname for record in caplog.records if "cannot be written" in record.message] == ["ERROR"]
    disk.is_full = False
    await until(lambda: keeper.store.managed_nbytes <= 60 * MB)
    assert [keeper.store.get(f"key-{number}") == bytes(10 * MB) for number in range(9)] == [True] * 9
    await keeper.close()
    assert faults == []
    assert list(tmp_path.iterdir()) == []


async def test_above_its_level_a_worker_pauses_until_there_is_room(tmp_path: Any) -> None:
    disk = FullDisk(str(tmp_path))
    keeper = MemoryKeeper(disk, LEVELS, owns_process=False)
    gates: list[bool] = []
    told: list[bool] = []
    keeper.start(gates.append, told.append, lambda: 0, told.append)
    await keep(keeper, 9)
    await until(lambda: told == [True])
    assert keeper.is_paused
    keeper.store.drop(["key-0", "key-1"])
    await until(lambda: told == [True, False])
    await until(lambda: gates[-1] is False)
    await keeper.close()


async def test_what_cannot_be_pickled_stays_and_the_rest_goes(tmp_path: Any) -> None:
    keeper = MemoryKeeper(SpillDisk(str(tmp_path)), LEVELS, owns_process=False)
    keeper.start(lambda paused: None, lambda paused: None, lambda: 0, pytest.fail)
    lock = threading.Lock()
    keeper.keep(["lock"], [lock], [10 * MB])
    await keep(keeper, 9)
    await until(lambda: keeper.store.managed_nbytes <= 60 * MB and not keeper._writing)
    assert keeper.store.get("lock") is lock
    await keeper.close()


async def test_a_thread_that_made_much_waits_before_the_loop_has_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [90 * MB]
    monkeypatch.setattr(keeper_module, "process_nbytes", lambda: used[0])
    keeper = MemoryKeeper(SpillDisk(None), LEVELS)
    gates: list[bool] = []
    keeper.start(gates.append, lambda paused: None, lambda: 0, pytest.fail)
    await until(lambda: gates[:2] == [True, True])  # the machine has looked once, and settled it
    used[0] = 10 * MB
    await until(lambda: gates[-1] is False)
    gates.clear()
    used[0] = 90 * MB
    keeper.after_big()
    assert gates == [True]
    used[0] = 10 * MB
    await until(lambda: gates[-1] is False)  # the machine did not agree
    await keeper.close()


def test_levels_come_from_limit_and_settings(change_settings: Any) -> None:
    assert memory_levels(None) is None
    assert memory_levels(0) is None
    assert memory_levels(1_000) == Levels(1_000, 600, 700, 800, 950)
    change_settings(memory_target_fraction="0", memory_terminate_fraction="1")
    assert memory_levels(1_000) == Levels(1_000, 0, 700, 800, 1_000)


class Result:
    """Something that can be referred to weakly."""


_results: list[weakref.ref[Result]] = []


def make_result() -> Result:
    result = Result()
    _results.append(weakref.ref(result))
    return result


@gen_cluster(ONE, client=True)
async def test_nothing_holds_a_result_but_the_store(client: Client, scheduler: Scheduler, worker: Worker) -> None:
    _results.clear()
    future = client.submit(make_result, pure=False)
    key = future.key
    await until(lambda: key in worker.store)
    gc.disable()  # references must be gone by themselves
    try:
        del future
        await until(lambda: _results[0]() is None)
    finally:
        gc.enable()
