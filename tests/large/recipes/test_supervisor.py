"""The examples in development/ are run by supervisord, their ports moved to free ones."""

from __future__ import annotations

import itertools
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


def free_bases(count: int) -> list[int]:
    """Numbers so that each, with a digit from 0 to 4 behind it, is a free port."""
    bases = (base for base in range(2000, 3000) if all(is_free(base * 10 + digit) for digit in range(5)))
    return list(itertools.islice(bases, count))


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Supervisor:
    """One of the examples, run in a folder of its own."""

    def __init__(self, processes: Processes, name: str, home: Path, base: int) -> None:
        self.base = base
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


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made_folder(tmp_path / "home", {b"%d" % number: b"%d" % number for number in range(20)})


def test_the_examples_run_masters_and_workers(processes: Processes, home: Path) -> None:
    """H24: development/conf_supervisor_*.conf of simple, pull and push, as the page shows them."""
    names = ("simple", "pull", "push")
    bases = free_bases(len(names))
    simple, pull, push = (Supervisor(processes, name, home, base) for name, base in zip(names, bases, strict=True))
    for number in WORKERS:
        simple.wait_log(f"simple-worker-{number}", f"{simple.port(number)} and unix://")
    places = [simple.port(1), simple.port(2), f"unix://{simple.folder}/worker-3.sock", simple.port(4)]
    options = [text for place in places for text in ("--worker", place)]
    master = simple.run("distributed.simple.master", *options)
    pull.wait_log("pull-master", pull.port(0))
    assert "STOPPED" in pull.control("status", "distributed-workers:*")
    own = pull.run("distributed.pull.worker", "--name", "own", "--processes", "1", "--master", pull.port(0))
    pull.control("start", "distributed-workers:*")
    stopped = simple.control("stop", "distributed-workers:*") if master.wait() == 0 else master.said()
    assert 'state: {"total": 20, "finished": 20}' in master.said()
    assert len(re.findall(r"^distributed-workers:simple-worker-\d: stopped$", stopped, re.MULTILINE)) == 4, stopped
    assert own.wait() == 0, own.said()
    assert own.said().endswith("done\n")
    pull.wait_log("pull-master", '"total": 20, "finished": 20')
    push.wait_log("push-master", r'"total": 20, "finished": 20')
    ending = [each.run("supervisor.supervisorctl", "-c", str(each.conf), "shutdown") for each in (simple, pull, push)]
    assert [each.wait() for each in ending] == [0, 0, 0]
    assert [each.daemon.wait() for each in (simple, pull, push)] == [0, 0, 0]
    processes.wait_nothing_left()
