"""Interrupts: they come in the call and nowhere else, again while they are swallowed, and soon."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.errors import TaskTimeoutError
from distributed.messages import RunOptions
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import dumps_payload
from distributed.worker.context import await_lent, wait_lent
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.running import Running, read_deadlines
from distributed.worker.store import Store

PATIENCE_S = 20.0

begun = threading.Event()
waits = threading.Event()
events: dict[str, threading.Event] = {}
seen: list[str] = []


def spin() -> None:
    begun.set()
    while True:
        len(seen)


def swallow(times: int) -> str:
    """Catches so many exceptions before it lets one pass."""
    begun.set()
    for _ in range(times):
        try:
            while True:
                len(seen)
        except BaseException as error:
            seen.append(type(error).__name__)
    while True:
        len(seen)


def quick(number: int) -> int:
    return number


class Place:
    """An executor of two threads, and a loop in a thread that interrupts."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.executor = Executor(1, lambda: None, Store())
        self.executor.interrupts.attach(self.loop)
        self.outcomes: list[Outcome] = []
        self.tickets = 0

    def task(self, function: Callable[..., Any], *args: Any, timeout_s: float = 0.0) -> ReadyTask:
        self.tickets += 1
        key = f"{function.__name__}-{self.tickets}"
        digest, arguments = function.__name__.encode(), dumps_payload((args, {}))
        blob = dumps_payload(function)
        return ReadyTask(
            key, self.tickets, digest, blob, arguments, False, None, options=RunOptions(timeout_s=timeout_s)
        )

    def on_loop(self, call: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)

    def stop(self, *tasks: ReadyTask) -> list[int]:
        found: list[int] = self.on_loop(lambda: self.executor.stop({task.key: task.ticket for task in tasks}))
        return found

    def wait(self, count: int) -> list[Outcome]:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.outcomes) < count and time.monotonic() < deadline:
            new = self.executor.take_outcomes()
            self.executor.interrupts.forget([outcome.ticket for outcome in new])
            self.outcomes += new
            time.sleep(0.001)
        assert len(self.outcomes) >= count
        return self.outcomes

    def close(self) -> None:
        assert self.executor.close(PATIENCE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE_S)
        self.loop.close()


@pytest.fixture
def place() -> Iterator[Place]:
    begun.clear()
    seen.clear()
    place = Place()
    yield place
    place.close()


def test_a_loop_is_interrupted_and_its_thread_goes_on(place: Place) -> None:
    endless = place.task(spin)
    place.executor.submit([endless, place.task(quick, 7)])
    assert begun.wait(PATIENCE_S)
    assert place.stop(endless) == []
    first, second = place.wait(2)
    assert first.failure is not None
    assert first.failure[0].endswith("TaskInterrupted")
    assert second.value == 7
    assert not place.executor.interrupts.wanted


def test_what_has_not_begun_never_does(place: Place) -> None:
    endless, queued = place.task(spin), place.task(quick, 7)
    place.executor.submit([endless, queued])
    assert begun.wait(PATIENCE_S)
    assert place.stop(endless, queued) == [queued.ticket]
    assert [outcome.key for outcome in place.wait(1)] == [endless.key]


def test_what_is_swallowed_is_raised_again(place: Place) -> None:
    stubborn = place.task(swallow, 3)
    place.executor.submit([stubborn])
    assert begun.wait(PATIENCE_S)
    place.stop(stubborn)
    place.wait(1)
    assert seen == ["TaskInterrupted"] * 3


def test_a_task_that_is_stopped_before_its_call_does_not_run(place: Place) -> None:
    task = place.task(spin)
    place.on_loop(lambda: place.executor.interrupts.stop([task.ticket]))
    place.executor.submit([task])
    [outcome] = place.wait(1)
    assert outcome.failure is not None
    assert not begun.is_set()


def test_no_interrupt_comes_outside_of_the_call(place: Place) -> None:
    """Thousands of short calls, many interrupted around their end: each has an outcome, and its thread lives."""
    count = 3_000
    tasks = [place.task(quick, number) for number in range(count)]
    place.executor.submit(tasks)

    def stop_all() -> None:
        place.executor.interrupts.stop([task.ticket for task in tasks[::3]])

    place.on_loop(stop_all)
    outcomes = place.wait(count)
    assert sorted(outcome.ticket for outcome in outcomes) == [task.ticket for task in tasks]
    kept = [outcome.value for outcome in outcomes if outcome.failure is None]
    assert len(kept) >= count * 2 // 3
    last = place.task(quick, -1)
    place.executor.submit([last])
    assert place.wait(count + 1)[-1].value == -1


def test_a_task_over_its_time_fails_and_says_where_it_was(place: Place) -> None:
    late = place.task(spin, timeout_s=0.05)
    place.executor.submit([late, place.task(quick, 7, timeout_s=60.0)])
    first, second = place.wait(2)
    assert first.failure is not None
    error = exception_from_failure(first.failure, "here")
    assert isinstance(error, TaskTimeoutError)
    assert (error.key, error.timeout_s) == (late.key, 0.05)
    assert "in spin" in first.failure[2]
    assert second.value == 7


