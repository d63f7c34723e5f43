"""The simple worker: one request, one file, one digest; whatever is no file is refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed.errors import CommClosedError, ConfigError
from distributed.simple import worker
from distributed.simple.worker import init
from distributed.testing.recipes import serving, some_settings
from distributed.web.asking import Answer, Connection
from distributed.web.multipart import begin_part, content_type, end_parts

HEAD = {"Content-Type": content_type("B")}


def count_lines(pieces: Iterator[bytes]) -> str:
    return f"{sum(piece.count(10) for piece in pieces)} lines"


def first_byte(pieces: Iterator[bytes]) -> str:
    return next(pieces)[:1].decode()


def fail(pieces: Iterator[bytes]) -> str:
    raise ValueError("no such thing")


def one_part(content: bytes, name: str = "file") -> bytes:
    return begin_part("B", name) + content + end_parts("B")


async def post(port: int, body: Any, head: dict[str, str] = HEAD) -> Answer:
    connection = Connection(f"http://127.0.0.1:{port}")
    try:
        return await connection.ask("POST", "/new_file", head, body)
    finally:
        connection.close()


@pytest.mark.parametrize("content", [Path(__file__).read_bytes(), b"", b"x" * 3_000_000])
async def test_a_file_is_answered_with_its_sha1(content: bytes) -> None:
    """H05: POST /new_file of this file, an empty one, a big one."""
    async with serving(init()) as port:
        answer = await post(port, one_part(content))
    assert (answer.status, answer.text) == (200, hashlib.sha1(content).hexdigest())
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_a_file_that_comes_in_pieces_of_unknown_number_is_hashed_on_the_way() -> None:
    """H05: streaming; a body without a length."""
    pieces = [begin_part("B", "file"), *[bytes([n]) * 100_000 for n in range(30)], end_parts("B")]

    async def body() -> AsyncGenerator[bytes]:
        for piece in pieces:
            yield piece

    async with serving(init()) as port:
        answer = await post(port, body)
    assert (answer.status, answer.text) == (200, hashlib.sha1(b"".join(pieces[1:-1])).hexdigest())


@pytest.mark.parametrize(
    ("body", "head", "text"),
    [
        (b"abc", {}, "Content-Type"),
        (one_part(b"abc", "upload"), HEAD, "'upload', not 'file'"),
        (end_parts("B"), HEAD, "no part called 'file'"),
        (begin_part("B", "file") + b"abc", HEAD, "ends before"),
        (begin_part("B", "file") + b"abc" + begin_part("B", "file", is_first=False), HEAD, "more than 1 parts"),
        (b"x" * 5000, HEAD, "no boundary"),
        (one_part(b"abc"), {**HEAD, "X-DISTRIBUTED-FILE-PATH": "a b"}, "no percent-encoded path"),
    ],
)
async def test_what_is_no_file_is_refused_with_the_reason(body: bytes, head: dict[str, str], text: str) -> None:
    async with serving(init()) as port:
        answer = await post(port, body, head)
        assert answer.status == 400
        assert text in answer.text
        assert (await post(port, one_part(b"abc"))).status == 200


async def test_without_the_token_nothing_is_taken() -> None:
    """H25: of the simple worker."""
    async with serving(init()) as port:
        connection = Connection(f"http://127.0.0.1:{port}", {})
        for body in (one_part(b"abc"), one_part(b"x" * 1_000_000)):
            assert (await connection.ask("POST", "/new_file", HEAD, body)).status == 401
        connection.close()


async def test_it_listens_on_a_unix_socket_beside_a_port(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with serving(init(), path=path) as port:
        connection = Connection(f"unix://{path}")
        answer = await connection.ask("POST", "/new_file", HEAD, one_part(b"abc"))
        connection.close()
        assert answer.text == (await post(port, one_part(b"abc"))).text == hashlib.sha1(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [("count_lines", 200, "200000 lines"), ("first_byte", 200, "a"), ("fail", 422, "ValueError: no such thing")],
)
async def test_the_task_may_be_a_function_that_iterates_over_the_content(name: str, status: int, text: str) -> None:
    content = b"a\n" * 200_000
    async with serving(init(some_settings(HASH_ALGORITHM=f"{__name__}:{name}"))) as port:
        answer = await post(port, one_part(content))
        assert answer.status == status
        assert text in answer.text


async def test_more_files_at_once_than_it_can_bear_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FILES_AT_ONCE_MAX", 0)
    async with serving(init()) as port:
        answer = await post(port, one_part(b"abc"))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        monkeypatch.undo()
        for _ in range(70):
            assert (await post(port, one_part(b"abc"))).status == 200


async def test_a_task_that_does_not_exist_is_told_at_the_start() -> None:
    with pytest.raises(ConfigError, match="sha0"):
        init(some_settings(HASH_ALGORITHM="sha0"))


@pytest.mark.parametrize("algorithm", ["sha1", f"{__name__}:count_lines"])
async def test_a_sender_that_vanishes_leaves_nothing_behind(algorithm: str) -> None:
    stuck = asyncio.Event()

    async def body() -> AsyncGenerator[bytes]:
        yield begin_part("B", "file") + b"abc"
        stuck.set()
        raise CommClosedError("us", "on purpose")

    async with serving(init(some_settings(HASH_ALGORITHM=algorithm))) as port:
        with pytest.raises(CommClosedError, match="on purpose"):
            await post(port, body)
        assert stuck.is_set()
        assert (await post(port, one_part(b"abc"))).status == 200
