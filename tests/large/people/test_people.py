"""Output of tasks, equipment of workers and restarts with real processes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from distributed import Client
from distributed.errors import EquipmentError
from distributed.testing.processes import Processes, wait_until

SPEAK = """
import logging, sys, warnings
from distributed import Client, get_client

def speak(x):
    print("out", x)
    print("err", x, file=sys.stderr)
    warnings.warn("careful")
    logging.getLogger("my.app").warning("logged %d", x)
    return x

def nested():
    return get_client().submit(speak, 2, key="child").result()

if __name__ == "__main__":
    with Client(n_workers=1, threads_per_worker=1, processes={processes}) as client:
        client.submit(speak, 1, key="a").result()
        client.submit(nested, key="parent").result()
        print("not a task")
"""


@pytest.mark.parametrize("in_processes", [True, False])
def test_all_that_tasks_say_is_shown_once_with_its_key(processes: Processes, in_processes: bool) -> None:
    (processes.folder / "speak.py").write_text(SPEAK.replace("{processes}", str(in_processes)))
    program = processes.python("speak.py")
    assert program.wait() == 0, program.said()
    said = program.said()
    for key, number in (("a", 1), ("child", 2)):
        for line in (f"out {number}", f"err {number}", f"WARNING:my.app: logged {number}"):
            assert said.count(f"[{key}] {line}\n") == 1, said
            assert said.count(line) == 1, said
    assert re.search(r"^\[a\] \S+speak\.py:8: UserWarning: careful$", said, re.M), said
    assert "\nnot a task\n" in f"\n{said}"
    assert "\x1e" not in said


ENDLESS = """
import time
from distributed import Client

def endless(seconds):
    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until:
        print("x" * 100)
        count += 1
    return count

if __name__ == "__main__":
    with Client(n_workers=1, threads_per_worker=2) as client:
        noisy = client.submit(endless, 3, key="noisy")
        for number in range(100):
            client.submit(print, "innocent", number, key=f"quiet-{number}").result(20)
        assert noisy.status == "pending"
        noisy.result(20)
"""


def test_a_task_that_prints_without_end_leaves_others_their_lines(processes: Processes) -> None:
    (processes.folder / "endless.py").write_text(ENDLESS)
    program = processes.python("endless.py")
    assert program.wait(60) == 0, program.said()[-2000:]
    said = program.said()
    assert [f"[quiet-{n}] innocent {n}\n" in said for n in range(100)] == [True] * 100
    assert re.search(r"\[noisy\] \.\.\. [\d,]+ lines \([\d,]+ bytes\) of noisy left out", said)
    assert len(said) < 2_000_000


def test_restart_replaces_every_process_and_equips_it_again(processes: Processes, tmp_path: Path) -> None:
    module = tmp_path / "uploaded_once.py"
    module.write_text("VALUE = 5")
    code = """
import os, sys
from distributed import Client, WorkerPlugin

class Tag(WorkerPlugin):
    def setup(self, worker):
        worker.tag = "tagged"

def look():
    import uploaded_once
    from distributed import get_worker
    return os.getpid(), uploaded_once.VALUE, get_worker().tag

if __name__ == "__main__":
    with Client(n_workers=2, threads_per_worker=1) as client:
        client.upload_file(sys.argv[1])
        client.register_plugin(Tag())
        before = client.run(os.getpid)
        pending = client.submit(look, pure=False)
        answer = client.restart()
        assert sorted(answer["restarted"]) == sorted(client.ncores()), answer
        assert answer["kept"] == []
        after = client.run(os.getpid)
        assert not set(before.values()) & set(after.values()), (before, after)
        assert pending.status == "cancelled"
        looked = client.gather([client.submit(look, workers=[w], pure=False) for w in after])
        assert looked == [(pid, 5, "tagged") for pid in after.values()], looked
        os.kill(looked[0][0], 9)  # a death that nobody ordered: the next life is equipped too
        later = client.submit(look, pure=False, retries=3).result(20)
        assert later[1:] == (5, "tagged")
        print("well")
"""
    (processes.folder / "restart.py").write_text(code)
    program = processes.python("restart.py", str(module))
    assert program.wait(60) == 0, program.said()
    assert "well\n" in program.said()


PRELOAD = """
import os
from distributed import SchedulerPlugin

class Listener(SchedulerPlugin):
    def transition(self, key, start, finish, because):
        if finish == "memory":
            print("heard", key, flush=True)

    def add_worker(self, worker):
        print("joined", worker["name"], flush=True)

    def remove_worker(self, address, reason):
        print("gone", address, flush=True)

