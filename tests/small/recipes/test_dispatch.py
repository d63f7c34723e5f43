"""Who gets which file next, when workers fail, vanish or are slow. Times are numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.recipes.dispatch import DEATHS_MAX, FAILURES_MAX, OTHERS_S, Dispatch


def dispatch(*paths: str, workers: str = "vw", grace_s: float | None = None) -> Dispatch:
    made = Dispatch(paths, grace_s)
    for worker in workers:
        made.join(worker)
    return made


def test_files_go_out_in_order_and_none_twice() -> None:
    queue = dispatch("a", "b", "c")
    assert queue.take("v", 0) == ["a"]
    assert queue.take("w", 0, files_max=5) == ["b", "c"]
    assert queue.take("v", 0) == []
    assert not queue.is_settled
    for path in "abc":
        queue.finish(path)
    assert queue.is_settled
    queue.check()


def test_a_file_that_failed_goes_to_somebody_else_first() -> None:
    queue = dispatch("a")
    assert queue.take("v", 0) == ["a"]
    assert queue.fail("v", "a", "bad") is None
    assert queue.take("v", 0) == []
    assert queue.take("w", 0) == ["a"]
    queue.check()


def test_a_file_with_which_a_worker_went_away_goes_to_somebody_else_first() -> None:
    """Also when it is back at once: it may break every connection, and the file would be given up."""
    queue = dispatch("a", "b")
    assert queue.take("v", 0) == ["a"]
    assert queue.fail("v", "a", "broke", is_death=True) is None
    assert queue.take("v", 0) == ["b"]
    queue.leave("v")
    queue.join("v")
    assert queue.take("v", 0) == []
    assert [queue.take("w", 0), queue.take("w", 0)] == [["a"], ["b"]]
    queue.check()


def test_a_worker_that_failed_it_gets_it_again_when_the_others_take_nothing() -> None:
    queue = dispatch("a")
    assert queue.take("v", 0) == ["a"]
    assert queue.fail("v", "a", "bad") is None
    assert [queue.take("v", now) for now in (1, 2, OTHERS_S)] == [[], [], []]
    assert queue.take("v", 1.1 + OTHERS_S) == ["a"]
    queue.check()


def test_a_worker_that_failed_it_gets_it_again_when_nobody_else_is_there() -> None:
    queue = dispatch("a", workers="v")
    for _ in range(FAILURES_MAX - 1):
        assert queue.take("v", 0) == ["a"]
        assert queue.fail("v", "a", "bad") is None
    assert queue.take("v", 0) == ["a"]
    assert queue.fail("v", "a", "bad") == "bad (the last of 3 attempts)"
    assert queue.is_settled


def test_a_file_that_failed_travels_alone() -> None:
    queue = dispatch("a", "b", "c", workers="v")
    queue.take("v", 0, files_max=2)
    queue.fail("v", "a", "bad")
    queue.fail("v", "b", "bad")
    assert [queue.take("v", 0, 9) for _ in range(3)] == [["c"], ["a"], ["b"]]


def test_what_is_given_back_is_the_next_and_in_order() -> None:
    queue = dispatch("a", "b", "c")
    assert queue.take("v", 0, 2) == ["a", "b"]
    queue.give_back("v", ["a", "b"])
    assert queue.take("w", 0, 3) == ["a", "b", "c"]


def test_what_a_lost_worker_had_goes_to_others_and_a_file_that_outlives_too_many_is_given_up() -> None:
    queue = dispatch("a", workers="")
    for _ in range(DEATHS_MAX - 1):
        queue.join("v")
        assert queue.take("v", 0) == ["a"]
        assert queue.leave("v") == {}
    queue.join("v")
    queue.take("v", 0)
    assert queue.leave("v") == {"a": "5 workers died or went out of reach while they had it"}
    assert queue.is_settled
    assert queue.leave("v") == {}


def test_an_overdue_file_goes_to_one_more_worker_and_the_first_result_counts() -> None:
    queue = dispatch("a", workers="vwx", grace_s=4)
    queue.take("v", 10)
    assert queue.take("w", 14) == []
    assert queue.take("v", 14.1) == []
    assert queue.take("w", 14.1) == ["a"]
    assert queue.take("x", 99) == []
    queue.finish("a", "v", 99)
    assert queue.is_settled
    assert queue.holds("w") == {}
    queue.check()


def test_how_long_a_file_may_take_follows_from_its_size_and_the_speed_of_its_worker() -> None:
    queue = dispatch("a", "b", grace_s=4)
    queue.take("v", 0)
    queue.size("v", "a", 100)
    queue.finish("a", "v", 10)  # 0.1 s a byte
    queue.take("v", 10)
    queue.size("v", "b", 1000)
    assert queue.take("w", 10 + 100 + 4) == []
    assert queue.take("w", 10 + 100 + 4.1) == ["b"]


def test_two_holders_of_a_file_may_both_vanish() -> None:
    queue = dispatch("a", grace_s=0)
    queue.take("v", 0)
    queue.take("w", 1)
    queue.leave("v")
    assert queue.waiting_count == 0
    queue.leave("w")
    assert queue.waiting_count == 1
    queue.check()


def test_a_late_result_of_a_file_that_waits_again_settles_it() -> None:
    queue = dispatch("a", "b")
    queue.take("v", 0, 2)
    queue.leave("v")
    queue.give_back("w", queue.take("w", 0))
    queue.finish("a")
    queue.finish("b")
    assert queue.is_settled


ACTS = st.lists(st.tuples(st.sampled_from(["take", "fail", "back", "finish", "leave", "join"]), st.sampled_from("vwx"),
                          st.integers(0, 3)), max_size=60)  # fmt: skip


@given(ACTS)
@pytest.mark.timeout(60)
def test_no_file_is_ever_lost(acts: list[tuple[str, str, int]]) -> None:
    paths = [f"p{n}" for n in range(6)]
    queue = dispatch(*paths, workers="vwx", grace_s=5)
    settled: set[str] = set()
    for now, (act, worker, number) in enumerate(acts):
        held = list(queue.holds(worker))[:number]
        if act == "take" and worker in queue.workers():
            queue.take(worker, now, number + 1)
        elif act == "fail":
            settled |= {path for path in held if queue.fail(worker, path, "bad")}
        elif act == "back":
            queue.give_back(worker, held)
        elif act == "finish":
            for path in held:
                queue.finish(path, worker, now)
                settled.add(path)
        elif act == "leave":
            settled |= set(queue.leave(worker))
        elif act == "join":
            queue.join(worker)
        queue.check()
    everywhere = {path for worker in queue.workers() for path in queue.holds(worker)}
    assert len(settled) + len(everywhere) + queue.waiting_count == len(paths)
    assert queue.is_settled == (len(settled) == len(paths))
