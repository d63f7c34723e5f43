"""Workers that have less memory than work: data on disk, tasks that take too much, disks that are full."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from distributed import Client, KilledWorker, LocalCluster
from distributed.client import client as client_module
from distributed.errors import MemoryLimitExceeded
from distributed.testing.processes import Processes, wait_until

MB = 1_000_000
PATIENCE_S = 25.0


def make(number: int) -> Any:
    return numpy.full(10 * MB, number, "u1")


def total(left: Any, right: Any) -> int:
    return int(left[0]) + int(left[-1]) + int(right[0]) + int(right[-1])


def eat() -> None:
    """Takes more and more, slowly enough to be seen before the whole worker is over its limit."""
    parts = []
    while True:
        parts.append(bytearray(b"x" * MB))
        time.sleep(0.002)


def hold_on(nbytes: int) -> int:
    """Takes so much, and goes on whatever is raised."""
    block = bytearray(b"x" * nbytes)
    while True:
        try:
            while True:
                len(block)
        except BaseException as error:
            block[0] = len(str(error)) % 2


def take(nbytes: int) -> int:
    """Takes and gives back so much."""
    return len(bytearray(b"x" * nbytes))


def square(number: int) -> int:
    return number * number


@pytest.fixture
def client() -> Iterator[Client]:
    """Of one worker with one thread and 300 MB."""
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="300MB") as cluster, Client(cluster) as client:
        yield client


def worker_of(client: Client) -> dict[str, Any]:
    (worker,) = client.scheduler_info()["workers"].values()
    return worker


def test_a_worker_of_300_mb_computes_with_a_gigabyte(client: Client) -> None:
    numbers = list(client.map(make, range(100)))
    sums = [client.submit(total, left, right) for left, right in zip(numbers, numbers[1:] + numbers[:1], strict=True)]
    assert client.gather(sums) == [2 * (number + (number + 1) % 100) for number in range(100)]
    arrays = client.gather(numbers[40:50])
    assert [(int(array[0]), array.size) for array in arrays] == [(number, 10 * MB) for number in range(40, 50)]
    (worker,) = client.scheduler_info()["workers"].values()
    assert worker["pid"] == client.submit(os.getpid).result(PATIENCE_S)  # the one of the beginning: none was ended


def test_a_task_that_eats_everything_is_named_with_the_cause_and_others_live(client: Client) -> None:
    pid = worker_of(client)["pid"]
    bad = client.submit(eat, key="bad")
    good = client.map(square, range(50))
    with pytest.raises(
        KilledWorker, match=r"^bad is given up: 3 workers .* over 95% of its limit of 286 MiB"
    ) as caught:
        bad.result(PATIENCE_S)
    assert {certificate["signal"] for certificate in caught.value.certificates} == {signal.SIGKILL}
    assert [certificate["running"] for certificate in caught.value.certificates] == [["bad"]] * 3
    assert client.gather(good) == [number**2 for number in range(50)]
    assert worker_of(client)["pid"] != pid


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``limited(100)``: what is submitted from now on may take so many MB; None: as much as it wants."""
    limit: list[int | None] = [None]
    real = client_module.task_spec

    def task_spec(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **kwargs)._replace(memory_limit_nbytes=limit[0])

    monkeypatch.setattr(client_module, "task_spec", task_spec)

    def change(megabytes: int | None) -> None:
        limit[0] = None if megabytes is None else megabytes * MB

    return change


def test_a_task_over_its_own_limit_fails_and_its_worker_lives(client: Client, limited: Any) -> None:
    pid = worker_of(client)["pid"]
    others = client.map(square, range(100))
    limited(100)
    assert client.submit(take, 30 * MB).result(PATIENCE_S) == 30 * MB
    greedy, quick = client.submit(eat, key="greedy"), client.submit(take, 90 * MB)
    with pytest.raises(MemoryLimitExceeded, match=r"^greedy took \d+ MB of memory, more than its limit of 100 MB"):
        greedy.result(PATIENCE_S)
    with pytest.raises(MemoryLimitExceeded):  # twice 90 MB, for an instant
        quick.result(PATIENCE_S)
    limited(None)
    assert client.submit(take, 90 * MB, pure=False).result(PATIENCE_S) == 90 * MB
    assert client.gather(others) == [number**2 for number in range(100)]
    assert worker_of(client)["pid"] == pid


def test_a_task_that_cannot_be_interrupted_costs_its_process_and_is_named(client: Client, limited: Any) -> None:
    limited(50)
    stubborn = client.submit(hold_on, 80 * MB, key="stubborn")
    limited(None)
    others = client.map(square, range(20))
    with pytest.raises(KilledWorker, match=r"stubborn is given up: .*more than its limit of 50 MB") as caught:
        stubborn.result(PATIENCE_S)
    assert all("would not end: stubborn took" in str(each["cause"]) for each in caught.value.certificates)
    assert client.gather(others) == [number**2 for number in range(20)]


def forbid_files() -> int:
    """No file of this process may be bigger than 1 MB from now on: its disk is full, so to say."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MB, MB))
    return os.getpid()


def test_with_a_full_disk_results_stay_in_memory_and_are_right() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="600MB") as cluster, Client(cluster) as client:
        pid = client.submit(forbid_files).result(PATIENCE_S)
        numbers = list(client.map(make, range(38)))  # over 60 %, under 80 %
        sums = [client.submit(total, left, right) for left, right in zip(numbers, numbers, strict=True)]
        assert client.gather(sums) == [4 * number for number in range(38)]
        assert worker_of(client)["pid"] == pid


def test_files_of_a_worker_that_was_killed_are_gone(processes: Processes, tmp_path: Path) -> None:
    folder = tmp_path / "local"
    folder.mkdir()
    address = processes.address(processes.dscheduler())
    nanny = processes.dworker(f"{address} --nthreads 1 --memory-limit 300MB --local-directory {folder}")
    nanny.wait_said("registered with")
    with Client(address) as client:
        numbers = client.map(make, range(30))
        client.gather(client.map(total, numbers, numbers))
        wait_until(lambda: len(list(folder.glob("*/distributed-spill-*/*"))) > 5, "results are on disk")
        files = list(folder.glob("*/distributed-spill-*/*"))
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        os.kill(worker_of(client)["pid"], signal.SIGKILL)
        wait_until(lambda: not any(path.exists() for path in files), "they are gone")
        assert client.gather(client.map(total, numbers, numbers, pure=False)) == [4 * number for number in range(30)]
