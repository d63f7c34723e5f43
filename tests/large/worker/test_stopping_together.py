"""Stops that meet something else in real processes: nested tasks, actors, data, and a restart of everything."""

from __future__ import annotations

import os
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy
import pytest

from distributed import Client, LocalCluster, get_client
from distributed.errors import ActorLostError
from distributed.testing.functions import inc
from distributed.testing.processes import wait_until

PATIENCE_S = 25.0


def note(path: str) -> None:
    """Says that the task has begun, and in which process."""
    Path(path).write_text(str(os.getpid()))


def spin(path: str) -> None:
    """A loop of Python."""
    note(path)
    while True:
        time.time()


def sleep(path: str) -> None:
    """A wait in C."""
    note(path)
    time.sleep(999)


def parent(folder: str, child: Any) -> Any:
    """Waits for two children that never end."""
    client = get_client()
    children = [client.submit(child, os.path.join(folder, f"{number}"), pure=False) for number in range(2)]
    return client.gather(children)


def fib(n: int) -> int:
    """With a task for every call."""
    if n < 2:
        return n
    client = get_client()
    one, other = client.submit(fib, n - 1, pure=False), client.submit(fib, n - 2, pure=False)
    return int(one.result() + other.result())


class Counter:
    def __init__(self) -> None:
        self.number = 0

    def add(self, amount: int) -> int:
        self.number += amount
        return self.number

    def pid(self) -> int:
        return os.getpid()


def wait_begun(folder: Path, count: int) -> set[int]:
    """The processes of so many tasks, when they have all begun."""
    paths = [folder / f"{number}" for number in range(count)]
    wait_until(lambda: all(path.exists() and path.read_text() for path in paths), f"{count} tasks run", PATIENCE_S)
    return {int(path.read_text()) for path in paths}


@pytest.mark.parametrize(("workers", "threads"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("child", [spin, sleep], ids=lambda function: function.__name__)
def test_with_force_a_parent_ends_and_its_children_too(tmp_path: Path, workers: int, threads: int, child: Any) -> None:
    with LocalCluster(n_workers=workers, threads_per_worker=threads) as cluster, Client(cluster) as client:
        [data] = client.scatter([numpy.arange(100_000.0)])
        future = client.submit(parent, str(tmp_path), child, pure=False)
        wait_begun(tmp_path, 2)
        future.cancel(force=True, reason="no longer needed")
        with pytest.raises(CancelledError, match="no longer needed"):
            future.result(PATIENCE_S)
        others = client.map(inc, range(20), pure=False)
        assert client.gather(others) == list(range(1, 21))  # every slot is free, or its process is another
        wait_until(lambda: len(client.ncores()) == workers, "all workers are there", PATIENCE_S)
        wait_until(lambda: not any(client.processing().values()), "nothing runs", PATIENCE_S)
        assert data.result(PATIENCE_S).sum() == numpy.arange(100_000.0).sum()


@pytest.mark.parametrize("function", [spin, sleep], ids=lambda function: function.__name__)
def test_a_restart_ends_whatever_runs_and_leaves_a_cluster_that_works(tmp_path: Path, function: Any) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        queued = client.map(inc, range(1000, 1100), pure=False)
        client.gather(queued)
        running = [client.submit(function, str(tmp_path / f"{number}"), pure=False) for number in range(2)]
        waiting = client.map(inc, range(100), pure=False)
        pids = wait_begun(tmp_path, 2)
        client.restart(timeout=PATIENCE_S)
        assert len(client.ncores()) == 2
        for future in [*running, *waiting, *queued]:
            with pytest.raises(CancelledError):
                future.result(PATIENCE_S)
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "they are gone", PATIENCE_S)
        assert client.gather(client.map(inc, range(20))) == list(range(1, 21))


def test_a_restart_ends_parents_with_their_children(tmp_path: Path) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        future = client.submit(parent, str(tmp_path), spin, pure=False)
        wait_begun(tmp_path, 2)
        client.restart(timeout=PATIENCE_S)
        with pytest.raises(CancelledError):
            future.result(PATIENCE_S)
        assert client.submit(fib, 6, pure=False).result(PATIENCE_S) == 8
        wait_until(lambda: len(client.scheduler_info()["clients"]) <= 3, "old workers' clients are gone", PATIENCE_S)


def test_an_actor_is_lost_with_its_process_and_data_are_not(tmp_path: Path) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, Client(cluster) as client:
        array = numpy.arange(500_000.0)
        [big, small] = client.scatter([array, {"one": 1}])
        actor = client.submit(Counter, actor=True, key="beside")
        counter = actor.result(PATIENCE_S)
        future = client.submit(sleep, str(tmp_path / "0"), pure=False)
        pids = wait_begun(tmp_path, 1)
        assert {counter.pid().result(PATIENCE_S)} == pids
        future.cancel(force=True)
        wait_until(lambda: not os.path.exists(f"/proc/{min(pids)}"), "the process is replaced", PATIENCE_S)
        with pytest.raises(ActorLostError, match="the actor beside on"):
            counter.add(1).result(PATIENCE_S)
        wait_until(lambda: actor.status == "error", "its future hears of it", PATIENCE_S)
        assert isinstance(actor.exception(PATIENCE_S), ActorLostError)
        assert "is lost" in client.why("beside")
        assert (big.result(PATIENCE_S) == array).all()
        assert small.result(PATIENCE_S) == {"one": 1}
        assert client.submit(Counter, actor=True).result(PATIENCE_S).add(1).result(PATIENCE_S) == 1


def test_an_actor_lives_on_if_the_task_beside_it_can_be_interrupted(tmp_path: Path) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, Client(cluster) as client:
        counter = client.submit(Counter, actor=True).result(PATIENCE_S)
        future = client.submit(spin, str(tmp_path / "0"), pure=False)
        wait_begun(tmp_path, 1)
        assert counter.add(1).result(PATIENCE_S) == 1
        future.cancel(force=True)
        with pytest.raises(CancelledError):
            future.result(PATIENCE_S)
        assert client.submit(inc, 1, pure=False).result(PATIENCE_S) == 2
        assert counter.add(1).result(PATIENCE_S) == 2
