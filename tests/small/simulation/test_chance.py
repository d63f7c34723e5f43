"""Draws: the same for ever, each stream for itself, all on one tape."""

from __future__ import annotations

from distributed.testing.simulation.chance import Chance


def test_draws_do_not_change_from_version_to_version():
    draws = Chance(1).stream("plan")
    assert [draws.below(1000) for _ in range(6)] == [79, 709, 783, 968, 828, 3]


def test_a_stream_does_not_depend_on_others():
    alone, beside = Chance(5), Chance(5)
    beside.stream("other").below(7)
    assert [alone.stream("x").below(9) for _ in range(5)] == [beside.stream("x").below(9) for _ in range(5)]


def test_every_draw_is_on_the_tape():
    chance = Chance(3)
    one, other = chance.stream("one"), chance.stream("other")
    drawn = [one.below(10), other.between(5, 9) - 5, int(one.percent(50)), other.below(3)]
    assert chance.tape[0] == drawn[0]
    assert chance.tape[1] == drawn[1]
    assert len(chance.tape) == 4


def test_draws_stay_in_their_bounds():
    draws = Chance(9).stream("bounds")
    assert {draws.below(3) for _ in range(100)} == {0, 1, 2}
    assert {draws.between(-1, 1) for _ in range(100)} == {-1, 0, 1}
    assert {draws.skewed(0, 2) for _ in range(200)} == {0, 1, 2}
    assert draws.some("abc", 9) == ["a", "b", "c"]
    assert len(draws.some("abc", 2)) == 2
    assert draws.below(1) == 0
