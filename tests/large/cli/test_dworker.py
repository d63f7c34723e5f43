"""dworker as a process: joining, waiting, being refused, options, and ending with nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from distributed import Client
from distributed.testing.processes import Processes, Started, wait_until


def joined(processes: Processes, options: str = "", **keywords: Any) -> tuple[Started, str, Started]:
    """A scheduler, its address, and a worker that has joined it."""
    scheduler = processes.dscheduler()
    address = processes.address(scheduler)
    worker = processes.dworker(f"{address} --nthreads 1 {options}", **keywords)
    worker.wait_said("registered with")
    return scheduler, address, worker


def worker_pid(client: Client) -> int:
    (worker,) = client.scheduler_info()["workers"].values()
    pid: int = worker["pid"]
    return pid


@pytest.mark.parametrize("guard", ["--nanny", "--no-nanny"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_worker_politely(processes: Processes, number: int, guard: str) -> None:
    scheduler, _, worker = joined(processes, guard)
    assert worker.end(number) == 0
    assert "Traceback" not in worker.said()
    scheduler.wait_said(r"INFO .*worker tcp://\S+ left: SIG(INT|TERM)")
    wait_until(lambda: list(processes.alive()) == [scheduler.pid], processes.alive)


@pytest.mark.parametrize(("number", "guard"), [(signal.SIGTERM, "--nanny"), (signal.SIGINT, "--no-nanny")])
def test_a_signal_ends_a_worker_that_is_busy(processes: Processes, number: int, guard: str) -> None:
    _, address, worker = joined(processes, guard)
    with Client(address) as client:
        client.submit(pow, 2, 2).result()
        future = client.submit(time.sleep, 30)
        wait_until(lambda: client.scheduler_info()["tasks"]["processing"] == 1, "it runs")
        assert worker.end(number, timeout_s=6) == 0
        assert "Traceback" not in worker.said()
        assert not future.done()


def test_a_worker_that_has_spoken_with_peers_ends_at_once(processes: Processes) -> None:
    _, address, worker = joined(processes, "--nworkers 2 --name w")
    worker.wait_said(r"(?s)(registered with.*){2}")
    with Client(address) as client:
        future = client.submit(bytes, 100_000, workers="w-0")
        assert client.submit(len, future, workers="w-1").result() == 100_000
        assert worker.end(timeout_s=3) == 0, "it needed to be killed"
    assert "Traceback" not in worker.said()


def test_a_worker_waits_for_its_scheduler_and_says_so(processes: Processes) -> None:
    port = free_port()
    worker = processes.dworker(f"127.0.0.1:{port} --nthreads 1 --no-nanny")
    worker.wait_said(rf"waiting for the scheduler at tcp://127.0.0.1:{port}: .*refused")
    scheduler = processes.dscheduler(f"--port {port}")
    worker.wait_said("registered with")
    with Client(f"127.0.0.1:{port}") as client:
        assert client.submit(pow, 2, 10).result() == 1024
    assert scheduler.end() == 0
    assert worker.wait() == 0


def test_a_signal_ends_a_worker_that_waits_for_its_scheduler(processes: Processes) -> None:
    worker = processes.dworker(f"127.0.0.1:{free_port()} --nthreads 1")
    worker.wait_said("waiting for the scheduler")
    assert worker.end(timeout_s=2) == 0
    assert "Traceback" not in worker.said()
    processes.wait_nothing_left()


def test_a_worker_that_others_may_not_reach_says_so(processes: Processes) -> None:
    worker = processes.dworker("tcp://nobody.invalid:1 --nthreads 1 --no-nanny")
    worker.wait_said(r"WARNING .*listens on 127\.0\.0\.1: others reach it only if they run on this machine; see --host")
    worker.end(signal.SIGTERM)


@pytest.mark.parametrize("guard", ["--nanny", "--no-nanny"])
def test_workers_outlive_a_scheduler_that_was_killed_and_rejoin(processes: Processes, guard: str) -> None:
    port = free_port()
    scheduler = processes.dscheduler(f"--port {port}")
    processes.address(scheduler)
    worker = processes.dworker(f"127.0.0.1:{port} --nthreads 1 --local-directory . {guard}")
    worker.wait_said("registered with")
    folders = list(processes.folder.glob("distributed-worker-*"))
    scheduler.end(signal.SIGKILL)
    worker.wait_said("lost the scheduler")
    scheduler = processes.dscheduler(f"--port {port}")
    worker.wait_said(r"(?s)(registered with.*){2}")
    with Client(f"127.0.0.1:{port}") as client:
        assert client.submit(pow, 2, 10).result() == 1024
    scheduler.end(signal.SIGKILL)
    assert list(processes.folder.glob("distributed-worker-*")) == folders
    worker.wait_said(r"(?s)(lost the scheduler.*){2}")
    assert worker.end(timeout_s=3) == 0
    assert "Traceback" not in worker.said()
    assert list(processes.folder.glob("distributed-worker-*")) == []
    processes.wait_nothing_left()


@pytest.mark.parametrize("guard", ["--nanny", "--no-nanny"])
def test_another_key_is_told_with_its_cure_and_is_no_crash_loop(processes: Processes, guard: str) -> None:
    scheduler = processes.dscheduler()
    other = {"DISTRIBUTED_KEY_FILE": str(processes.folder / "other-key")}
    worker = processes.dworker(f"{processes.address(scheduler)} --nthreads 1 {guard}", env=other)
    assert worker.wait(5) == 3
    assert re.search(r"^error: .*different key; both sides need the same key file", worker.said(), re.MULTILINE)
    assert "Traceback" not in worker.said()
    assert "died" not in worker.said()


@pytest.mark.parametrize("guard", ["--nanny", "--no-nanny"])
def test_a_name_that_is_taken_is_told_and_is_no_crash_loop(processes: Processes, guard: str) -> None:
    _, address, first = joined(processes, "--name alice")
    second = processes.dworker(f"{address} --nthreads 1 --name alice {guard}")
    assert second.wait(5) == 1
    assert re.search(r"^error: name taken, 'alice': .*choose another --name", second.said(), re.MULTILINE)
    assert "Traceback" not in second.said()
    assert "died" not in second.said()
    assert first.process.poll() is None


def test_a_worker_that_is_refused_when_it_comes_back_ends_with_an_error(processes: Processes) -> None:
    port = free_port()
    scheduler = processes.dscheduler(f"--port {port}")
    processes.address(scheduler)
    worker = processes.dworker(f"127.0.0.1:{port} --nthreads 1 --name alice")
    worker.wait_said("registered with")
    scheduler.end(signal.SIGKILL)
    worker.wait_said("lost the scheduler")
    other = {"DISTRIBUTED_KEY_FILE": str(processes.folder / "other-key")}
    processes.dscheduler(f"--port {port}", env=other)
    assert worker.wait() == 3
    assert "different key" in worker.said()
    assert "Traceback" not in worker.said()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ("", 2, "either ADDRESS or --scheduler-file"),
        ("127.0.0.1:1 --scheduler-file f", 2, "either ADDRESS or --scheduler-file"),
        ("127.0.0.1:1:1", 1, "127.0.0.1:1:1"),
        ("127.0.0.1:99999", 1, "99999"),
        ("tcp:/127.0.0.1:80", 1, "tcp:/127.0.0.1:80"),
        ("ftp://127.0.0.1:80", 1, "ftp"),
        ("127.0.0.1:1 --memory-limit lots", 1, "lots"),
        ("127.0.0.1:1 --memory-limit=-1", 1, "-1"),
        ("127.0.0.1:1 --nthreads 0", 2, "nthreads"),
        ("127.0.0.1:1 --nworkers 0", 2, "nworkers"),
        ("127.0.0.1:1 --nworkers 2 --port 4000", 2, "single worker"),
        ("127.0.0.1:1 --resources GPU", 1, "NAME=AMOUNT"),
        ("127.0.0.1:1 --host 0.0.0.0", 1, "--insecure"),
        ("127.0.0.1:1 --host 0.0.0.0 --no-nanny", 1, "--insecure"),
        ("127.0.0.1:1 --local-directory nofolder", 1, "nofolder"),
        ("127.0.0.1:1 --log-level LOUD", 2, "LOUD"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(processes: Processes, options: str, code: int, text: str) -> None:
    worker = processes.dworker(options)
    assert worker.wait() == code, worker.said()
    assert text in worker.said()
    assert "Traceback" not in worker.said()
    processes.wait_nothing_left()


def test_options_reach_the_scheduler(processes: Processes) -> None:
    scheduler = processes.dscheduler()
    address = processes.address(scheduler)
    options = "--nworkers 2 --nthreads 3 --name x --memory-limit 1GiB --resources GPU=1,disk=20.5 --local-directory ."
    processes.dworker(f"{address} {options}")
    with Client(address) as client:
        wait_until(lambda: len(client.ncores()) == 2, "both join")
        workers = client.scheduler_info()["workers"].values()
        assert sorted(worker["name"] for worker in workers) == ["x-0", "x-1"]
        for worker in workers:
            assert worker["nthreads"] == 3
            assert worker["memory_limit"] == 2**30
            assert worker["resources"] == {"GPU": 1.0, "disk": 20.5}
        assert client.submit(pow, 2, 3, resources={"GPU": 1}).result() == 8
        assert client.submit(os.getpid, workers="x-1").result() in [worker["pid"] for worker in workers]
    folders = list(processes.folder.glob("distributed-worker-*"))
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]


def test_folders_of_workers_are_removed(processes: Processes) -> None:
    _, _, worker = joined(processes, "--nworkers 2 --local-directory .")
    assert worker.end() == 0
    assert list(processes.folder.glob("distributed-worker-*")) == []


@pytest.mark.parametrize("victim", ["nanny", "zygote"])
def test_when_a_guard_is_killed_its_workers_end_and_so_does_what_they_started(
    processes: Processes, victim: str
) -> None:
    scheduler, address, worker = joined(processes, "--nworkers 2")
    worker.wait_said(r"(?s)(registered with.*){2}")
    with Client(address) as client:
        futures = [client.submit(subprocess.call, ["sleep", str(60 + n)]) for n in range(2)]
        wait_until(lambda: str(processes.alive()).count("'sleep 6") == 2, processes.alive)
        if victim == "nanny":
            worker.end(signal.SIGKILL)
        else:
            (zygote,) = children(worker.pid)
            os.kill(zygote, signal.SIGKILL)
            assert worker.wait() == 1
            assert re.search(r"^error: the process that forks workers", worker.said(), re.MULTILINE)
            assert "Traceback" not in worker.said()
        wait_until(lambda: list(processes.alive()) == [scheduler.pid], processes.alive)
        wait_until(lambda: client.ncores() == {}, "the scheduler sees it")
        assert not any(future.done() for future in futures)


def test_a_worker_that_ends_when_asked_ends_its_nanny(processes: Processes) -> None:
    scheduler, address, worker = joined(processes)
    (place,) = Client(address).ncores()
    call = processes.python("-m", "distributed", "call", place, "terminate")
    assert call.wait() == 0, call.said()
    assert worker.wait() == 0
    assert scheduler.end() == 0


def test_what_tasks_print_is_seen_at_the_client_and_reading_stdin_gives_nothing(processes: Processes) -> None:
    _, address, worker = joined(processes)
    seen: list[str] = []
    with Client(address, output=lambda key, stream, text: seen.append(text)) as client:
        client.submit(print, "hello from a task", flush=True).result()
        assert client.submit(lambda: __import__("sys").stdin.read()).result() == ""
    assert seen == ["hello from a task\n"]
    assert "hello from a task" not in worker.said()


def test_what_tasks_print_stays_with_the_worker_if_its_operator_says_so(processes: Processes) -> None:
    address = processes.address(processes.dscheduler("--port 0"))
    worker = processes.dworker(f"{address} --nthreads 1", env={"DISTRIBUTED_FORWARD_OUTPUT": "0"})
    worker.wait_said("registered with the scheduler")
    seen: list[str] = []
    with Client(address, output=lambda key, stream, text: seen.append(text)) as client:
        client.submit(print, "hello from a task", flush=True).result()
        worker.wait_said("hello from a task")
    assert seen == []


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
