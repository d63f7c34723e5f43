"""Outcomes, and what becomes another source later."""

from __future__ import annotations

import pytest

from distributed.errors import CancelledError
from distributed.faces.decorator.sources import Late, Made, Outcome, Source, error_of, ran


def test_an_outcome_is_decided_from_the_start() -> None:
    assert Outcome("k", value=3).done()
    assert Outcome("k", value=3).result(0) == 3
    assert error_of(Outcome("k", value=3), 0) is None
    with pytest.raises(KeyError):
        Outcome("k", error=KeyError("x")).result()


def test_what_raised_is_tried_again_and_what_did_not_is_not() -> None:
    runs: list[int] = []

    def run() -> int:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError(len(runs))
        return len(runs)

    source = ran("f", run)
    assert isinstance(source.exception(), ValueError)
    source.retry()
    assert str(source.exception()) == "2"
    source.retry()
    source.retry()
    assert (source.result(), len(runs)) == (3, 3)


def test_what_ends_a_task_is_no_outcome() -> None:
    def run() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran("f", run)


def test_a_late_source_is_what_it_became() -> None:
    late, told = Late("k"), []
    late.add_done_callback(lambda source: told.append(source.result()))
    assert not late.done()
    with pytest.raises(TimeoutError):
        late.result(0)
    assert late.become(Outcome("other", value=5))
    assert (late.key, late.done(), late.result(0), late.exception(0), told) == ("other", True, 5, None, [5])
    assert not late.become(Outcome("third", value=6))


def test_a_late_source_that_is_cancelled_never_begins() -> None:
    late = Late("k")
    late.cancel()
    assert isinstance(error_of(late, 0), CancelledError)
    assert not late.become(Outcome("other", value=5))


def test_what_is_made_of_a_source_is_made_once_when_that_is_decided() -> None:
    late, made = Late("k"), []

    def make(source: Source) -> Source:
        made.append(source.result())
        return Outcome("m", value=source.result() * 2)

    double = Made("m", late, make)
    assert made == []
    late.become(Outcome("k", value=4))
    assert (double.result(), double.result(), made) == (8, 8, [4])


def test_what_making_raises_is_the_outcome() -> None:
    def make(source: Source) -> Source:
        raise LookupError("no")

    made = Made("m", Outcome("k", value=1), make)
    assert isinstance(made.exception(0), LookupError)


def test_a_failed_making_is_tried_again_with_what_it_was_made_of() -> None:
    runs: list[int] = []

    def run() -> int:
        runs.append(1)
        return 1 // (len(runs) - 1)

    made = Made("m", ran("f", run), lambda source: Outcome("m", value=source.result() + 10))
    assert isinstance(made.exception(0), ZeroDivisionError)
    made.retry()
    assert made.result(0) == 11
