"""Tasks with a memory limit that wait for others: who runs meanwhile, and whose memory it is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.messages import RunOptions
from distributed.worker.context import await_lent, wait_lent
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.limits import TaskLimits
from distributed.worker.store import Store

PATIENCE_S = 20.0
LIMIT = 100

_calls: dict[str, Callable[[], Any]] = {}


def call(key: str) -> Any:
    """What every task here is."""
    return _calls[key]()


class Bench:
    """An executor of one thread, and a process whose memory is what a test says."""

    def __init__(self) -> None:
        self.nbytes = 1_000
        self.peak = 1_000
        limits = TaskLimits(
            lambda: self.nbytes, lambda: self.peak, self.reset_peak, lambda: 0, lambda: 0, lambda text: None
        )
        self.limits = limits
        self.executor = Executor(1, lambda: None, Store(), "tcp://me:1", limits=limits)
        self.blob = b"c" + f"{__name__}\ncall\n.".encode()

    def reset_peak(self) -> None:
        self.peak = self.nbytes

    def grow(self, nbytes: int) -> None:
        """Somebody takes memory, or gives it back."""
        self.nbytes += nbytes
        self.peak = max(self.peak, self.nbytes)

    def submit(self, key: str, function: Callable[[], Any], limit: int = 0) -> None:
        _calls[key] = function
        arguments = b"\x80\x05" + b"(\x8c" + bytes([len(key)]) + key.encode() + b"t}\x86."
        options = RunOptions(memory_limit_nbytes=limit)
        self.executor.submit([ReadyTask(key, 1, self.blob, self.blob, arguments, False, None, 0, options)])

    def wait(self, count: int) -> dict[str, Outcome]:
        """The outcomes of the next `count` tasks by key."""
        outcomes: dict[str, Outcome] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(outcomes) < count:
            assert time.monotonic() < deadline, f"only {sorted(outcomes)} ended"
            outcomes.update((outcome.key, outcome) for outcome in self.executor.take_outcomes())
            time.sleep(0.0005)
        return outcomes


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.executor.close(PATIENCE_S)
    _calls.clear()


def until(event: threading.Event) -> None:
    assert wait_lent(event.wait, PATIENCE_S)


async def until_async(event: threading.Event) -> None:
    assert await await_lent(asyncio.to_thread(event.wait, PATIENCE_S))


def test_what_others_take_while_a_task_waits_is_not_counted_against_it(bench: Bench) -> None:
    done = threading.Event()

    def parent() -> None:
        bench.grow(LIMIT // 2)
        until(done)
        bench.grow(LIMIT // 4)

    def other() -> None:
        bench.grow(10 * LIMIT)
        assert bench.limits.look(time.monotonic())  # the parent's watch is there, and judges nothing
        assert bench.limits.look(time.monotonic())
        done.set()

    bench.submit("parent", parent, limit=LIMIT)
    bench.submit("other", other)
    outcomes = bench.wait(2)
    assert outcomes["parent"].failure is None and outcomes["other"].failure is None


def test_what_a_task_takes_before_and_after_it_waits_is_one_sum(bench: Bench) -> None:
    done = threading.Event()

    def parent() -> None:
        bench.grow(2 * LIMIT // 3)
        until(done)
        bench.grow(2 * LIMIT // 3)

    bench.submit("parent", parent, limit=LIMIT)
    bench.submit("other", done.set)
    failure = bench.wait(2)["parent"].failure
    assert failure is not None and failure[0].endswith("MemoryLimitExceeded")


def test_what_a_task_took_before_it_waited_counts_though_it_gave_it_back(bench: Bench) -> None:
    done = threading.Event()

    def parent() -> None:
        bench.grow(2 * LIMIT)
        bench.grow(-2 * LIMIT)
        until(done)

    bench.submit("parent", parent, limit=LIMIT)
    bench.submit("other", done.set)
    assert bench.wait(2)["parent"].failure is not None


def test_two_tasks_with_limits_may_wait_for_each_other(bench: Bench) -> None:
    done = threading.Event()
    bench.submit("parent", lambda: until(done), limit=LIMIT)
    bench.submit("child", done.set, limit=LIMIT)
    bench.submit("next", lambda: 1, limit=LIMIT)
    assert {outcome.failure is None for outcome in bench.wait(3).values()} == {True}


def test_an_async_task_with_a_limit_may_wait_too(bench: Bench) -> None:
    done = threading.Event()
    bench.submit("parent", lambda: until_async(done), limit=LIMIT)
    bench.submit("child", done.set, limit=LIMIT)
    bench.submit("next", lambda: 1, limit=LIMIT)
    assert {outcome.failure is None for outcome in bench.wait(3).values()} == {True}


def test_an_async_task_is_judged_by_what_it_took_before_it_waited(bench: Bench) -> None:
    done = threading.Event()

    async def parent() -> None:
        bench.grow(2 * LIMIT)
        await until_async(done)

    bench.submit("parent", parent, limit=LIMIT)
    bench.submit("other", done.set)
    assert bench.wait(2)["parent"].failure is not None


def test_nobody_waits_for_the_end_of_a_pause_who_has_begun(bench: Bench) -> None:
    done = threading.Event()
    bench.submit("parent", lambda: until(done))
    deadline = time.monotonic() + PATIENCE_S
    while not bench.executor.lending.take_news():
        assert time.monotonic() < deadline
    bench.executor.gate.set_paused(True)
    bench.submit("other", lambda: 1)
    done.set()
    assert list(bench.wait(1)) == ["parent"]
    bench.executor.gate.set_paused(False)
    assert list(bench.wait(1)) == ["other"]
