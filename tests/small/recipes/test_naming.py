"""Names of files on the wire and on the screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import HomeError
from distributed.recipes.naming import decode_path, encode_path, shown


@given(st.binary(min_size=1, max_size=200))
def test_every_name_survives_the_wire(name: bytes) -> None:
    """H17: non-ASCII and odd names, as bytes."""
    path = name.decode(errors="surrogateescape")
    text = encode_path(path)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert decode_path(text) == path


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "%", "%4", "%zz", "ä", "a?b", '"', "a" * 20_000])
def test_what_is_no_encoded_path_is_refused(text: str) -> None:
    with pytest.raises(HomeError, match="no percent-encoded path"):
        decode_path(text)


def test_a_name_is_shown_on_one_line() -> None:
    assert shown("a/ü b") == "a/ü b"
    assert shown("a\nb\x1b[0m\udcff") == r"a\nb\x1b[0m\xff"


@pytest.mark.parametrize("text", ["\ud800", "a\udbff\udc80", "\u202e", "\x9b2J"])
def test_any_text_of_a_peer_can_be_shown(text: str) -> None:
    """Lone surrogates come out of JSON, and no terminal takes them."""
    assert shown(text).isprintable()
    shown(text).encode()
