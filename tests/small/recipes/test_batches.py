"""Many files in one body: what is written is read again, and nothing else is believed."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import ProtocolError
from distributed.recipes.batches import HEAD, next_head, record_head, records
from distributed.recipes.naming import decode_path

NAMES = st.binary(min_size=1, max_size=40).map(lambda name: name.decode(errors="surrogateescape"))


def body_of(files: list[tuple[str, bytes]]) -> bytes:
    return b"".join(record_head(path, len(content)) + content for path, content in files)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=50))))
def test_what_is_written_is_read_again(files: list[tuple[str, bytes]]) -> None:
    """H22: the format of a batch; H17: of any name."""
    assert [(decode_path(name), bytes(content)) for name, content in records(body_of(files))] == files


@given(st.lists(st.tuples(NAMES, st.binary(max_size=20)), min_size=1), st.data())
def test_a_body_that_is_cut_off_is_never_taken_for_a_whole_one(
    files: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    body = body_of(files)
    ends = {len(body_of(files[:count])) for count in range(len(files) + 1)}
    cut = data.draw(st.integers(0, len(body)).filter(lambda length: length not in ends))
    with pytest.raises(ProtocolError):
        list(records(body[:cut]))


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        list(records(body))
    except ProtocolError as error:
        assert "batch of files" in str(error)


@pytest.mark.parametrize("length", [0, 12_289, 2**32 - 1])
def test_a_name_has_a_length_that_a_path_can_have(length: int) -> None:
    with pytest.raises(ProtocolError, match=f"a name of {length} bytes"):
        next_head(io.BytesIO(HEAD.pack(length, 0) + b"x" * 20).read)


def test_the_bytes_are_these() -> None:
    assert record_head("ä b", 258) == b"\0\0\0\x0a" + b"\0\0\0\0\0\0\x01\x02" + b"%C3%A4%20b"
