"""The task of the recipes: digests of hashlib's, and functions of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from distributed import config
from distributed.errors import ConfigError
from distributed.recipes.digesting import TEXT_LENGTH_MAX, digest_function, is_digest


def settings(algorithm: str) -> Any:
    return SimpleNamespace(HASH_ALGORITHM=algorithm)


def count(pieces: Iterator[bytes]) -> str:
    return str(sum(map(len, pieces)))


def nothing(pieces: Iterator[bytes]) -> str:
    return ""


def two_lines(pieces: Iterator[bytes]) -> str:
    return "a\nb"


def number(pieces: Iterator[bytes]) -> int:
    return len(list(pieces))


def test_the_default_is_the_sha1_of_all_pieces_in_order() -> None:
    assert digest_function()(iter([b"ab", b"", b"c"])) == hashlib.sha1(b"abc").hexdigest()
    assert digest_function(config)(iter([])) == hashlib.sha1(b"").hexdigest()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5", "blake2b", "sha3_224"])
def test_every_algorithm_of_hashlib_makes_digests_that_its_rule_accepts(algorithm: str) -> None:
    digest = digest_function(settings(algorithm))(iter([b"abc"]))
    assert digest == hashlib.new(algorithm, b"abc").hexdigest()
    assert is_digest(digest, settings(algorithm))


@pytest.mark.parametrize("text", ["", "zzz", "a" * 39, "a" * 41, "A" * 40, "g" * 40, "a" * 39 + "\n", "\u0660" * 40])
def test_what_is_no_sha1_in_lower_case_is_refused(text: str) -> None:
    assert not is_digest(text)


def test_a_function_of_the_users_takes_the_place_of_the_digest() -> None:
    here = settings(f"{__name__}:count")
    assert digest_function(here)(iter([b"ab", b"c"])) == "3"
    assert is_digest("3", here)
    assert is_digest("any text of one line", here)
    for text in ("", "a\nb", "\x00", "a" * (TEXT_LENGTH_MAX + 1)):
        assert not is_digest(text, here)


@pytest.mark.parametrize("name", ["nothing", "two_lines", "number"])
def test_what_a_function_returns_is_checked_where_it_runs(name: str) -> None:
    with pytest.raises(ConfigError, match="no text of one line"):
        digest_function(settings(f"{__name__}:{name}"))(iter([]))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sha0", "one of hashlib's algorithms"),
        ("shake_128", "no fixed length"),
        ("no_such_module:f", "cannot be imported"),
        (":f", "cannot be imported"),
        ("hashlib:no_such_name", "cannot be imported"),
        ("hashlib:__name__", "is no function"),
    ],
)
def test_a_task_that_there_is_not_is_told_before_anything_is_read(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"HASH_ALGORITHM.*{why}"):
        digest_function(settings(name))
