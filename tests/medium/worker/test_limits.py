"""Memory limits of single tasks: what counts, how a task is stopped, and that it runs alone."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.errors import MemoryLimitExceeded
from distributed.messages import RunOptions
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import dumps_payload
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.gate import Gate
from distributed.worker.limits import STUBBORN_S, OverLimit, TaskLimits
from distributed.worker.measure import peak_nbytes, process_nbytes, reset_peak
from distributed.worker.store import Store

MB = 1_000_000
PATIENCE_S = 10.0


class Meter:
    """Numbers that a test sets, in the place of those of this process."""

    def __init__(self) -> None:
        self.now = self.peak = 500 * MB
        self.taken = self.incoming = 0
        self.stubborn: list[str] = []
        self.limits = TaskLimits(
            lambda: self.now,
            lambda: max(self.now, self.peak),
            lambda: None,
            lambda: self.taken,
            lambda: self.incoming,
            self.stubborn.append,
        )


@pytest.fixture
def meter() -> Meter:
    return Meter()


def test_what_the_process_grows_by_is_what_the_task_takes(meter: Meter) -> None:
    watch = meter.limits.begin("k", 100 * MB)
    meter.now += 60 * MB
    watch.end()
    assert (watch.is_over, watch.used_nbytes) == (False, 60 * MB)


def test_a_peak_that_no_look_has_seen_counts(meter: Meter) -> None:
    watch = meter.limits.begin("k", 100 * MB)
    meter.peak += 101 * MB
    watch.end()
    assert watch.is_over
    assert watch.error().used_nbytes == 101 * MB


def test_what_came_for_others_is_not_the_tasks(meter: Meter) -> None:
    meter.taken, meter.now = 300 * MB, 900 * MB
    watch = meter.limits.begin("k", 100 * MB)
    meter.now += 270 * MB
    meter.taken += 150 * MB  # results of peers arrived, or were pickled
    meter.incoming = 50 * MB  # and more are arriving
    watch.end()
    assert (watch.is_over, watch.used_nbytes) == (False, 70 * MB)


def test_memory_that_others_give_free_is_in_its_favour(meter: Meter) -> None:
    watch = meter.limits.begin("k", 100 * MB)
    meter.now = meter.peak = 400 * MB
    watch.end()
    assert (watch.is_over, watch.used_nbytes) == (False, 0)


def test_one_look_over_the_limit_is_no_proof_and_two_interrupt_once(meter: Meter) -> None:
    watch = meter.limits.begin("k", 100 * MB)
    meter.now += 110 * MB
    assert meter.limits.look(1.0)
    meter.now -= 20 * MB
    assert meter.limits.look(1.1)
    meter.now += 20 * MB
    assert meter.limits.look(1.2)
    with pytest.raises(OverLimit):
        look_until_raised(meter, 1.3)
    assert meter.limits.look(1.4)  # it is not raised again
    watch.end()
    assert not meter.limits.look(1.5)
    assert watch.is_over
    assert "k took 110 MB of memory, more than its limit of 100 MB" in str(watch.error())


def look_until_raised(meter: Meter, now: float) -> None:
    meter.limits.look(now)
    for _ in range(1_000):  # it is raised when this thread comes to its next line
        time.monotonic()


def test_an_interruption_that_comes_too_late_harms_nothing_after_the_call(meter: Meter) -> None:
    began, looked, ended = threading.Event(), threading.Event(), threading.Event()
    faults: list[BaseException] = []

    def run() -> None:
        try:
            watch = meter.limits.begin("k", 100 * MB)
            began.set()
            try:
                looked.wait(PATIENCE_S)
                watch.end()
            except OverLimit:
                watch.end()
            for _ in range(1_000):
                time.monotonic()
            assert watch.is_over
        except BaseException as error:
            faults.append(error)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    began.wait(PATIENCE_S)
    meter.now += 110 * MB
    meter.limits.look(1.0)
    meter.limits.look(1.1)
    looked.set()
    assert ended.wait(PATIENCE_S)
    thread.join()
    assert faults == []


def test_a_task_that_goes_on_is_told_of_once(meter: Meter) -> None:
    watch = meter.limits.begin("k", 100 * MB)
    meter.now += 110 * MB
    meter.limits.look(1.0)
    with pytest.raises(OverLimit):
        look_until_raised(meter, 1.1)
    meter.limits.look(1.0 + STUBBORN_S)
    assert meter.stubborn == []
    for _ in range(2):
        meter.limits.look(1.2 + STUBBORN_S)
    (text,) = meter.stubborn
    assert "limit of 100 MB" in text
    watch.end()


def test_the_peak_of_this_process_is_seen_and_can_be_reset() -> None:
    reset_peak()
    before = peak_nbytes()
    block = bytearray(b"x" * 80 * MB)
    assert peak_nbytes() - before > 70 * MB
    del block
    reset_peak()
    assert peak_nbytes() < before + 40 * MB
    assert process_nbytes() > 5 * MB


# ---------------------------------------------------------------- alone


class Runner:
    """An executor, and the outcomes that came out of it by key."""

    def __init__(self, nthreads: int, limits: TaskLimits) -> None:
        self.woken = threading.Event()
        self.executor = Executor(nthreads, self.woken.set, Store(), "tcp://w:1", limits=limits)
        self.outcomes: dict[str, Outcome] = {}

    def submit(self, key: str, function: Callable[..., Any], *args: Any, limit: int = 0) -> None:
        options = RunOptions(memory_limit_nbytes=limit)
        task = ReadyTask(
            key, 1, key.encode(), pickle.dumps(function), dumps_payload((args, {})), True, None, 0, options
        )  # fmt: skip
        self.executor.submit([task])

    def wait(self, key: str) -> Outcome:
        deadline = time.monotonic() + PATIENCE_S
        while key not in self.outcomes:
            assert time.monotonic() < deadline, f"{key} has not ended"
            self.woken.wait(0.01)
            self.woken.clear()
            for outcome in self.executor.take_outcomes():
                self.outcomes[outcome.key] = outcome
        return self.outcomes[key]


@pytest.fixture
def runner(meter: Meter) -> Iterator[Runner]:
    runner = Runner(3, meter.limits)
    yield runner
    assert runner.executor.close(PATIENCE_S)


_active = 0
_lock = threading.Lock()


def count_others(spins: int) -> int:
    """The most tasks that ran while this one did, itself included."""
    global _active
    with _lock:
        _active += 1
        most = _active
    for _ in range(spins):
        time.monotonic()
        most = max(most, _active)
    with _lock:
        _active -= 1
    return most


def test_a_task_with_a_limit_runs_alone_and_the_others_before_and_after_it(runner: Runner) -> None:
    for number in range(60):
        runner.submit(f"t-{number}", count_others, 5_000, limit=100 * MB if number % 10 == 0 else 0)
    values = {number: runner.wait(f"t-{number}").value for number in range(60)}
    assert {number: value for number, value in values.items() if number % 10 == 0 and value != 1} == {}


_entered = threading.Event()


def grow_for_ever() -> None:
    _entered.set()
    while True:
        time.monotonic()


def test_a_task_over_its_limit_fails_and_its_thread_runs_the_next(runner: Runner, meter: Meter) -> None:
    _entered.clear()
    runner.submit("greedy", grow_for_ever, limit=100 * MB)
    assert _entered.wait(PATIENCE_S)
    meter.now += 150 * MB
    meter.limits.look(1.0)
    meter.limits.look(1.1)
    outcome = runner.wait("greedy")
    assert outcome.failure is not None
    error = exception_from_failure(outcome.failure, "the worker")
    assert isinstance(error, MemoryLimitExceeded)
    assert (error.key, error.limit_nbytes, error.used_nbytes) == ("greedy", 100 * MB, 150 * MB)
    for number in range(6):
        runner.submit(f"next-{number}", str, number, limit=100 * MB * (number % 2))
    assert [runner.wait(f"next-{number}").value for number in range(6)] == list("012345")


def test_a_closed_gate_lets_nobody_wait() -> None:
    gate = Gate(2)
    gate.set_paused(True)
    passed: list[bool] = []
    threads = [threading.Thread(target=lambda: passed.append(gate.wait(0)))]
    threads.append(threading.Thread(target=lambda: passed.append(gate.begin_alone(1))))
    gate.busy[0] = True
    for thread in threads:
        thread.start()
    gate.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
    assert passed.count(True) <= 1  # the one that runs alone may have been quicker than the end


def test_nothing_begins_while_the_gate_is_paused(runner: Runner) -> None:
    runner.executor.gate.set_paused(True)
    runner.submit("a", str, 1)
    assert not runner.woken.wait(0.05)
    assert runner.executor.withdraw(["a"]) == ["a"]  # it is still in the queue, so it can be given back
    runner.submit("b", str, 2)
    runner.executor.gate.set_paused(False)
    assert runner.wait("b").value == "2"
