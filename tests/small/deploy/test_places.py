"""Hosts and ports as users write them: read, and refused when two servers would want the same place."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.deploy.places import Place, plan


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("alice", ("alice", 0)),
        ("alice:9000", ("alice", 9000)),
        (("alice", 9000), ("alice", 9000)),
        (["alice", "9000"], ("alice", 9000)),
        (("alice", None), ("alice", 0)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("[::1]:9000", ("::1", 9000)),
        ("localhost:9000", ("127.0.0.1", 9000)),
    ],
)
def test_a_host_is_understood_in_any_spelling(written: Any, place: tuple[str, int]) -> None:
    assert plan([written], "center", 8787) == ([place], ("center", 8787))


def test_the_center_is_at_the_first_host_unless_it_is_named() -> None:
    assert plan(["alice", "bob"], None, 8787)[1] == ("alice", 8787)
    assert plan(["alice", "bob"], "bob:1", 8787)[1] == ("bob", 1)


@pytest.mark.parametrize(
    ("hosts", "center", "text"),
    [
        (["alice:1", "alice:1"], "bob", "'alice:1'.*twice"),
        (["alice:1", ("alice", 1)], "bob", "'alice:1'.*twice"),
        (["alice", "bob", "alice"], "bob", "'alice'.*twice; give each a port"),
        (["localhost:1", "127.0.0.1:1"], "bob", "'127.0.0.1:1'.*twice"),
        (["alice:8787"], None, "'alice:8787'.*a worker is to listen there"),
        (["alice:1", "bob:2"], ("bob", 2), "'bob:2'.*a worker is to listen there"),
        ([], "bob", "at least one"),
        ("alice", "bob", "a list of hosts"),
        (["alice:x"], "bob", "no port number"),
        (["tcp://alice:1"], "bob", "write host or host:port"),
        ([None], "bob", "neither text nor"),
    ],
)
def test_places_that_cannot_be_are_a_value_error_that_names_them(hosts: Any, center: Any, text: str) -> None:
    """P15: duplicates and overlap are a ValueError."""
    with pytest.raises(ValueError, match=text):
        plan(hosts, center, 8787)


@pytest.mark.parametrize(
    ("place", "text"), [(Place("alice", 0), "alice"), (Place("alice", 1), "alice:1"), (Place("::1", 1), "[::1]:1")]
)
def test_a_place_is_shown_as_people_write_it(place: Place, text: str) -> None:
    assert str(place) == text
