"""Actors and streams in real worker processes, which are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from distributed import Client, LocalCluster
from distributed.errors import ActorLostError
from distributed.testing.processes import wait_until

CALLS = 2_000


class Counter:
    def __init__(self) -> None:
        self.n = 0
        self.array = np.zeros(0)

    def add(self, amount: int) -> int:
        self.n += amount
        return self.n

    def pid(self) -> int:
        return os.getpid()

    def keep(self, array: Any) -> int:
        self.array = array
        return len(array)

    def give(self) -> Any:
        return self.array

    def die(self) -> None:
        os._exit(1)


def hammer(counter: Any, times: int) -> list[int]:
    return [counter.add(1).result() for _ in range(times)]


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def die_at(count: int, fatal: int, mark: str) -> Iterator[int]:
    for number in range(count):
        if number == fatal and not os.path.exists(mark):
            with open(mark, "w"):
                os._exit(1)
        yield number


def test_two_tasks_and_the_program_count_with_one_actor() -> None:
    with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster) as client:
        counter = client.submit(Counter, actor=True).result()
        tasks = [client.submit(hammer, counter, 200, pure=False) for _ in range(4)]
        mine = [counter.add(1) for _ in range(CALLS)]
        seen = [number for task in client.gather(tasks) for number in task]
        seen += [future.result() for future in mine]
        assert sorted(seen) == list(range(1, CALLS + 801))
        assert [future.result() for future in mine] == sorted(future.result() for future in mine)


def test_big_arrays_go_in_and_out() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, Client(cluster) as client:
        counter = client.submit(Counter, actor=True).result()
        array = np.arange(8_000_000.0)
        assert counter.keep(array).result() == len(array)
        assert (counter.give().result() == array).all()


@pytest.mark.parametrize("way", ["kill", "exit"])
def test_the_actors_of_a_killed_process_are_lost(way: str) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        future = client.submit(Counter, actor=True, key="mortal")
        counter = future.result()
        pid = counter.pid().result()
        other = client.submit(Counter, actor=True).result()
        assert other.pid().result() != pid
        if way == "kill":
            os.kill(pid, signal.SIGKILL)
            calls = [counter.add(1) for _ in range(10)]
        else:
            calls = [counter.die(), *[counter.add(1) for _ in range(10)]]
        for call in calls:
            with pytest.raises(ActorLostError, match="the actor mortal on"):
                call.result(20)
        wait_until(lambda: future.status == "error", "the future hears of it")
        assert other.add(1).result() == 1
        wait_until(lambda: len(client.ncores()) == 2, "another worker is started")
        assert client.submit(Counter, actor=True).result().add(3).result() == 3


def test_a_stream_survives_its_worker(tmp_path: Any) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        mark = str(tmp_path / "died")
        assert list(client.stream(die_at, 300, 100, mark, retries=1)) == list(range(300))
        assert os.path.exists(mark)
        os.unlink(mark)
        stream = client.stream(die_at, 300, 100, mark)
        with pytest.raises(ActorLostError):
            list(stream)


def test_a_stream_needs_no_more_memory_than_its_window() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="400MB") as cluster, Client(cluster) as client:
        total = sum(int(block[0]) for block in client.stream(blocks, 100, ahead=2))  # 1.6 GB
        assert total == sum(range(100))
        assert len(client.ncores()) == 1


def blocks(count: int) -> Iterator[Any]:
    for number in range(count):
        yield np.full(2_000_000, number)
