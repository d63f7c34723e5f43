"""`Pace`: when a loop that says nothing may rest."""

from __future__ import annotations

from distributed.faces.manager.pace import IDLE_SLICE_S, REST_S, ROUND, Pace


def test_a_round_that_took_next_to_no_time_is_followed_by_a_rest() -> None:
    assert Pace(0.0).rest_s(ROUND * IDLE_SLICE_S / 2, 0) == REST_S


def test_a_round_that_took_time_is_followed_by_the_next() -> None:
    assert Pace(0.0).rest_s(ROUND * IDLE_SLICE_S, 0) == 0


def test_a_round_in_which_messages_came_or_went_is_followed_by_the_next() -> None:
    pace = Pace(0.0)
    assert pace.rest_s(0.0, 1) == 0
    assert pace.rest_s(0.0, 1) == REST_S


def test_the_rest_does_not_count_as_work() -> None:
    pace = Pace(0.0)
    pace.rest_s(0.0, 0)
    pace.begin(REST_S, 0)
    assert pace.rest_s(REST_S, 0) == REST_S


def test_a_worker_does_ten_thousand_slices_in_a_second_however_idle_it_is() -> None:
    """M17: >= 10,000 loop slices/s/worker."""
    assert ROUND / (REST_S + ROUND * IDLE_SLICE_S) > 10_000
