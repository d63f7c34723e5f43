"""`DistributedManager` and workers in processes of their own: forked, started, launched, hung and killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import textwrap
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from distributed.testing.processes import Processes, wait_until
from distributed_worker import DistributedManager, DistributedWorker, create_remote_worker


def worker_classes() -> tuple[Any, Any]:
    """Made in a function, so they travel by value: no process could import them from here."""

    class Echo(DistributedWorker):
        def handle_msg(self, msg: Any) -> None:
            self.send((os.getpid(), msg))

    class Counter(DistributedWorker):
        def __init__(self, pipe: Any, answer: Any, hang: bool = False) -> None:
            super().__init__(pipe)
            self.answer = answer
            self.hang = hang
            self.slices = 0

        def loop(self) -> Any:
            while self.hang:
                self.slices += 1
            self.slices += 1
            return self.answer

        def handle_msg(self, msg: Any) -> None:
            self.send(self.slices)

    return Echo, Counter


Echo, Counter = worker_classes()


@pytest.fixture
def manager() -> Iterator[DistributedManager]:
    with DistributedManager(("localhost", 0)) as manager:
        yield manager


def answer_of(manager: DistributedManager, id: int, message: Any = None) -> Any:
    """What a worker answers."""
    wait_until(lambda: manager.flush() == 0 and id in manager.get_active_workers(), f"worker {id}")
    assert manager.send(id, message)
    answers: list[Any] = []
    wait_until(lambda: answers.extend(manager.collect().get(id, [])) or answers, "an answer")
    return answers[0]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_local_workers_are_processes_forked_here_or_made_by_spawnf(manager: DistributedManager) -> None:
    """M09: create_local_worker (+spawnf)."""
    spawnf: Any = multiprocessing.get_context("spawn").Process
    ids = [manager.create_local_worker(Echo), manager.create_local_worker(Echo, spawnf=spawnf)]
    assert ids == [0, 1]
    answers = [answer_of(manager, id, ":ping") for id in ids]
    pids = [pid for pid, _ in answers]
    assert [message for _, message in answers] == [":ping", ":ping"]
    assert len({*pids, os.getpid()}) == 3
    assert pids == [manager.get_worker_info(id)["pid"] for id in ids]
    assert manager.stop() == []
    assert [is_alive(pid) for pid in pids] == [False, False]


def test_a_remote_worker_is_a_process_with_a_life_of_its_own(manager: DistributedManager) -> None:
    """M10: create_remote_worker / _sync."""
    process, other = [create_remote_worker(Echo, manager.get_client_args()) for _ in range(2)]
    wait_until(manager.try_accept, "a worker")
    wait_until(manager.try_accept, "another")
    pid, _ = answer_of(manager, 0)
    assert {pid, answer_of(manager, 1)[0]} == {process.pid, other.pid}
    killed = process if process.pid == pid else other
    assert killed.is_alive()
    assert killed.exitcode is None
    killed.kill()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    wait_until(lambda: manager.collect() == {} and manager.get_dead_workers() == [0], "its death")
    manager.stop()
    (process if killed is other else other).join()
    assert [process.exitcode, other.exitcode].count(0) == 1


def test_a_hung_worker_is_ended_by_its_own_pid_and_no_other(
    manager: DistributedManager, capfd: pytest.CaptureFixture[str]
) -> None:
    """M13: stop(): hung worker killed by own pid, listener closed, context manager."""
    hung = manager.create_local_worker(Counter, None, hang=True)
    well = manager.create_local_worker(Echo)
    pid, _ = answer_of(manager, well)
    wait_until(lambda: manager.flush() == 0 and hung in manager.get_active_workers(), "it hangs")
    hung_pid = manager.get_worker_info(hung)["pid"]
    assert manager.fping(20) == [hung, well]  # it lives, as far as anybody can tell
    assert manager.stop(timeout=1.0) == [hung]
    assert [is_alive(hung_pid), is_alive(pid)] == [False, False]


def test_slices_follow_each_other_without_waiting(manager: DistributedManager) -> None:
    """M17: >= 10,000 loop slices/s/worker."""
    busy, idle, waiting = [manager.create_local_worker(Counter, answer) for answer in (True, None, False)]
    wait_until(lambda: answer_of(manager, busy) > 100_000, "slices of one that has more to do")
    wait_until(lambda: answer_of(manager, idle) > 5_000, "slices of one that does not tell")
    assert answer_of(manager, waiting) < 100  # one for each message


def test_nothing_is_left_of_a_manager_that_was_killed(processes: Processes, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from distributed_worker import DistributedManager, DistributedWorker, create_remote_worker

        class Sitter(DistributedWorker):
            def loop(self):
                while True:
                    pass

        manager = DistributedManager(("localhost", 0))
        manager.create_local_worker(Sitter)
        create_remote_worker(Sitter, manager.get_client_args())
        while len(manager.get_active_workers()) < 2:
            manager.try_accept()
            manager.collect()
        print("two are active", flush=True)
        while True:
            manager.run_once()
        """)
    )
    started = processes.python(str(script))
    started.wait_said("two are active")
    started.end(signal.SIGKILL)
    wait_until(lambda: not processes.alive(), lambda: f"still there: {processes.alive()}")


