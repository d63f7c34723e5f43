"""Recursions in real processes: how many threads and processes they take, and what the death of a worker costs."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from distributed import Client, LocalCluster, get_client
from distributed.testing.processes import Processes, wait_until

FIB_18 = 2584  # in 8,361 tasks
THREADS_MAX = 40


def fib(n: int) -> int:
    """With a task for every call."""
    if n < 2:
        return n
    client = get_client()
    one, other = client.submit(fib, n - 1, pure=False), client.submit(fib, n - 2, pure=False)
    return int(one.result() + other.result())


class Census:
    """Looks at a process and its children until the end of the ``with`` block: pids, and most threads of one."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.threads_max = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Census:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._is_over.wait(0.05):
            for process in me.children(recursive=True):
                self.pids.add(process.pid)
                try:
                    self.threads_max = max(self.threads_max, process.num_threads())
                except psutil.NoSuchProcess:
                    continue


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


@pytest.mark.timeout(170)
@pytest.mark.parametrize(("workers", "threads"), [(2, 1), (1, 2)])
def test_fib_of_18_in_two_slots_takes_few_threads_and_no_more_processes(workers: int, threads: int) -> None:
    others = _children()  # clusters of other tests
    with LocalCluster(n_workers=workers, threads_per_worker=threads) as cluster, Client(cluster) as client:
        client.submit(fib, 2).result()
        before = _children()
        with Census() as census:
            assert client.submit(fib, 18, pure=False).result(timeout=160) == FIB_18
        assert census.pids <= before  # the scheduler, the workers, and the two that watch and fork them
        assert len(before - others) == workers + 3
        assert 1 < census.threads_max <= THREADS_MAX
        wait_until(lambda: client.scheduler_info()["tasks"]["memory"] == 0, "all children are forgotten")


def parent(folder: str) -> int:
    """Waits for children that are only computed once, and for one that waits for a file."""
    with open(Path(folder) / "parents", "a") as file:
        file.write(f"{os.getpid()}\n")
    client = get_client()
    done = [client.submit(child, folder, number) for number in range(4)]
    total = sum(client.gather(done))
    return int(total + client.submit(patient, folder).result())


def child(folder: str, number: int) -> int:
    with open(Path(folder) / f"child-{number}", "a") as file:
        file.write("ran\n")
    return number


def patient(folder: str) -> int:
    (Path(folder) / "waits").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)
    return 100


def test_children_of_a_parent_that_dies_are_found_done_by_its_next_run(processes: Processes, tmp_path: Path) -> None:
    address = processes.address(processes.dscheduler("--worker-timeout 10m"))
    workers = processes.dworker(f"{address} --nworkers 2 --nthreads 1 --name w --local-directory .")
    workers.wait_said(r"(?s)(registered with.*){2}")
    with Client(address) as client:
        future = client.submit(parent, str(tmp_path))
        wait_until(lambda: (tmp_path / "waits").exists(), "the parent waits for its last child")
        (pid,) = (tmp_path / "parents").read_text().split()
        os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: len((tmp_path / "parents").read_text().split()) == 2, "the parent runs again")
        (tmp_path / "go").touch()
        assert future.result(timeout=60) == 106
        runs = [len((tmp_path / f"child-{number}").read_text().splitlines()) for number in range(4)]
        assert set(runs) <= {1, 2}  # again only what was lost with the worker
        wait_until(lambda: len(client.scheduler_info()["clients"]) <= 3, "the client of the dead worker is gone")
