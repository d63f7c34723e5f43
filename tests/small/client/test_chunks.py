"""Chunks: how many elements go into a task, and how many tasks are under way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.client.chunks import CHUNK_NBYTES, CHUNK_S, GROWTH_MAX, RESULTS_NBYTES, WINDOW_MAX, Chunks


def play(slots: int, length: int, call_s: float, nbytes: int = 5, result_nbytes: int = 32) -> list[int]:
    """Sizes of all chunks of a map whose calls take `call_s` each, one chunk after the other."""
    chunks, sizes, left = Chunks(slots, length), [], length
    while left:
        count = min(left, chunks.next_count())
        chunks.packed(count, count * nbytes)
        chunks.done(count, count * call_s, result_nbytes * count)
        sizes.append(count)
        left -= count
    return sizes


def test_the_first_chunk_is_one_call() -> None:
    assert Chunks(2, 1_000_000).next_count() == 1


def test_a_million_cheap_calls_are_few_tasks() -> None:
    assert len(play(2, 1_000_000, 50e-9)) < 60


def test_calls_that_take_a_while_go_alone() -> None:
    assert set(play(2, 100, 1.0)) == {1}


def test_a_chunk_takes_no_longer_than_it_should() -> None:
    assert max(play(4, 100_000, 1e-3)) * 1e-3 <= CHUNK_S


def test_chunks_grow_only_so_fast() -> None:
    sizes = play(1, 10_000_000, 1e-9)
    assert all(after <= before * GROWTH_MAX for before, after in pairwise(sizes))


def test_near_the_end_chunks_become_smaller_so_that_all_end_together() -> None:
    sizes = play(2, 20_000, 1e-4)
    biggest = sizes.index(max(sizes))
    assert sizes[biggest:-1] == sorted(sizes[biggest:-1], reverse=True) and sizes[-2] < max(sizes) / 5


def test_big_elements_travel_in_small_chunks() -> None:
    sizes = play(2, 1000, 1e-9, nbytes=CHUNK_NBYTES // 4)
    assert max(sizes) <= 4


def test_big_results_come_in_small_chunks() -> None:
    assert max(play(2, 1000, 1e-9, result_nbytes=RESULTS_NBYTES // 4)) <= 4


def test_what_is_measured_lately_counts_most() -> None:
    chunks = Chunks(1)
    chunks.done(1, 1e-6, 0)
    for _ in range(20):
        chunks.done(10, 10 * 0.01, 0)
    assert chunks.next_count() in (4, 5)


def test_a_size_that_is_wanted_is_kept() -> None:
    chunks = Chunks(2, 100, 7)
    chunks.done(7, 100.0, 0)
    assert chunks.next_count() == 7


def test_short_calls_one_by_one_are_many_at_once_and_long_ones_few() -> None:
    chunks = Chunks(2, None, 1)
    assert chunks.window == 4
    chunks.done(1, 1e-7, 0)
    assert chunks.window == WINDOW_MAX
    for _ in range(20):
        chunks.done(1, 60.0, 0)
    assert chunks.window == 4


@given(
    slots=st.integers(1, 64),
    length=st.none() | st.integers(0, 10**7),
    calls=st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**9)), max_size=20),
)
def test_whatever_is_measured_there_is_a_next_chunk_and_room(
    slots: int, length: int | None, calls: list[tuple[float, int]]
) -> None:
    chunks = Chunks(slots, length)
    for seconds, nbytes in calls:
        count = chunks.next_count()
        assert count >= 1
        assert 2 * slots <= chunks.window <= max(2 * slots, WINDOW_MAX) and chunks.ahead >= chunks.window
        chunks.packed(count, nbytes)
        chunks.done(count, seconds, 0)


@pytest.mark.parametrize("seconds", [0.0, -1e-9])
def test_a_clock_that_stands_still_does_no_harm(seconds: float) -> None:
    chunks = Chunks(1)
    chunks.done(1, seconds, 0)
    assert chunks.next_count() == GROWTH_MAX
