"""Workers that go in order: SIGTERM, --lifetime and --grace, and what becomes of their tasks and data."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from distributed import Client, Future
from distributed.testing.processes import Processes, Started, wait_until

GUARDS = pytest.mark.parametrize("guard", ["--nanny", "--no-nanny"])


def cluster(processes: Processes, *options: str) -> tuple[str, list[Started]]:
    """The address of a scheduler, and one worker per text of options that have joined it."""
    address = processes.address(processes.dscheduler())
    workers = [processes.dworker(f"{address} --nthreads 1 {option}") for option in options]
    for worker in workers:
        worker.wait_said("registered with")
    return address, workers


def begin(processes: Processes, client: Client, name: str, seconds: float, **options: Any) -> Future:
    """A task that sleeps, and has begun to."""
    marker = processes.folder / name
    future = client.submit(lambda: marker.touch() or time.sleep(seconds), key=name, **options)
    wait_until(marker.exists, f"{name} runs")
    return future


@GUARDS
def test_what_only_a_retiring_worker_holds_stays_and_what_runs_there_ends(processes: Processes, guard: str) -> None:
    address, (leaver, _) = cluster(processes, f"--name leaver {guard}", "--name stayer")
    with Client(address) as client:
        kept = client.submit(bytes, 100_000, workers="leaver")
        kept.result()
        running = begin(processes, client, "running", 1.0, workers=["leaver"])
        waiting = client.map(pow, range(50), [2] * 50)
        assert leaver.end() == 0
        assert "died" not in leaver.said()
        assert len(client.ncores()) == 1
        assert running.done(), "it was not waited for"
        assert client.gather(waiting) == [number**2 for number in range(50)]
        assert len(client.who_has([kept])[kept.key]) == 1
        assert len(kept.result()) == 100_000


@GUARDS
def test_a_lifetime_ends_a_worker(processes: Processes, guard: str) -> None:
    _, (worker,) = cluster(processes, f"--lifetime 1s --lifetime-stagger 500ms {guard}")
    assert worker.wait() == 0
    assert "died" not in worker.said()
    assert "Traceback" not in worker.said()


@GUARDS
def test_a_task_that_outlasts_the_grace_runs_again_elsewhere(processes: Processes, guard: str) -> None:
    address, (leaver, _) = cluster(processes, f"--name leaver --grace 500ms {guard}", "--name stayer")
    with Client(address) as client:
        endless = begin(processes, client, "endless", 600, workers=["leaver"])
        elsewhere = begin(processes, client, "elsewhere", 600)
        leaver.send(signal.SIGTERM)
        leaver.wait_said("tasks or data that nobody took over in 0.5 s")
        assert leaver.wait() == 0
        assert not endless.done()
        assert not elsewhere.done()


@GUARDS
def test_a_second_signal_ends_the_wait(processes: Processes, guard: str) -> None:
    address, (leaver, _) = cluster(processes, f"--name leaver --grace 10m {guard}", "--name stayer")
    with Client(address) as client:
        future = begin(processes, client, "endless", 600, workers=["leaver"])
        leaver.send(signal.SIGTERM)
        leaver.wait_said("retiring: SIGTERM")
        assert leaver.end(signal.SIGTERM) == -signal.SIGTERM
        wait_until(lambda: len(client.ncores()) == 1, client.ncores)
        assert not future.done()


def test_a_cluster_that_is_shut_down_does_not_wait(processes: Processes) -> None:
    scheduler = processes.dscheduler()
    address = processes.address(scheduler)
    worker = processes.dworker(f"{address} --nthreads 1 --grace 10m")
    worker.wait_said("registered with")
    with Client(address) as client:
        future = begin(processes, client, "endless", 600)
        assert scheduler.end() == 0
        assert worker.wait() == 0
        assert future.status == "lost"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--lifetime soon", "--lifetime"),
        ("--grace x", "--grace"),
        ("--lifetime 1m --lifetime-stagger 2m", "longer than"),
    ],
)
def test_a_duration_that_cannot_be_used_is_named(processes: Processes, options: str, text: str) -> None:
    worker = processes.dworker(f"127.0.0.1:1 {options}")
    assert worker.wait() == 1
    assert text in worker.said()
    assert "Traceback" not in worker.said()
