"""dscheduler as a process: its file, its signals, its errors."""

from __future__ import annotations

import json
import signal
import socket
import stat
from pathlib import Path

import pytest

from distributed import Client
from distributed.errors import SchedulerFileError
from distributed.testing.processes import Processes, wait_until

QUICKSTART = """
import sys
from distributed import Client

def square(x):
    return x ** 2

def neg(x):
    return -x

with Client(scheduler_file=sys.argv[1]) as client:
    A = client.map(square, range(10))
    B = client.map(neg, A)
    print(client.submit(sum, B).result(), len(client.ncores()))
"""


def test_workers_and_programs_find_each_other_by_the_scheduler_file(processes: Processes) -> None:
    workers = [processes.dworker("--scheduler-file s.json --nthreads 1", env={"NUMBER": n}) for n in "01"]
    for worker in workers:  # the file is not there yet
        assert worker.wait() == 1
        assert (
            worker.said()
            == "error: scheduler file s.json: does not exist; is the scheduler running with --scheduler-file?\n"
        )
    scheduler = processes.dscheduler("--port 0 --scheduler-file s.json")
    scheduler.wait_said("start workers with: dworker --scheduler-file s.json")
    workers = [processes.dworker("--scheduler-file s.json --nthreads 1") for _ in "12"]
    for worker in workers:
        worker.wait_said("registered with the scheduler")
    program = processes.python("-W", "error", "-c", QUICKSTART, "s.json")
    assert program.wait() == 0, program.said()
    assert program.said() == "-285 2\n"
    assert scheduler.end() == 0
    assert [worker.wait() for worker in workers] == [0, 0], "workers end with their scheduler"
    processes.wait_nothing_left()


def test_the_scheduler_file_says_where_it_is_and_holds_no_secret(processes: Processes) -> None:
    scheduler = processes.dscheduler("--port 0 --scheduler-file s.json")
    address = processes.address(scheduler)
    path = processes.folder / "s.json"
    scheduler.wait_said("--scheduler-file")
    content = json.loads(path.read_text())
    assert list(content) == ["format", "id", "address", "http", "fingerprint", "pid"]
    assert (content["format"], content["address"], content["pid"]) == (1, address, scheduler.pid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in processes.folder.iterdir() if "tmp" in entry.name] == []
    assert scheduler.end(signal.SIGINT) == 0
    assert not path.exists()
    assert "Traceback" not in scheduler.said()


def test_another_schedulers_file_is_left_alone_at_the_end(processes: Processes) -> None:
    first = processes.dscheduler("--port 0 --scheduler-file s.json")
    first.wait_said("start workers")
    second = processes.dscheduler("--port 0 --scheduler-file s.json")
    second.wait_said("start workers")
    assert first.end() == 0
    assert json.loads((processes.folder / "s.json").read_text())["pid"] == second.pid
    assert second.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_scheduler_and_workers_and_leaves_nothing(processes: Processes, number: int) -> None:
    scheduler = processes.dscheduler()
    worker = processes.dworker(f"{processes.address(scheduler)} --nworkers 2 --nthreads 1")
    worker.wait_said(r"(?s)(registered with.*){2}")
    assert scheduler.end(number) == 0
    assert worker.wait() == 0
    processes.wait_nothing_left()
    assert "Traceback" not in scheduler.said() + worker.said()


def test_a_file_left_over_is_named_with_its_process(processes: Processes) -> None:
    scheduler = processes.dscheduler("--port 0 --scheduler-file s.json")
    scheduler.wait_said("start workers")
    scheduler.end(signal.SIGKILL)
    path = processes.folder / "s.json"
    expected = rf"scheduler file \S*s.json: is left over: process {scheduler.pid}, which wrote it, has ended"
    with pytest.raises(SchedulerFileError, match=expected):
        Client(scheduler_file=path, timeout=0.5)
    worker = processes.dworker("--scheduler-file s.json")
    assert worker.wait() == 1
    assert f"is left over: process {scheduler.pid}" in worker.said()
    assert len(worker.said().splitlines()) == 1


@pytest.mark.parametrize("text", ["", "no JSON", "{}", '{"format": 1}', '{"format": 2, "address": "tcp://h:1"}', "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(SchedulerFileError, match=r"scheduler file \S*s.json: (cannot be read|was not written by)"):
        Client(scheduler_file=path)


def test_a_port_that_is_taken_is_one_readable_line(processes: Processes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        scheduler = processes.dscheduler(f"--port {port}")
        assert scheduler.wait() == 1
        worker = processes.dworker(f"127.0.0.1:1 --port {port}")
        assert worker.wait() == 1
    for started in (scheduler, worker):
        (line,) = [line for line in started.said().splitlines() if line.startswith("error:")]
        assert f"cannot listen on 127.0.0.1:{port}" in line
        assert "choose another port" in line
        assert "Traceback" not in started.said()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ("--host 0.0.0.0 --port 0", 1, "spell out --insecure"),
        ("--port 70000", 2, "70000"),
        ("--host nowhere.invalid --port 0", 1, "nowhere.invalid"),
        ("--scheduler-file nofolder/s.json --port 0", 1, "nofolder"),
        ("--log-level LOUD --port 0", 2, "LOUD"),
        ("--worker-timeout soon --port 0", 1, "--worker-timeout='soon' cannot be used"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(processes: Processes, options: str, code: int, text: str) -> None:
    scheduler = processes.dscheduler(options)
    assert scheduler.wait() == code, scheduler.said()
    assert text in scheduler.said()
    assert "Traceback" not in scheduler.said()


def test_others_may_be_let_in_when_it_is_spelled_out(processes: Processes) -> None:
    scheduler = processes.dscheduler("--host 0.0.0.0 --insecure --port 0")
    port = processes.address(scheduler).rpartition(":")[2]
    with Client(f"127.0.0.1:{port}") as client:
        assert client.ncores() == {}
    assert scheduler.end() == 0


def test_a_key_file_that_others_can_read_is_refused_by_name(processes: Processes) -> None:
    path = processes.folder / "open-key"
    path.write_text("ab" * 32)
    path.chmod(0o644)
    for started in (
        processes.dscheduler("--port 0", env={"DISTRIBUTED_KEY_FILE": str(path)}),
        processes.dworker("127.0.0.1:1", env={"DISTRIBUTED_KEY_FILE": str(path)}),
    ):
        assert started.wait() == 3
        assert started.said() == f"error: key file {path}: its mode is 0644, others can use it; chmod 600 it\n"


def test_a_program_that_ends_badly_takes_nothing_with_it(processes: Processes) -> None:
    scheduler = processes.dscheduler(env={"DISTRIBUTED_CLIENT_PATIENCE_S": "200ms"})  # it might have been cut off
    address = processes.address(scheduler)
    worker = processes.dworker(f"{address} --nthreads 1")
    worker.wait_said("registered")
    program = processes.python(
        "-c",
        "import sys, time; from distributed import Client\n"
        "client = Client(sys.argv[1]); futures = client.map(pow, range(100), range(100)); client.gather(futures)\n"
        "print('ready'); time.sleep(60)",
        address,
    )
    program.wait_said("ready")
    with Client(address) as client:
        assert client.scheduler_info()["tasks"]["memory"] == 100
        program.end(signal.SIGKILL)
        wait_until(lambda: client.scheduler_info()["tasks"]["forgotten"] == 100, "its tasks are forgotten")
        assert client.submit(pow, 2, 10).result() == 1024
    scheduler.end()
