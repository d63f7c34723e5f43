"""Async functions and generators as tasks: what comes out, where they run, and how they end."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from distributed.protocol.failure import exception_from_failure
from distributed.worker.async_tasks import _Run, _wait
from distributed.worker.context import TaskContext, await_lent, current_key, get_worker, wait_lent
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.store import Store

PATIENCE_S = 20.0

_calls: dict[str, Callable[[], Any]] = {}


def call(key: str) -> Any:
    """What every task here is."""
    return _calls[key]()


class Bench:
    """An executor with one thread, and tasks that are closures of the test."""

    def __init__(self) -> None:
        self.executor = Executor(1, lambda: None, Store(), "tcp://me:1", owner=self)
        self.blob = b"c" + f"{__name__}\ncall\n.".encode()

    def submit(self, key: str, function: Callable[[], Any]) -> None:
        _calls[key] = function
        arguments = b"\x80\x05" + b"(\x8c" + bytes([len(key)]) + key.encode() + b"t}\x86."
        self.executor.submit([ReadyTask(key, 1, self.blob, self.blob, arguments, False, None)])

    def wait(self, count: int) -> dict[str, Outcome]:
        """The outcomes of the next `count` tasks by key."""
        outcomes: dict[str, Outcome] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(outcomes) < count:
            assert time.monotonic() < deadline, f"only {sorted(outcomes)} ended"
            outcomes.update((outcome.key, outcome) for outcome in self.executor.take_outcomes())
            time.sleep(0.0005)
        return outcomes

    def run(self, function: Callable[[], Any]) -> Any:
        """What the only task returns; raises what it raises."""
        self.submit("k", function)
        outcome = self.wait(1)["k"]
        if outcome.failure is not None:
            raise exception_from_failure(outcome.failure, "the executor")
        return outcome.value


@pytest.fixture
def bench() -> Iterator[Bench]:
    """With one thread."""
    bench = Bench()
    yield bench
    assert bench.executor.close(PATIENCE_S)
    _calls.clear()


def test_the_result_of_a_coroutine_is_the_result_of_the_task(bench: Bench) -> None:
    async def task() -> tuple[Any, ...]:
        await asyncio.sleep(0)
        return get_worker() is bench, current_key(), threading.current_thread().name

    assert bench.run(task) == (True, "k", "distributed-worker-async")


def test_all_async_tasks_of_a_worker_share_a_loop(bench: Bench) -> None:
    async def task() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert bench.run(task) is bench.run(task)


def test_generators_become_lists(bench: Bench) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    assert bench.run(numbers) == [0, 1, 2]
    assert bench.run(lambda: (number for number in range(3))) == [0, 1, 2]


def test_a_generator_runs_as_the_task_that_it_is(bench: Bench) -> None:
    def keys() -> Iterator[str | None]:
        yield current_key()

    assert bench.run(keys) == ["k"]


def test_what_a_coroutine_raises_comes_with_the_frames_of_the_user(bench: Bench) -> None:
    async def inner() -> None:
        raise KeyError("x")

    async def task() -> None:
        await inner()

    with pytest.raises(KeyError, match="x") as caught:
        bench.run(task)
    trace = str(caught.value.__cause__)
    assert "in inner" in trace and "in task" in trace and "async_tasks.py" not in trace.replace(__file__, "")
    assert bench.run(lambda: 1) == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_exceptions_that_end_loops_end_only_their_task(bench: Bench, error: type[BaseException]) -> None:
    async def task() -> None:
        raise error("away")

    async def fine() -> int:
        return 1

    with pytest.raises(Exception, match="away"):
        bench.run(task)
    assert bench.run(fine) == 1


def test_what_a_task_leaves_on_the_loop_cannot_end_it(bench: Bench) -> None:
    async def task() -> None:
        asyncio.get_running_loop().call_soon(exit)

    async def fine() -> int:
        await asyncio.sleep(0.01)
        return 1

    bench.run(task)
    assert bench.run(fine) == 1


def test_a_coroutine_that_awaits_others_lends_its_slot(bench: Bench) -> None:
    done = threading.Event()

    async def parent() -> bool:
        both = (await_lent(asyncio.to_thread(done.wait, PATIENCE_S)) for _ in range(2))
        return all(await asyncio.gather(*both))

    bench.submit("parent", parent)
    bench.submit("child", done.set)
    assert bench.wait(2)["parent"].value is True
    assert bench.run(current_key) == "k"  # the slot is there again, and only once
    assert len(bench.executor._threads) == 2


def test_a_coroutine_that_goes_on_waits_for_a_slot(bench: Bench) -> None:
    begun, go, order = threading.Event(), threading.Event(), []

    async def parent() -> None:
        await await_lent(asyncio.to_thread(go.wait, PATIENCE_S))
        order.append("parent")

    def other() -> None:
        go.set()
        begun.wait(0.05)
        order.append("other")

    bench.submit("parent", parent)
    bench.submit("other", other)
    bench.wait(2)
    assert order == ["other", "parent"]


def test_a_coroutine_must_not_block_the_loop_of_all(bench: Bench) -> None:
    async def task() -> None:
        wait_lent(threading.Event().wait, None)

    with pytest.raises(RuntimeError, match="would block the loop of all async tasks"):
        bench.run(task)


def test_an_exception_raised_in_the_thread_cancels_the_coroutine(bench: Bench) -> None:
    begun, ended = threading.Event(), []
    thread: list[int] = []

    def task() -> Any:
        thread.append(threading.get_ident())

        async def forever() -> None:
            begun.set()
            try:
                await asyncio.sleep(PATIENCE_S * 10)
            finally:
                ended.append(True)

        return forever()

    bench.submit("k", task)
    assert begun.wait(PATIENCE_S)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread[0]), ctypes.py_object(KeyError))
    outcome = bench.wait(1)["k"]
    assert outcome.failure is not None and outcome.failure[0] == "KeyError"
    assert ended == [True]


class Interrupted:
    """A loop, in whose first call its caller is interrupted, and which is busy until the second."""

    def __init__(self, loop: asyncio.AbstractEventLoop, is_asked: bool) -> None:
        self.loop = loop
        self.is_asked = is_asked  # before the interrupt
        self.is_closed = loop.is_closed
        self.calls = 0
        self.free = threading.Event()
        loop.call_soon_threadsafe(self.free.wait, PATIENCE_S)

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        self.calls += 1
        if self.calls > 1 or self.is_asked:
            self.loop.call_soon_threadsafe(call)
        if self.calls == 1:
            raise KeyError("interrupted")
        self.free.set()


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_coroutine_whose_thread_is_interrupted_before_its_first_step_never_begins(is_asked: bool) -> None:
    loop, begun = asyncio.new_event_loop(), []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> None:
        begun.append(True)

    run = _Run(begin())
    interrupted: Any = Interrupted(loop, is_asked)
    with pytest.raises(KeyError):
        _wait(interrupted, run, lambda: run.start(loop, TaskContext(0, None, None)), lambda: None)
    assert run.ended.is_set() and isinstance(run.error, asyncio.CancelledError) and not begun
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_closing_ends_the_loop_and_what_runs_on_it() -> None:
    bench = Bench()
    begun, ended = threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.sleep(PATIENCE_S * 10)
        finally:
            ended.set()

    bench.submit("k", forever)
    assert begun.wait(PATIENCE_S)
    assert bench.executor.close(PATIENCE_S)
    assert ended.is_set()
