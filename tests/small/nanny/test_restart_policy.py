"""When a nanny starts a dead worker again."""

from __future__ import annotations

from distributed.nanny import RestartPolicy


def test_the_first_death_costs_no_pause_and_later_ones_more_and_more() -> None:
    policy = RestartPolicy()
    pauses = [policy.pause_s(0.0) for _ in range(9)]
    assert pauses == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_the_tenth_quick_death_in_a_row_is_the_last() -> None:
    policy = RestartPolicy()
    assert None not in [policy.pause_s(9.9) for _ in range(9)]
    assert policy.pause_s(9.9) is None


def test_a_long_life_has_a_clean_record() -> None:
    policy = RestartPolicy(quick_deaths_max=2)
    assert [policy.pause_s(lived_s) for lived_s in (0.0, 10.0, 0.0, 10.0, 0.0)] == [0.0] * 5
    assert policy.pause_s(0.0) is None


def test_deaths_that_a_task_brought_are_not_the_machines_fault() -> None:
    policy = RestartPolicy(quick_deaths_max=2)
    assert [policy.pause_s(0.0, while_busy=True) for _ in range(100)] == [0.0] * 100
    assert policy.quick_deaths == 0


def test_once_given_up_it_stays_so() -> None:
    policy = RestartPolicy(quick_deaths_max=1)
    assert [policy.pause_s(0.0) for _ in range(3)] == [None] * 3
