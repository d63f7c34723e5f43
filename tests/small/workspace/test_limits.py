"""Which items make a workspace big."""

from __future__ import annotations

from distributed.workspace.limits import biggest_items


def test_the_five_biggest_items_are_named_biggest_first() -> None:
    files = [(f"f{number}", number) for number in range(10)]
    assert biggest_items(files) == [("f9", 9), ("f8", 8), ("f7", 7), ("f6", 6), ("f5", 5)]


def test_a_folder_of_many_things_is_one_item() -> None:
    files = [("small.py", 5), *((f"data/{number}", 10) for number in range(100))]
    assert biggest_items(files) == [("data/", 1_000), ("small.py", 5)]


def test_a_folder_with_one_big_thing_in_it_is_looked_into() -> None:
    files = [("a/b/c/huge.bin", 1_000), ("a/b/x", 10), ("a/y", 5), ("z", 1)]
    assert biggest_items(files) == [("a/b/c/huge.bin", 1_000), ("a/b/x", 10), ("a/y", 5), ("z", 1)]


def test_nothing_has_no_items() -> None:
    assert biggest_items([]) == []