def test_a_deadline_is_told_to_whoever_guards_the_process(tmp_path: Any) -> None:
    running = Running(str(tmp_path / "running"), 2)
    running.begin(1, "x" * 600)
    running.limit(1, 12.5)
    assert read_deadlines(str(tmp_path / "running")) == [("x" * 500, 12.5)]
    running.begin(1, "y")
    assert read_deadlines(str(tmp_path / "running")) == [("y", 0.0)]
    running.close()


def test_a_cancelled_task_with_a_limit_was_cancelled(place: Place) -> None:
    task = place.task(spin, timeout_s=60.0)
    place.executor.submit([task])
    assert begun.wait(PATIENCE_S)
    place.stop(task)
    [outcome] = place.wait(1)
    assert outcome.failure is not None
    assert outcome.failure[0].endswith("TaskInterrupted")


def test_many_tasks_with_limits_do_not_wake_the_loop_each(place: Place) -> None:
    looks: list[int] = []
    look = place.executor.interrupts._look

    def count(is_again: bool = False) -> None:
        looks.append(1)
        look(is_again)

    place.executor.interrupts._look = count  # type: ignore[method-assign]
    place.executor.submit([place.task(quick, number, timeout_s=60.0) for number in range(1_000)])
    assert len(place.wait(1_000)) == 1_000
    assert not place.executor.interrupts.wanted
    assert len(looks) < 100


def test_what_a_failed_call_had_is_let_go_at_once(place: Place) -> None:
    class Held:
        """Something big."""

    seen_alive: list[Any] = []

    def fail() -> None:
        held = Held()
        seen_alive.append(weakref.ref(held))
        raise ValueError(str(held))

    def spin_with() -> None:
        held = Held()
        seen_alive.append(weakref.ref(held))
        while held:
            len(seen)

    gc.disable()
    try:
        for function, timeout_s in ((fail, 0.0), (spin_with, 0.05)):
            arguments = dumps_payload(((), {}))
            place.executor._caller.functions._add(function.__name__.encode(), function)
            place.tickets += 1
            place.executor.submit([
                ReadyTask(
                    function.__name__, place.tickets, function.__name__.encode(), b"", arguments, False, None,
                    options=RunOptions(timeout_s=timeout_s),
                )
            ])  # fmt: skip
        assert all(outcome.failure is not None for outcome in place.wait(2))
        place.executor.submit([place.task(quick, 1)])
        place.wait(3)
        assert [held() for held in seen_alive] == [None, None]
    finally:
        gc.enable()


def wait_for_ever() -> None:
    """As a client waits: its slot is lent."""
    waits.set()
    wait_lent(threading.Event().wait, None)


def wait_for(event: str) -> str:
    waits.set()
    wait_lent(events[event].wait, None)
    return event


def keep_slot() -> str:
    begun.set()
    events["free"].wait(PATIENCE_S)
    return "kept"


@pytest.mark.parametrize("function", [wait_for_ever, lambda: wait_for("child")], ids=["what waits", "what goes on"])
def test_a_task_that_lent_its_slot_stops_though_another_keeps_that(place: Place, function: Callable[[], Any]) -> None:
    events.update(free=threading.Event(), child=threading.Event())
    waits.clear()
    waiting, busy = place.task(function), place.task(keep_slot)
    place.executor.submit([waiting])
    assert waits.wait(PATIENCE_S)
    place.executor.submit([busy])
    assert begun.wait(PATIENCE_S)
    events["child"].set()  # what it waited for is there; it has no slot to go on
    place.stop(waiting)
    [stopped] = place.wait(1)
    assert (stopped.key, stopped.failure is not None) == (waiting.key, True)
    assert place.executor.running.keys() == [busy.key]
    events["free"].set()
    after = place.task(quick, 7)
    place.executor.submit([after])
    assert [outcome.value for outcome in place.wait(3)[1:]] == ["kept", 7]


async def await_for_ever() -> None:
    waits.set()
    await await_lent(asyncio.get_running_loop().create_future())


def test_a_coroutine_that_lent_its_slot_stops_though_another_keeps_that(place: Place) -> None:
    events.update(free=threading.Event())
    waits.clear()
    waiting, busy = place.task(await_for_ever), place.task(keep_slot)
    place.executor.submit([waiting, busy])
    assert waits.wait(PATIENCE_S)
    assert begun.wait(PATIENCE_S)
    place.stop(waiting)
    [stopped] = place.wait(1)
    assert (stopped.key, stopped.failure is not None) == (waiting.key, True)
    events["free"].set()
    place.executor.submit([place.task(quick, 7)])
    assert [outcome.value for outcome in place.wait(3)[1:]] == ["kept", 7]
