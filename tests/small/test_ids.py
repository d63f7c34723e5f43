"""Names."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.ids import counter, is_key, short_name, unique_id


def test_a_unique_id_names_its_kind_and_comes_once() -> None:
    names = {unique_id("worker") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("worker-") and len(name) == 31 for name in names)


def test_the_counter_counts() -> None:
    first = counter()
    assert [counter(), counter()] == [first + 1, first + 2]


@pytest.mark.parametrize(
    ("text", "name"),
    [("inc", "inc"), ("<lambda>", "<lambda>"), ("a b/c", "a_b_c"), ("", "task"), ("x" * 100, "x" * 60), ("m.f", "m.f")],
)
def test_a_short_name_begins_a_key(text: str, name: str) -> None:
    assert short_name(text) == name


@pytest.mark.parametrize("key", ["x", "x" * 1000, "\u20ac"])
def test_texts_of_1_to_1000_characters_are_keys(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "x" * 1001, b"x", 5, None, ("x", 1)])
def test_nothing_else_is(key: Any) -> None:
    assert not is_key(key)
