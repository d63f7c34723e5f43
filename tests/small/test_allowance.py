"""A bound on a rate."""

from __future__ import annotations

from distributed.allowance import Allowance


def test_so_much_at_once_and_so_much_per_second():
    allowance = Allowance(10, 2)
    assert [allowance.take(4, 0.0) for _ in range(4)] == [True, True, True, False]  # the last one owes 2
    assert not allowance.take(1, 1.0)
    assert allowance.take(1, 1.5)
    assert allowance.left(1.5) == 0


def test_it_holds_no_more_than_its_burst():
    assert Allowance(10, 2).left(1_000.0) == 10


def test_what_is_bigger_than_the_burst_gets_through_and_is_paid_back():
    allowance = Allowance(10, 2)
    assert allowance.take(30, 0.0)
    assert not allowance.take(1, 9.9)
    assert allowance.take(1, 10.5)
