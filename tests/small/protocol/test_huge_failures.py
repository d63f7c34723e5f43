"""Exceptions that carry megabytes: told in short, without making what would be cut."""

from __future__ import annotations

from distributed.protocol.failure import exception_from_failure, failure_from_exception

MEGABYTES = 20_000_000


def test_a_huge_exception_is_told_in_short() -> None:
    name, text, lines, detail = failure_from_exception(ValueError("y" * MEGABYTES, bytes(MEGABYTES)))
    assert (name, detail) == ("ValueError", None)
    assert "20,000,000 characters" in text or len(text) <= 10_100
    assert len(lines) <= 40_100


def test_a_huge_text_of_one_part_is_told_in_short() -> None:
    name, text, lines, _ = failure_from_exception(KeyError("y" * MEGABYTES))
    assert name == "KeyError"
    assert len(text) <= 10_100
    assert "KeyError" in lines
    assert isinstance(exception_from_failure([name, text, lines, None], "there"), KeyError)


def test_a_str_that_makes_megabytes_is_cut() -> None:
    class Endless(Exception):
        def __str__(self) -> str:
            return "x" * MEGABYTES

    _, text, lines, detail = failure_from_exception(Endless())
    assert len(text) <= 10_100
    assert len(lines) <= 40_100
    assert detail is None
