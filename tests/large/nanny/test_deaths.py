"""Workers that die: who notices, what becomes of the tasks, who starts them again, and when nobody does any more."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from distributed import Client, KilledWorker
from distributed.testing.processes import Processes, wait_until


class Guarded:
    """A scheduler, one worker with one thread and its nanny, and a client."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.scheduler = processes.dscheduler()
        self.address = processes.address(self.scheduler)
        self.nanny = processes.dworker(f"{self.address} --nthreads 1 --name w --local-directory .")
        self.nanny.wait_said("registered with")
        self.client = Client(self.address)

    def worker(self) -> dict[str, Any] | None:
        """What the scheduler says about the worker; None if there is none."""
        return next(iter(self.client.scheduler_info()["workers"].values()), None)

    def pid(self) -> int:
        worker = self.worker()
        assert worker is not None
        pid: int = worker["pid"]
        return pid


@pytest.fixture
def guarded(processes: Processes) -> Iterator[Guarded]:
    guarded = Guarded(processes)
    with guarded.client:
        yield guarded


def test_the_tasks_of_a_worker_that_was_killed_run_again(guarded: Guarded) -> None:
    def square(x: int) -> int:
        time.sleep(0.01)
        return x * x

    futures = guarded.client.map(square, range(50))
    wait_until(lambda: guarded.client.scheduler_info()["tasks"]["memory"] > 3, "it works")
    os.kill(guarded.pid(), signal.SIGKILL)
    assert guarded.client.gather(futures) == [x * x for x in range(50)]
    guarded.nanny.wait_said(r"worker tcp://\S+ \(process \d+\) died: signal SIGKILL")


def killer(way: str) -> Any:
    """A task that kills its worker."""
    if way == "signal":
        return lambda: os.kill(os.getpid(), signal.SIGKILL)
    if way == "exit":
        return lambda: (print("last words", file=sys.stderr, flush=True), os._exit(3))
    return lambda: ctypes.string_at(0)


@pytest.mark.parametrize(
    ("way", "cause"), [("signal", "signal SIGKILL"), ("exit", "exit code 3"), ("segfault", "signal SIGSEGV")]
)
def test_a_task_that_kills_its_worker_is_given_up_after_three(guarded: Guarded, way: str, cause: str) -> None:
    bad = guarded.client.submit(killer(way), key="bad")
    good = guarded.client.map(pow, range(50), range(50))
    expected = f"bad is given up: 3 workers died while it ran, the last one of: {cause}"
    with pytest.raises(KilledWorker, match=expected) as caught:
        bad.result(20)
    error = caught.value
    assert (error.key, error.deaths) == ("bad", 3)
    assert [certificate["cause"] for certificate in error.certificates] == [cause] * 3
    assert [certificate["running"] for certificate in error.certificates] == [["bad"]] * 3
    assert len({certificate["pid"] for certificate in error.certificates}) == 3
    if way == "exit":
        assert error.certificates[-1]["stderr"][-1] == "last words"
        assert str(error).endswith("\n  last words")
    assert guarded.client.gather(good) == [x**x for x in range(50)]
    assert guarded.nanny.process.poll() is None


def test_many_bad_tasks_do_not_wear_out_the_nanny(guarded: Guarded) -> None:
    def die(number: int) -> None:
        os._exit(number + 1)

    futures = guarded.client.map(die, range(5))
    errors = [future.exception(20) for future in futures]
    assert [type(error) for error in errors] == [KilledWorker] * 5
    assert guarded.client.submit(pow, 2, 10).result(20) == 1024


def test_leaving_python_is_a_failure_of_that_task_only(guarded: Guarded) -> None:
    pid = guarded.pid()
    error = guarded.client.submit(sys.exit, 3).exception()
    assert "SystemExit" in str(error)
    assert guarded.client.submit(os.getpid).result() == pid


def test_what_a_task_started_ends_with_its_worker(guarded: Guarded) -> None:
    guarded.client.submit(lambda: subprocess.Popen(["sleep", "77"]) and None).result()
    processes = guarded.processes
    assert "sleep 77" in str(processes.alive())
    os.kill(guarded.pid(), signal.SIGKILL)
    wait_until(lambda: "sleep 77" not in str(processes.alive()), processes.alive)
    wait_until(lambda: guarded.worker(), "it is replaced")
    guarded.client.submit(lambda: subprocess.Popen(["sleep", "78"]) and None).result()
    assert guarded.nanny.end() == 0
    wait_until(lambda: list(processes.alive()) == [guarded.scheduler.pid], processes.alive)


def test_a_dead_worker_leaves_no_folder(guarded: Guarded) -> None:
    (before,) = guarded.processes.folder.glob("distributed-worker-*")
    os.kill(guarded.pid(), signal.SIGKILL)
    wait_until(lambda: not before.exists(), "the folder is removed")
    wait_until(lambda: len(list(guarded.processes.folder.glob("distributed-worker-*"))) == 1, "the next life has one")


def test_a_stopped_worker_is_not_dead(guarded: Guarded) -> None:
    pid = guarded.pid()
    os.kill(pid, signal.SIGSTOP)
    future = guarded.client.submit(pow, 2, 10)
    os.kill(pid, signal.SIGCONT)
    assert future.result() == 1024
    assert guarded.pid() == pid


CRASH_LOOP = """
import asyncio, os, sys
from distributed.errors import WorkerStartError
from distributed.nanny import Nanny, RestartPolicy
from distributed.process.zygote import Zygote

def die(options, status, life):
    print("no such library", file=sys.stderr)
    os._exit(7)

async def main():
    zygote.attach()
    nanny = await Nanny("127.0.0.1:1", zygote, policy=RestartPolicy(quick_deaths_max=4, pause_s_first=0.01)).start()
    try:
        await nanny.wait_registered()
    except WorkerStartError as error:
        print(error)

zygote = Zygote({"worker": die})
asyncio.run(main())
zygote.close()
"""


def test_a_worker_that_cannot_live_is_given_up(processes: Processes) -> None:
    program = processes.python("-W", "error", "-c", CRASH_LOOP)
    assert program.wait() == 0, program.said()
    assert program.said().endswith("4 workers died one after another, the last of exit code 7\n")
    assert program.said().count("no such library") >= 4
    assert "Traceback" not in program.said()
    processes.wait_nothing_left()
