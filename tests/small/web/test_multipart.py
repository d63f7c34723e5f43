"""multipart/form-data: what is written is read, in pieces of any size; what is malformed is refused within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import MultipartError
from distributed.web.multipart import (
    HEADERS_NBYTES_MAX,
    PREAMBLE_NBYTES_MAX,
    Begin,
    Data,
    End,
    MultipartParser,
    begin_part,
    boundary_of,
    content_type,
    end_parts,
)


def written(contents: list[bytes]) -> bytes:
    parts = [begin_part("B", "file", {"X-N": str(n)}, n == 0) + content for n, content in enumerate(contents)]
    return b"".join(parts) + end_parts("B")


def read(body: bytes, size: int) -> list[tuple[str, bytes]]:
    parser = MultipartParser("B")
    found: list[tuple[str, bytes]] = []
    for at in range(0, len(body), size):
        for event in parser.feed(body[at : at + size]):
            if isinstance(event, Begin):
                found.append((event.headers["x-n"], b""))
            elif isinstance(event, Data):
                assert event.content
                found[-1] = (found[-1][0], found[-1][1] + event.content)
    parser.close()
    return found


CONTENTS = st.binary(max_size=40) | st.sampled_from([b"\r\n--", b"\r\n--A", b"--B", b"\r\n", b"\r\r\n-"])


@given(st.lists(CONTENTS, min_size=1), st.integers(1, 60))
def test_what_is_written_is_read_in_pieces_of_any_size(contents: list[bytes], size: int) -> None:
    contents = [content.replace(b"--B", b"--C") for content in contents]
    assert read(written(contents), size) == [(str(n), content) for n, content in enumerate(contents)]


def test_a_big_part_is_passed_on_and_not_kept() -> None:
    parser = MultipartParser("B")
    parser.feed(begin_part("B", "file"))
    piece = bytes(100_000)
    assert [parser.feed(piece) for _ in range(3)] == [[Data(piece)]] * 3
    assert parser.feed(b"\r\n--") == []
    assert parser.feed(b"B--") == [End()]
    assert parser.is_complete


def test_names_and_quotes_of_a_part_are_understood() -> None:
    disposition = 'form-data; name="file"; filename="a \\"b\\".txt"'
    head = f"--B\r\nContent-Disposition: {disposition}\r\nX-Y:  z \r\n\r\n".encode()
    wanted = Begin({"content-disposition": disposition, "x-y": "z"}, "file", 'a "b".txt')
    assert MultipartParser("B").feed(head) == [wanted]
    assert MultipartParser("B").feed(b"--B\r\n\r\nx") == [Begin({}, "", None), Data(b"x")]


def test_what_follows_the_last_boundary_counts_for_nothing() -> None:
    parser = MultipartParser("B")
    assert parser.feed(b"preamble\r\n--B--") == []
    assert parser.feed(b"\r\n--B\r\n\r\n") == []
    parser.close()


@pytest.mark.parametrize("header", ["multipart/form-data; boundary=B", 'Multipart/Form-Data; charset=x; boundary="B"'])
def test_the_boundary_is_found(header: str) -> None:
    assert boundary_of(header) == "B"
    assert boundary_of(content_type("0" * 32)) == "0" * 32


@pytest.mark.parametrize(
    "header", ["", "text/plain; boundary=B", "multipart/form-data", "multipart/form-data; boundary=" + "B" * 71,
               "multipart/form-data; boundary=é", 'multipart/form-data; boundary=""'],
)  # fmt: skip
def test_a_content_type_without_a_boundary_is_refused(header: str) -> None:
    with pytest.raises(MultipartError, match="Content-Type"):
        boundary_of(header)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"x" * (PREAMBLE_NBYTES_MAX + 100), "no boundary"),
        (b"--Bx\r\n", "followed by something else"),
        (b"--B\r\nX: " + b"y" * HEADERS_NBYTES_MAX, "more than 32768 bytes"),
        (b"--B\r\nno header\r\n\r\n", "that is none"),
        (b"--B\r\n\r\n\r\n--B\r\n\r\n\r\n--B\r\n", "more than 2 parts"),
    ],
)
def test_what_is_malformed_or_beyond_a_bound_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(MultipartError, match=why):
        MultipartParser("B", parts_max=2).feed(body)


def test_a_body_that_ends_early_is_refused() -> None:
    parser = MultipartParser("B")
    parser.feed(b"--B\r\n\r\nabc")
    with pytest.raises(MultipartError, match="ends before"):
        parser.close()
