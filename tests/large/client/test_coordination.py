"""Locks, events and queues of tasks in real worker processes: they lend their slots, and the dead hold nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from distributed import Client, Event, Lock, Queue, Semaphore


def write_two_lines(path: str, number: int) -> None:
    with Lock("file"), open(path, "a") as file:
        file.write(f"{number}\n")
        file.flush()
        time.sleep(0.001)
        file.write(f"{number}\n")


def wait_for_event(name: str) -> bool:
    return bool(Event(name).wait(timeout=20))


def set_event(name: str) -> None:
    Event(name).set()


def hold_and_tell(name: str) -> None:
    Lock(name).acquire()
    Queue("pids").put(os.getpid())
    time.sleep(60)


def consume(count: int) -> int:
    return sum(Queue("numbers").get(timeout=20) for _ in range(count))


def produce(count: int) -> None:
    for number in range(count):
        Queue("numbers", maxsize=2).put(number)


def test_a_lock_holds_between_processes(tmp_path: Path) -> None:
    with Client(n_workers=2, threads_per_worker=2) as client:
        path = tmp_path / "lines"
        client.gather(client.map(write_two_lines, [str(path)] * 30, range(30)))
        lines = path.read_text().split()
        assert lines[::2] == lines[1::2]
        assert sorted(map(int, lines[::2])) == list(range(30))


def test_tasks_that_wait_for_each_other_need_no_slots() -> None:
    with Client(n_workers=1, threads_per_worker=1) as client:
        waiting = client.map(wait_for_event, ["go"] * 5, pure=False)
        setting = client.submit(set_event, "go")
        assert client.gather(waiting) == [True] * 5
        setting.result()
        consumed = client.submit(consume, 20)
        produced = client.submit(produce, 20)
        assert consumed.result() == sum(range(20))
        produced.result()
        with Semaphore(1, "s"):
            assert Semaphore(1, "s").get_value() == 1


def test_a_lock_of_a_killed_worker_is_free_soon() -> None:
    with Client(n_workers=2, threads_per_worker=1) as client:
        holding = client.submit(hold_and_tell, "x")
        pid = Queue("pids").get(timeout=20)
        assert not Lock("x").acquire(blocking=False)
        holding.cancel()
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        assert Lock("x").acquire(timeout=20)
        assert time.monotonic() - began < 20
