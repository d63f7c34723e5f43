"""Code of ours that a task calls is sheltered: an interrupt that comes in the middle waits, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.messages import Message, RunOptions, TasksPrinted
from distributed.protocol.serialize import dumps_payload
from distributed.worker.context import current, rejoin, secede, sheltered, wait_lent
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.output import STDOUT, TaskOutput
from distributed.worker.store import Store

PATIENCE_S = 20.0
SHORT_S = 0.001

_calls: dict[str, Callable[[], Any]] = {}


def call(key: str) -> Any:
    """What every task here is."""
    return _calls[key]()


class Place:
    """An executor of one thread, a loop in a thread that interrupts, and tasks that are closures of the test."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.executor = Executor(1, lambda: None, Store())
        self.executor.interrupts.attach(self.loop)
        self.blob = dumps_payload(call)
        self.tickets: dict[str, int] = {}

    def submit(self, key: str, function: Callable[[], Any], timeout_s: float = 0.0) -> None:
        _calls[key] = function
        self.tickets[key] = len(self.tickets) + 1
        arguments, options = dumps_payload(((key,), {})), RunOptions(timeout_s=timeout_s)
        task = ReadyTask(key, self.tickets[key], b"call", self.blob, arguments, False, None, options=options)
        self.executor.submit([task])

    def stop(self, key: str) -> None:
        """From any thread: it is cancelled when this returns."""

        self.on_loop(lambda: self.executor.stop({key: self.tickets[key]}))

    def on_loop(self, function: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)

    def wait(self) -> Outcome:
        """The outcome of the next task that ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not (outcomes := self.executor.take_outcomes()):
            assert time.monotonic() < deadline, "nothing has ended"
            time.sleep(SHORT_S)
        self.executor.interrupts.forget([outcome.ticket for outcome in outcomes])
        [outcome] = outcomes
        return outcome

    def assert_works(self) -> None:
        """The slot is there, and what runs in it is not interrupted."""
        self.submit("after", lambda: sum(range(1000)))
        assert self.wait().value == 499_500
        assert not self.executor.interrupts.wanted
        assert not any(self.executor.interrupts.running)
        assert not self.executor._permits._requests

    def close(self) -> None:
        closed = self.executor.close(PATIENCE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE_S)
        self.loop.close()
        assert closed


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()
    _calls.clear()


def is_interrupted(outcome: Outcome) -> bool:
    return outcome.failure is not None and outcome.failure[0].endswith("TaskInterrupted")


def stop_in(place: Place, monkeypatch: pytest.MonkeyPatch, method: str, key: str = "task") -> None:
    """Task `key` is cancelled while its thread is in this method of the permits, the first time."""
    original = getattr(place.executor._permits, method)
    stopped: list[bool] = []

    def slow(*arguments: Any) -> Any:
        result = original(*arguments)
        if not stopped and current() is not None:
            stopped.append(True)
            place.stop(key)
        return result

    monkeypatch.setattr(place.executor._permits, method, slow)


@pytest.mark.parametrize("method", ["pass_on", "end"])
def test_a_cancel_of_a_coroutine_that_begins_or_ends_loses_no_slot(
    place: Place, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def sleep() -> None:
        await asyncio.sleep(0 if method == "end" else PATIENCE_S)

    stop_in(place, monkeypatch, method)
    place.submit("task", sleep)
    assert is_interrupted(place.wait())
    place.assert_works()


@pytest.mark.parametrize("method", ["lend", "request"])
def test_a_cancel_of_a_task_that_begins_or_ends_to_wait_loses_no_slot(
    place: Place, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    event = threading.Event()
    if method == "request":
        threading.Timer(0.01, event.set).start()
    stop_in(place, monkeypatch, method)
    place.submit("task", lambda: wait_lent(event.wait, PATIENCE_S))
    assert is_interrupted(place.wait())
    assert [is_lent for _, is_lent in place.executor.lending.take_news().values()] == [False]
    place.assert_works()


def test_a_cancel_of_a_task_that_secedes_loses_no_slot(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        secede()
        rejoin()

    stop_in(place, monkeypatch, "lend")
    place.submit("task", work)
    assert is_interrupted(place.wait())
    place.assert_works()


def test_a_cancel_of_a_waiting_task_ends_the_wait(place: Place) -> None:
    begun, never = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        wait_lent(never.wait, None)

    place.submit("task", work)
    assert begun.wait(PATIENCE_S)
    place.stop("task")
    assert is_interrupted(place.wait())
    place.assert_works()


def test_a_time_limit_ends_a_wait_and_a_coroutine(place: Place) -> None:
    never = threading.Event()
    place.submit("waits", lambda: wait_lent(never.wait, None), timeout_s=0.05)
    first = place.wait()
    place.submit("sleeps", lambda: asyncio.sleep(PATIENCE_S), timeout_s=0.05)
    second = place.wait()
    for outcome in (first, second):
        assert outcome.failure is not None
        assert outcome.failure[0].endswith("TaskTimeoutError")
    place.assert_works()


def test_a_cancel_of_a_task_that_prints_leaves_its_output_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Message] = []

    output: TaskOutput = place.on_loop(lambda: TaskOutput(sent.append))
    place.on_loop(lambda: output.open(is_guarded=False))
    wake = output._wake

    def slow() -> None:  # what was written is in the lines, and nobody knows
        place.stop("task")
        wake()

    def work() -> None:
        context = current()
        assert context is not None
        output.write(context, STDOUT, "heard\n")

    monkeypatch.setattr(output, "_wake", slow)
    place.submit("task", work)
    assert is_interrupted(place.wait())
    assert output.has_any
    place.assert_works()
    place.on_loop(output.close)
    assert [message.texts for message in sent if isinstance(message, TasksPrinted)] == [["heard\n"]]


def test_an_interrupt_comes_when_the_shelter_ends(place: Place) -> None:
    seen: list[str] = []

    def work() -> None:
        with sheltered():
            with sheltered():
                place.stop("task")
            for _ in range(1000):
                len(seen)
            seen.append("whole")
        seen.append("too far")

    place.submit("task", work)
    assert is_interrupted(place.wait())
    assert seen == ["whole"]
    place.assert_works()


def test_an_interrupt_that_was_on_its_way_comes_before_the_shelter(place: Place) -> None:
    seen: list[str] = []

    def work() -> None:
        interrupts, slot = place.executor.interrupts, 0
        original = interrupts._calm

        def calm(slot: int, ticket: int) -> bool:
            seen.append("calm")
            return original(slot, ticket)

        interrupts._calm = calm  # type: ignore[method-assign] # of this object only
        running = interrupts.running

        class Late(list[int]):
            def __getitem__(self, index: Any) -> Any:  # after this look it is raised
                ticket = list.__getitem__(self, index)
                if not seen:
                    seen.append("stopped")
                    place.stop("task")
                return ticket

        interrupts.running = Late(running)
        try:
            with sheltered():
                seen.append("inside")
        finally:
            assert interrupts.running[slot] == place.tickets["task"]

    place.submit("task", work)
    assert is_interrupted(place.wait())
    assert "inside" not in seen
    place.assert_works()


def test_threads_of_the_task_s_own_are_not_concerned(place: Place) -> None:
    def work() -> bool:
        context = current()
        found: list[Any] = []

        def own() -> None:
            assert context is not None
            found.append(place.executor.interrupts.shelter(context.slot))

        thread = threading.Thread(target=own)
        thread.start()
        thread.join()
        return found == [0] and place.executor.interrupts.running[0] != 0

    place.submit("task", work)
    assert place.wait().value is True