def test_a_manager_that_nobody_stops_ends_with_its_program(processes: Processes, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from distributed_worker import DistributedManager, DistributedWorker, create_remote_worker

        manager = DistributedManager(("localhost", 0))
        manager.create_local_worker(DistributedWorker)
        create_remote_worker(DistributedWorker, manager.get_client_args())
        while len(manager.get_active_workers()) < 2:
            manager.run_once()
        print("active")
        """)
    )
    started = processes.python("-X", "dev", "-W", "error", str(script))
    assert started.wait() == 0, started.said()
    assert started.said() == "active\n"
    processes.wait_nothing_left()


def test_a_launcher_runs_workers_for_a_manager_elsewhere(
    manager: DistributedManager, processes: Processes, tmp_path: Path
) -> None:
    """M10: a launcher for other machines."""
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
        from distributed_worker import DistributedWorker

        class Greeter(DistributedWorker):
            def __init__(self, pipe, greeting):
                super().__init__(pipe)
                self.send(greeting)
        """)
    )
    manager.save_authkey(tmp_path / "key")
    port = manager.get_client_args()[0][1]
    command = ("-m", "distributed.faces.manager", "--connect", f"localhost:{port}", "--authkey-file", "key")
    launcher = processes.python(*command, "--processes", "2", "mine:Greeter", "hello", cwd=tmp_path)
    for _ in range(2):
        wait_until(manager.try_accept, "a worker")
    greetings: list[Any] = []
    wait_until(lambda: greetings.extend(chain(*manager.collect().values())) or len(greetings) == 2, "two greetings")
    assert greetings == ["hello", "hello"]
    manager.stop()
    assert launcher.wait() == 0, launcher.said()


@pytest.mark.parametrize(
    ("key", "wclass", "text"),
    [
        ("none", "os:getcwd", "save_authkey"),
        ("key", "nowhere:Class", "No module named 'nowhere'"),
        ("key", "os", "a colon"),
        ("key", "starts:Class", "below `if __name__"),
    ],
)
def test_a_launcher_says_what_is_wrong(
    manager: DistributedManager, processes: Processes, tmp_path: Path, key: str, wclass: str, text: str
) -> None:
    manager.save_authkey(tmp_path / "key")
    (tmp_path / "starts.py").write_text("import distributed_worker\ndistributed_worker.DistributedManager()\n")
    command = ("-m", "distributed.faces.manager", "--connect", "localhost:1", "--authkey-file", key, wclass)
    launcher = processes.python(*command, cwd=tmp_path)
    assert launcher.wait() == (3 if key == "none" else 1)  # as with all our programs: a key file that is no use
    assert text in launcher.said()
    assert "Traceback" not in launcher.said()
