"""The driver between a machine and a loop. The loop is a fake with a clock that stands still."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed import driver as driver_module
from distributed.driver import Driver, StepTimes


class FakeTimer:
    def __init__(self, when: float, callback: Callable[[], Any]) -> None:
        self._when = when
        self.callback = callback
        self.is_cancelled = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeLoop:
    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], Any]) -> FakeTimer:
        timer = FakeTimer(when, callback)
        self.timers.append(timer)
        return timer

    def waiting(self) -> list[float]:
        return [timer.when() for timer in self.timers if not timer.is_cancelled]

    def ring(self) -> None:
        timer = next(timer for timer in self.timers if not timer.is_cancelled)
        timer.is_cancelled = True
        self.now = timer.when()
        timer.callback()


class Recorder:
    """A machine whose effects are the event itself, unless told otherwise."""

    def __init__(self) -> None:
        self.next_wakeup: float | None = None
        self.handled: list[tuple[Any, float]] = []
        self.effects: list[Any] = []

    def handle(self, event: Any, now: float) -> None:
        if isinstance(event, Exception):
            raise event
        self.handled.append((event, now))
        self.effects.append(event)

    def take_effects(self) -> list[Any]:
        effects, self.effects = self.effects, []
        return effects


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    loop = FakeLoop()
    monkeypatch.setattr(driver_module.asyncio, "get_running_loop", lambda: loop)
    return loop


def test_effects_are_performed_by_their_type_in_order(loop: FakeLoop) -> None:
    done: list[Any] = []
    driver = Driver(Recorder(), {int: done.append, str: lambda effect: done.append(effect * 2)})
    for event in (1, "x", 2):
        driver.handle(event)
    assert done == [1, "xx", 2]


def test_the_machine_is_told_the_time_of_the_loop(loop: FakeLoop) -> None:
    machine = Recorder()
    Driver(machine, {int: lambda effect: None}).handle(1)
    assert machine.handled == [(1, 100.0)]


def test_events_that_an_effect_causes_wait_their_turn(loop: FakeLoop) -> None:
    order: list[str] = []
    machine = Recorder()

    def perform(effect: int) -> None:
        order.append(f"begin {effect}")
        if effect < 3:
            driver.handle(effect + 1)
        order.append(f"end {effect}")

    driver = Driver(machine, {int: perform})
    driver.handle(1)
    assert order == ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]


@pytest.mark.parametrize("event", [ValueError("in the machine"), 1.5], ids=["machine", "no performer"])
def test_a_failure_is_told_once_and_nothing_is_handled_afterwards(loop: FakeLoop, event: Any) -> None:
    failures: list[BaseException] = []
    machine = Recorder()
    driver = Driver(machine, {int: lambda effect: None}, on_failure=failures.append)
    driver.handle(event)
    driver.handle(1)
    assert len(failures) == 1 and isinstance(failures[0], (ValueError, KeyError))
    assert (1, 100.0) not in machine.handled
    assert not driver._events, "nothing piles up"


def test_without_anybody_to_tell_a_failure_is_raised(loop: FakeLoop) -> None:
    driver = Driver(Recorder(), {})
    with pytest.raises(ValueError, match="mine"):
        driver.handle(ValueError("mine"))


def test_a_tick_comes_when_the_machine_wants_one(loop: FakeLoop) -> None:
    machine = Recorder()
    driver = Driver(machine, {int: lambda effect: None, str: lambda effect: None}, tick=lambda: "tick")
    machine.next_wakeup = 105.0
    driver.handle(1)
    assert loop.waiting() == [105.0]
    machine.next_wakeup = None
    loop.ring()
    assert machine.handled == [(1, 100.0), ("tick", 105.0)]
    assert loop.waiting() == []


def test_one_timer_follows_what_the_machine_wants(loop: FakeLoop) -> None:
    machine = Recorder()
    driver = Driver(machine, {int: lambda effect: None}, tick=lambda: 0)
    for when, timers in ((105.0, 1), (105.0, 1), (103.0, 2), (None, 2)):
        machine.next_wakeup = when
        driver.handle(1)
        assert loop.waiting() == ([] if when is None else [when])
        assert len(loop.timers) == timers, "the same time needs no new timer"


def test_a_machine_without_ticks_has_no_timer(loop: FakeLoop) -> None:
    machine = Recorder()
    machine.next_wakeup = 101.0
    Driver(machine, {int: lambda effect: None}).handle(1)
    assert loop.timers == []


def test_after_stop_nothing_is_handled_and_no_timer_waits(loop: FakeLoop) -> None:
    machine = Recorder()
    driver = Driver(machine, {int: lambda effect: None}, tick=lambda: 0)
    machine.next_wakeup = 101.0
    driver.handle(1)
    driver.stop()
    driver.handle(2)
    assert machine.handled == [(1, 100.0)] and loop.waiting() == []


def test_stop_while_an_event_is_handled_drops_the_rest(loop: FakeLoop) -> None:
    machine = Recorder()

    def perform(effect: int) -> None:
        driver.handle(effect + 1)
        driver.stop()

    driver = Driver(machine, {int: perform})
    driver.handle(1)
    assert machine.handled == [(1, 100.0)]


# ---------------------------------------------------------------- how long steps take


@given(st.lists(st.floats(0, 400), min_size=1, max_size=200), st.sampled_from([0.5, 0.99, 1.0]))
def test_quantiles_are_right_up_to_a_quarter(times: list[float], part: float) -> None:
    steps = StepTimes()
    for seconds in times:
        steps.add(seconds)
    exact = sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
    assert exact <= steps.quantile_s(part) <= max(1.25 * exact + 1e-6, exact)
    assert steps.max_s == max(times)


def test_no_step_takes_no_time() -> None:
    assert StepTimes().summary() == {"count": 0, "p50_s": 0.0, "p99_s": 0.0, "max_s": 0.0}


def test_a_step_longer_than_all_buckets_is_counted() -> None:
    steps = StepTimes()
    steps.add(1e9)
    assert steps.summary() == {"count": 1, "p50_s": 1e9, "p99_s": 1e9, "max_s": 1e9}
