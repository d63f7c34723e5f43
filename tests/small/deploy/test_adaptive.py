"""How many workers there should be: up at once, down after a while, never below what is needed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.deploy.adaptive import Adaptive
from distributed.errors import ConfigError


def test_workers_are_added_at_once() -> None:
    policy = Adaptive(0, 10)
    assert policy.target(1, 0, False) == 1
    assert policy.target(7, 1, False) == 7
    assert policy.target(99, 7, False) == 10


def test_workers_end_only_after_a_while() -> None:
    policy = Adaptive(0, 10, wait_count=3)
    assert [policy.target(2, 8, False) for _ in range(3)] == [8, 8, 2]
    assert [policy.target(0, 2, False) for _ in range(3)] == [2, 2, 0], "it counts anew"


def test_as_many_stay_as_were_needed_in_that_while() -> None:
    policy = Adaptive(0, 10, wait_count=3)
    assert [policy.target(desired, 8, False) for desired in (1, 5, 2)] == [8, 8, 5]


def test_work_in_between_begins_the_while_anew() -> None:
    policy = Adaptive(0, 10, wait_count=2)
    assert [policy.target(desired, 8, False) for desired in (1, 8, 1, 1)] == [8, 8, 8, 1]


def test_the_last_worker_with_results_stays() -> None:
    policy = Adaptive(0, 10, wait_count=1)
    assert policy.target(0, 3, True) == 1
    assert policy.target(0, 1, True) == 1
    assert policy.target(0, 1, False) == 0
    assert policy.target(0, 0, False) == 0


@pytest.mark.parametrize("bounds", [(-1, 5), (3, 2), (0, 0), (0, 5, 0)])
def test_bounds_that_contradict_each_other_are_refused(bounds: Any) -> None:
    with pytest.raises(ConfigError):
        Adaptive(*bounds)


@given(
    st.integers(0, 5), st.integers(0, 20), st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=50),
)  # fmt: skip
def test_it_stays_within_bounds(minimum: int, more: int, wait_count: int, steps: list[tuple[int, bool]]) -> None:
    policy = Adaptive(minimum, max(1, minimum + more), wait_count)
    present = 0
    for desired, has_data in steps:
        target = policy.target(desired, present, has_data)
        assert policy.minimum <= target <= policy.maximum
        assert target >= min(desired, policy.maximum)
        assert target or not (has_data and present)
        present = target
