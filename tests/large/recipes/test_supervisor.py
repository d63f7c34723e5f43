"""The examples in development/ are run by supervisord, their ports moved to free ones."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from distributed.testing.processes import Processes, Started, wait_until
from distributed.testing.recipes import made_folder

DEVELOPMENT = Path(__file__).parents[3] / "development"
WORKERS = range(1, 5)


def free_base() -> int:
    """So that this number, a digit behind it, is a free port for the digits 0 to 4."""
    for base in range(2000, 3000):
        with_digits = [base * 10 + digit for digit in range(5)]
        if all(is_free(port) for port in with_digits):
            return base
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Supervisor:
    """One of the examples, run in a folder of its own."""

    def __init__(self, processes: Processes, name: str, home: Path) -> None:
        self.base = free_base()
        self.folder = processes.folder / name
        self.folder.mkdir()
        text = (DEVELOPMENT / f"conf_supervisor_{name}.conf").read_text()
        self.conf = self.folder / "conf"
        self.conf.write_text(re.sub(r"\b800(?=[0-4]\b|%\()", str(self.base), text))
        self._processes = processes
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._options = {"cwd": home, "env": {"PATH": path}}
        self.daemon = self.run("supervisor.supervisord", "-n", "-c", str(self.conf))

    def run(self, module: str, *arguments: str) -> Started:
        return self._processes.python("-W", "ignore", "-m", module, *arguments, **self._options)

    def port(self, digit: int) -> str:
        return f"127.0.0.1:{self.base}{digit}"

    def control(self, *arguments: str) -> str:
        started = self.run("supervisor.supervisorctl", "-c", str(self.conf), *arguments)
        started.wait()
        return started.said()

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def wait_log(self, name: str, pattern: str) -> None:
        wait_until(lambda: re.search(pattern, self.log(name)), lambda: f"{self.log(name)}\n{self.daemon.said()}")

    def shut_down(self) -> None:
        assert "Shut down" in self.control("shutdown")
        assert self.daemon.wait() == 0, self.daemon.said()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made_folder(tmp_path / "home", {b"%d" % number: b"%d" % number for number in range(20)})


def test_the_example_of_simple_runs_four_workers_for_a_master(processes: Processes, home: Path) -> None:
    """H24: development/conf_supervisor_simple.conf: each worker on a port and a unix socket; stopped as a group."""
    supervisor = Supervisor(processes, "simple", home)
    for number in WORKERS:
        supervisor.wait_log(f"simple-worker-{number}", f"{supervisor.port(number)} and unix://")
    places = [supervisor.port(1), supervisor.port(2), f"unix://{supervisor.folder}/worker-3.sock", supervisor.port(4)]
    options = [text for place in places for text in ("--worker", place)]
    master = supervisor.run("distributed.simple.master", *options)
    assert master.wait() == 0, master.said()
    assert 'state: {"total": 20, "finished": 20}' in master.said()
    stopped = supervisor.control("stop", "distributed-workers:*")
    assert len(re.findall(r"^distributed-workers:simple-worker-\d: stopped$", stopped, re.MULTILINE)) == 4, stopped
    supervisor.shut_down()
    processes.wait_nothing_left()


def test_the_examples_of_pull_and_push_run_masters_and_workers(processes: Processes, home: Path) -> None:
    """H24: development/conf_supervisor_pull.conf and conf_supervisor_push.conf."""
    pull = Supervisor(processes, "pull", home)
    pull.wait_log("pull-master", pull.port(0))
    push = Supervisor(processes, "push", home)
    assert "STOPPED" in pull.control("status", "distributed-workers:*")
    own = pull.run("distributed.pull.worker", "--name", "own", "--processes", "1", "--master", pull.port(0))
    pull.control("start", "distributed-workers:*")
    assert own.wait() == 0, own.said()
    assert own.said().endswith("done\n")
    pull.wait_log("pull-master", "'total': 20, 'finished': 20")
    push.wait_log("push-master", r'"total": 20, "finished": 20')
    for supervisor in (pull, push):
        supervisor.shut_down()
    processes.wait_nothing_left()
