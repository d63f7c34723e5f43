"""What a center has been told."""

from __future__ import annotations

import random

import pytest

from distributed.errors import CoordinationLimitError
from distributed.faces.center.book import CenterBook, Member

ALICE, BOB = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"


def test_both_sides_tell_the_same() -> None:
    book = CenterBook()
    book.register(ALICE, Member(2), ["x", "y"])
    book.register(BOB, Member(1))
    book.add_keys(BOB, ["y", "z", "y"])
    book.remove_keys(ALICE, ["y", "unknown"])
    book.check()
    assert book.keys_by_address == {ALICE: {"x": None}, BOB: {"y": None, "z": None}}
    assert book.addresses_by_key == {"x": {ALICE: None}, "y": {BOB: None}, "z": {BOB: None}}


def test_who_registers_again_begins_anew() -> None:
    book = CenterBook()
    book.register(ALICE, Member(2), ["x"])
    book.register(ALICE, Member(3, {"http": 80}), ["y"])
    book.check()
    assert book.members == {ALICE: Member(3, {"http": 80})}
    assert book.addresses_by_key == {"y": {ALICE: None}}


def test_who_leaves_takes_all_keys_along() -> None:
    book = CenterBook()
    book.register(ALICE, Member(1), ["x"])
    assert book.forget(ALICE) is True
    assert book.forget(ALICE) is False
    book.check()
    assert not book.members and not book.addresses_by_key


def test_deleted_keys_are_named_by_holder() -> None:
    book = CenterBook()
    book.add_keys(ALICE, ["x", "y"])
    book.add_keys(BOB, ["y"])
    assert book.delete_keys(["y", "z"]) == {ALICE: ["y"], BOB: ["y"]}
    book.check()
    assert book.keys_by_address == {ALICE: {"x": None}}


def test_its_bounds_hold_and_a_refusal_changes_nothing() -> None:
    book = CenterBook(members_max=1, entries_max=2)
    book.register(ALICE, Member(1), ["x"])
    with pytest.raises(CoordinationLimitError, match="1 members already"):
        book.register(BOB, Member(1))
    with pytest.raises(CoordinationLimitError, match="more than 2 keys"):
        book.add_keys(BOB, ["y", "z"])
    with pytest.raises(CoordinationLimitError, match="more than 2 keys"):
        book.register(ALICE, Member(5), ["a", "b", "c"])
    book.check()
    assert book.members == {ALICE: Member(1)} and book.addresses_by_key == {"x": {ALICE: None}}
    book.register(ALICE, Member(1), ["a", "b"])  # in the place of what it had
    book.check()


def test_it_stays_in_order_whatever_is_said() -> None:
    chance = random.Random(7)
    book = CenterBook(members_max=3, entries_max=20)
    addresses = [f"tcp://127.0.0.1:{port}" for port in range(5)]
    for _ in range(1_500):
        address, keys = chance.choice(addresses), [str(chance.randrange(12)) for _ in range(chance.randrange(5))]
        act = chance.choice((book.add_keys, book.remove_keys, None, "leave", "delete"))
        try:
            if act == "leave":
                book.forget(address)
            elif act == "delete":
                book.delete_keys(keys)
            elif act is None:
                book.register(address, Member(1), keys)
            else:
                act(address, keys)  # type: ignore[operator]
        except CoordinationLimitError:
            assert len(book.members) == 3 or sum(map(len, book.keys_by_address.values())) > 15
        book.check()
