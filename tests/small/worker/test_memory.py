"""What a worker does about its memory: a table of situations, and rules that hold in all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.worker.memory import (
    DISK_RETRY_S,
    LOOK_S_MAX,
    LOOK_S_MIN,
    STUCK_S,
    TRIM_S,
    Effect,
    Levels,
    Look,
    Measure,
    Measured,
    MemoryMachine,
    Pause,
    Spill,
    SpillEnded,
    Trim,
    look_after_s,
)

LEVELS = Levels.of(1_000, 0.6, 0.7, 0.8, 0.95)


def tell(machine: MemoryMachine, now: float, process: int, managed: int = 0, spilling: int = 0, free: int = 0) -> Any:
    machine.handle(Measured(process, managed, spilling, free), now)
    return machine.take_effects()


def test_fractions_of_the_limit_are_levels_and_zero_is_none() -> None:
    assert Levels(1_000, 600, 700, 800, 950) == LEVELS
    assert LEVELS.resume_nbytes == 750
    assert Levels.of(1_000, 0, 0, 0, 0) == Levels(1_000, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("process", "managed", "spilling", "free", "effects"),
    [
        (100, 50, 0, 50, []),
        (600, 600, 0, 600, []),  # at the target, not above
        (650, 610, 0, 610, [Spill(10)]),
        (650, 610, 10, 600, []),  # that much is under way
        (650, 640, 10, 600, [Spill(30)]),
        (650, 610, 0, 0, []),  # nothing that could be written, and the process is not full
        (700, 300, 0, 300, []),
        (701, 300, 0, 300, [Spill(101)]),  # memory that is not results: results make room for it
        (701, 300, 40, 260, [Spill(61)]),
        (701, 300, 0, 0, [Trim()]),
        (701, 300, 300, 0, []),  # first see what that brings
        (800, 0, 0, 0, [Trim()]),
        (801, 0, 0, 0, [Trim(), Pause(True, 801)]),
        (900, 850, 0, 850, [Spill(300), Pause(True, 900)]),
    ],
)
def test_each_level_has_its_deed(process: int, managed: int, spilling: int, free: int, effects: list[Effect]) -> None:
    assert tell(MemoryMachine(LEVELS), 0.0, process, managed, spilling, free) == effects


@pytest.mark.parametrize("process", [650, 750, 850, 5_000])
def test_levels_of_zero_do_nothing(process: int) -> None:
    machine = MemoryMachine(Levels.of(1_000, 0, 0, 0, 0))
    assert tell(machine, 0.0, process, process, 0, process) == []
    assert machine.next_wakeup is not None


def test_without_a_target_the_process_is_relieved_down_to_the_spill_level() -> None:
    machine = MemoryMachine(Levels.of(1_000, 0, 0.7, 0, 0))
    assert tell(machine, 0.0, 900, 900, 0, 900) == [Spill(200)]


def test_a_look_is_a_measurement_and_sleeps_until_it_is_answered() -> None:
    machine = MemoryMachine(LEVELS)
    machine.handle(Look(), 5.0)
    assert machine.take_effects() == [Measure()]
    assert machine.next_wakeup is None
    assert tell(machine, 5.0, 100) == []
    assert machine.next_wakeup == 5.0 + LOOK_S_MIN


def test_it_looks_more_often_the_nearer_the_level_is() -> None:
    assert look_after_s(0, 10 * 2**30) == LOOK_S_MAX
    assert look_after_s(9 * 2**30, 10 * 2**30) == 0.5
    assert look_after_s(11 * 2**30, 10 * 2**30) == LOOK_S_MIN


def test_a_pause_ends_a_little_below_its_level() -> None:
    machine = MemoryMachine(LEVELS)
    assert Pause(True, 810) in tell(machine, 0.0, 810)
    assert tell(machine, 0.1, 850) == []
    assert tell(machine, 0.2, 760) == []
    assert tell(machine, 0.3, 749) == [Pause(False, 749)]
    assert not machine.is_paused


def test_a_pause_that_frees_nothing_ends_and_does_not_come_again_before_there_was_room() -> None:
    machine = MemoryMachine(LEVELS)
    assert Pause(True, 900) in tell(machine, 0.0, 900, 100, 0, 100)
    assert Pause(False, 900, True) not in tell(machine, STUCK_S, 900, 100, 0, 100)  # there is something to write
    assert tell(machine, STUCK_S + 1, 900, 100, 100, 0) == []  # it is being written
    tell(machine, 100.0, 900)
    assert Pause(False, 900, True) not in tell(machine, 99.9 + STUCK_S, 900)
    assert Pause(False, 900, True) in tell(machine, 100.0 + STUCK_S, 900)
    assert not any(isinstance(effect, Pause) for effect in tell(machine, 200.0, 940))
    assert Trim() not in tell(machine, 201.0, 740, 0, 10)
    assert Pause(True, 900) in tell(machine, 202.0, 900)


def test_a_full_disk_is_left_alone_for_a_while() -> None:
    machine = MemoryMachine(LEVELS)
    assert tell(machine, 0.0, 650, 650, 0, 650) == [Spill(50)]
    machine.handle(SpillEnded(True), 1.0)
    assert tell(machine, 0.9 + DISK_RETRY_S, 650, 650, 0, 650) == []
    assert tell(machine, 1.0 + DISK_RETRY_S, 650, 650, 0, 650) == [Spill(50)]


def test_a_worker_whose_disk_is_full_does_not_pause_for_ever() -> None:
    machine = MemoryMachine(LEVELS)
    machine.handle(SpillEnded(True), 0.0)
    now, paused = 0.0, []
    while now < 2 * STUCK_S:
        for effect in tell(machine, now, 900, 900, 0, 900):
            if isinstance(effect, Pause):
                paused.append(effect.paused)
            elif isinstance(effect, Spill):
                machine.handle(SpillEnded(True), now)
        now += 1.0
    assert paused == [True, False]


def test_memory_is_trimmed_now_and_then() -> None:
    machine = MemoryMachine(LEVELS)
    times = [now for now in range(35) if Trim() in tell(machine, float(now), 750)]
    assert times == [0, TRIM_S, 2 * TRIM_S, 3 * TRIM_S]


sizes = st.integers(0, 2_000)
samples = st.lists(st.tuples(st.floats(0, 20), sizes, sizes, sizes, sizes, st.booleans()), max_size=40)


@given(samples)
def test_whatever_is_measured_it_says_each_pause_once_and_never_asks_for_more_than_the_excess(given_: Any) -> None:
    machine, now, paused = MemoryMachine(LEVELS), 0.0, False
    for step, process, managed, spilling, free, fails in given_:
        now += step
        if fails:
            machine.handle(SpillEnded(True), now)
        for effect in tell(machine, now, process, managed, spilling, free):
            if isinstance(effect, Pause):
                assert effect.paused is not paused
                paused = effect.paused
                assert process > LEVELS.pause_nbytes if paused else effect.is_stuck or process < LEVELS.resume_nbytes
            elif isinstance(effect, Spill):
                assert 0 < effect.nbytes <= max(managed, process) - LEVELS.target_nbytes - spilling
                assert free
        assert paused is machine.is_paused
        assert machine.next_wakeup is not None
        assert now + LOOK_S_MIN <= machine.next_wakeup <= now + LOOK_S_MAX


@given(sizes.filter(lambda size: size > LEVELS.pause_nbytes), st.booleans())
def test_whatever_the_memory_a_pause_has_an_end(process: int, disk_works: bool) -> None:
    machine, now, free = MemoryMachine(LEVELS), 0.0, process
    while now <= 3 * STUCK_S:
        for effect in tell(machine, now, process, process, 0, free):
            if isinstance(effect, Spill):
                machine.handle(SpillEnded(not disk_works), now)
                if disk_works:
                    free = max(0, free - effect.nbytes)  # written, but the memory of the process stays as it is
        now += 0.5
    assert not machine.is_paused
