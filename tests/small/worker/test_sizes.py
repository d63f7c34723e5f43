"""How big results are said to be."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy
import pytest

from distributed.worker.sizes import NBYTES_UNKNOWN, nbytes_of

BIG = 10**6


class Point(NamedTuple):
    x: bytes
    y: bytes


class Plain:
    def __init__(self) -> None:
        self.data = bytes(5_000)


class Slots:
    __slots__ = ()


class WithSize:
    nbytes = 12_345


class WrongSize:
    nbytes = "many"


class Broken:
    @property
    def nbytes(self) -> int:
        raise RuntimeError("not now")


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (b"x" * 1000, 1000, 1000),
        ("x" * 1000, 1000, 1000),
        (bytearray(1000), 1000, 1000),
        (Text("x" * 1000), 1000, 2000),
        (5, 28, 28),
        (None, 16, 16),
        (memoryview(b"x" * 1000), 1000, 1000),
        (WithSize(), 12_345, 12_345),
        (WrongSize(), 1, 1000),
        (Broken(), NBYTES_UNKNOWN, NBYTES_UNKNOWN),
        (Plain(), 5_000, 6_000),
        (Slots(), 1, 100),
        ([], 50, 100),
        ([bytes(1000)] * 5, 5_000, 5_500),
        ([bytes(1000)] * 500, 500_000, 510_000),
        (tuple(bytes(number) for number in range(2000)), 1_500_000, 2_500_000),
        ({str(number).zfill(100) for number in range(100)}, 10_000, 30_000),
        ({number: bytes(1000) for number in range(100)}, 100_000, 120_000),
        (Point(bytes(1000), bytes(1000)), 2_000, 2_200),
        ([[[[bytes(1000)]]]], 100, 1_000),
        (object(), 1, 100),
        (sys, 100, 10_000_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sizes_are_about_right(value: Any, low: int, high: int) -> None:
    assert low <= nbytes_of(value) <= high


def test_a_list_that_holds_itself_has_a_size() -> None:
    value: list[Any] = []
    value.append(value)
    assert nbytes_of(value) < 1000


def array() -> Any:
    return numpy.zeros(BIG, "u1")


class Table:
    """Counts for itself, as a table of pandas does."""

    def __init__(self) -> None:
        self.data = bytes(BIG)

    def __sizeof__(self) -> int:
        return 77_000


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (array(), BIG, BIG),
        ([array(), array()], 2 * BIG, 2 * BIG + 200),
        ([array() for _ in range(100)], 100 * BIG, 100 * BIG + 2_000),
        (array()[:10], BIG, BIG),
        (array().reshape(10, -1)[2:4].T, BIG, BIG),
        (numpy.frombuffer(bytes(BIG), "u1")[:1], BIG, BIG),
        (memoryview(bytes(BIG))[:10], BIG, BIG),
        (memoryview(array())[5:6], BIG, BIG),
        ([array()[:10] for _ in range(100)], 100 * BIG, 101 * BIG),
        ({"left": (whole := array())[:10], "right": whole[10:]}, BIG, BIG + 1_000),
        ([whole[number : number + 1] for number in range(100)], BIG, BIG + 2_000),
        (numpy.array([bytes(1000)] * 100, object), 100_000, 110_000),
        (numpy.float64(1.5), 8, 8),
        (Table(), 77_000, 77_100),
    ],
    ids=[str(number) for number in range(14)],
)
def test_what_a_value_keeps_alive_counts_and_counts_once(value: Any, low: int, high: int) -> None:
    assert low <= nbytes_of(value) <= high
