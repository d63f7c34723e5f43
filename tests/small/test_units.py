"""Sizes and times between people and the program."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import ConfigError
from distributed.units import GiB, KiB, MiB, format_nbytes, format_seconds, parse_nbytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0", 0),
        ("512", 512),
        ("2 GiB", 2 * GiB),
        ("2Gi", 2 * GiB),
        ("500MB", 500_000_000),
        ("1e6", 1_000_000),
        ("1.5 kib", 1536),
        (".5 MiB", MiB // 2),
        (" 3 TiB ", 3 * 1024 * GiB),
        ("7k", 7000),
        (1024, 1024),
        (2.9, 2),
        (1e-9, 0),
    ],
)
def test_sizes_are_understood(text: Any, nbytes: int) -> None:
    assert parse_nbytes(text) == nbytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5m", 90),
        ("20 ms", 0.02),
        ("3us", 3e-6),
        ("2 h", 7200),
        ("1d", 86400),
        ("5min", 300),
        (0.25, 0.25),
    ],
)
def test_times_are_understood(text: Any, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1x",
        "-1",
        -1,
        "1 2",
        "1_000",
        "nan",
        "inf",
        float("inf"),
        float("nan"),
        "1e999",
        "1e308 TB",
        True,
        None,
        10**400,
    ],
    ids=lambda value: str(value)[:9],
)
def test_what_is_no_quantity_is_refused_with_the_name_of_the_setting(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"^memory=.* write a size such as") as caught:
        parse_nbytes(text, "memory")
    assert caught.value.setting == "memory"


def test_a_time_is_no_size() -> None:
    with pytest.raises(ConfigError, match="write a time such as"):
        parse_seconds("5 GiB")


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1536, "1.5 KiB"),
        (KiB * 999.9, "0.976 MiB"),
        (GiB, "1 GiB"),
        (5000 * 1024 * GiB, "5,000 TiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_sizes_are_shown_with_three_digits(nbytes: float, text: str) -> None:
    assert format_nbytes(nbytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 us"),
        (0.0123, "12.3 ms"),
        (0.9996, "1 s"),
        (90, "90 s"),
        (99.7, "1m 40s"),
        (3599.9, "1h 0m"),
        (7384, "2h 3m"),
        (-0.5, "-500 ms"),
    ],
)
def test_times_are_shown_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@given(st.integers(0, 2**60))
def test_a_shown_size_is_short_and_understood_again(nbytes: int) -> None:
    text = format_nbytes(nbytes)
    assert "e+" not in text
    assert parse_nbytes(text.replace(",", "")) == pytest.approx(nbytes, rel=0.01, abs=1)
