"""What a worker writes of the outcomes of files, and how a master reads it."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from distributed.recipes.naming import encode_path
from distributed.recipes.reports import BODY_NBYTES_MAX, Outcome, field_of, form, json_bodies, path_of, read_json


def read(body: bytes) -> dict[str, list[bytes]]:
    return {name: [text.encode() for text in texts] for name, texts in parse_qs(body.decode()).items()}


@pytest.mark.parametrize("path", ["a b", "a%20b", "ü&=+", "new\nline", "\udcff"])
def test_a_form_has_the_path_of_the_file_and_its_outcome(path: str) -> None:
    """Also where two names are alike but for the encoding."""
    files = {path, "a b", "a%20b"}
    told = read(form(encode_path(path), "da39"))
    assert (path_of(told, files.__contains__), field_of(told, "file_hash")) == (path, "da39")
    failed = read(form(encode_path(path), {"error": "no & never"}))
    assert (path_of(failed, files.__contains__), field_of(failed, "file_error")) == (path, "no & never")
    assert field_of(failed, "file_hash") is None


def test_a_path_that_was_decoded_first_is_understood() -> None:
    assert path_of({"file_path": [b"a b"]}, {"a b"}.__contains__) == "a b"
    assert path_of({"file_path": [b"100%"]}, {"100%"}.__contains__) == "100%"
    assert path_of({"file_path": [b"a%20b"]}, {"a%20b"}.__contains__) == "a%20b"
    assert path_of({}, set[str]().__contains__) is None


def test_all_outcomes_are_told_in_bodies_of_bounded_size() -> None:
    report: dict[str, Outcome] = {f"{n}" * 500: {"error": "\0" * 500} if n % 2 else None for n in range(100, 600)}
    bodies = list(json_bodies(report))
    assert len(bodies) > 1 and max(map(len, bodies)) < 2 * BODY_NBYTES_MAX
    joined: dict[str, Outcome] = {}
    for body in bodies:
        joined |= json.loads(body)
    assert joined == report
    assert list(json_bodies({})) == []


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        (b'{"a": "da39", "b": {"error": "no"}}', True),
        (b"{}", True),
        (b'{"a": null}', None),
        (b'{"a": 5}', False),
        (b'{"a": {"error": 5}}', False),
        (b"[]", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_a_body_is_an_object_of_outcomes_or_none(body: bytes, is_read: bool | None) -> None:
    """None: only for masters that push."""
    assert (read_json(body) is not None) is bool(is_read)
    assert (read_json(body, may_be_null=True) is not None) is (is_read is not False)