def setup(server):
    print("setup of", type(server).__name__, flush=True)
    server.preloaded = os.getpid()
    if hasattr(server, "add_plugin"):
        server.add_plugin(Listener())

async def teardown(server):
    print("teardown of", type(server).__name__, flush=True)
"""


def preloaded() -> bool:
    import os

    from distributed import get_worker

    return bool(get_worker().preloaded == os.getpid())


def test_operators_preload_code_and_plugins(processes: Processes) -> None:
    (processes.folder / "pre.py").write_text(PRELOAD)
    scheduler = processes.dscheduler("--port 0 --preload pre.py")
    address = processes.address(scheduler)
    assert "setup of Scheduler" in scheduler.said()
    for options in ("--name guarded", "--name alone --no-nanny"):
        worker = processes.dworker(f"{address} --nthreads 1 --preload pre.py {options}")
        worker.wait_said("registered with the scheduler")
        assert "setup of Worker" in worker.said()
    with Client(address) as client:
        scheduler.wait_said("joined guarded")
        scheduler.wait_said("joined alone")
        assert client.run(preloaded) == dict.fromkeys(client.ncores(), True)
        assert client.submit(pow, 2, 2, key="a").result(20) == 4
        scheduler.wait_said("heard a\n")
        assert worker.end(signal.SIGINT) == 0
        assert "teardown of Worker" in worker.said()
        scheduler.wait_said(r"gone tcp://")
    assert scheduler.end() == 0
    assert "teardown of Scheduler" in scheduler.said()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1 / 0", "loading it raised ZeroDivisionError: division by zero"),
        ("def setup(server):\n    raise ValueError('no licence')", "its setup raised ValueError: no licence"),
    ],
)
def test_a_preload_that_fails_is_named_and_nothing_starts(processes: Processes, code: str, text: str) -> None:
    (processes.folder / "bad.py").write_text(code)
    scheduler = processes.dscheduler("--port 0 --preload bad.py")
    assert scheduler.wait() == 1
    assert f"--preload='bad.py' cannot be used: {text}" in scheduler.said()
    other = processes.dscheduler("--port 0")
    worker = processes.dworker(f"{processes.address(other)} --nthreads 1 --preload bad.py")
    assert worker.wait() == 1, "another life would not help"
    assert text in worker.said()


def test_what_was_said_last_is_in_the_certificate_and_not_shown_twice(processes: Processes) -> None:
    code = """
import os, sys
from distributed import Client, KilledWorker

def die():
    print("last words", file=sys.stderr)
    os._exit(3)

if __name__ == "__main__":
    with Client(n_workers=1, threads_per_worker=1, log_level="ERROR") as client:
        try:
            client.submit(die, key="die").result(30)
        except KilledWorker as error:
            assert error.certificates[-1]["stderr"][-1] == "last words", error.certificates
"""
    (processes.folder / "die.py").write_text(code)
    program = processes.python("die.py")
    assert program.wait(60) == 0, program.said()
    assert "\x1e" not in program.said()
    assert program.said().count("last words") <= 3


def test_a_module_with_a_mistake_is_told_and_mended(processes: Processes, tmp_path: Path) -> None:
    address = processes.address(processes.dscheduler("--port 0"))
    processes.dworker(f"{address} --nthreads 1").wait_said("registered with the scheduler")
    path = tmp_path / "mended_module.py"
    with Client(address) as client:
        wait_until(client.ncores, "a worker")
        path.write_text("def f(:")
        with pytest.raises(EquipmentError, match="SyntaxError"):
            client.upload_file(path)
        path.write_text("def f(): return 7")
        client.upload_file(path)
        assert client.submit(call_by_name, "mended_module", "f").result(20) == 7


def call_by_name(module: str, name: str) -> object:
    import importlib

    return getattr(importlib.import_module(module), name)()


FORKING = """
import os
from distributed import Client

def fork():
    print("before")
    pid = os.fork()
    if not pid:
        print("in the child", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print("after")

if __name__ == "__main__":
    with Client(n_workers=1, threads_per_worker=1) as client:
        client.submit(fork, key="fork").result(20)
"""


def test_what_a_forked_child_of_a_task_prints_is_not_the_tasks(processes: Processes) -> None:
    (processes.folder / "forking.py").write_text(FORKING)
    program = processes.python("forking.py")
    assert program.wait() == 0, program.said()
    assert sorted(program.said().splitlines()) == ["[fork] after", "[fork] before", "in the child"]
