"""A kept connection to an HTTP server: bodies of any size, a time limit for every step, answers that come early."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.web import stream_request_body

from distributed.errors import AddressError, CommClosedError, UnreachableError
from distributed.security.certificates import certificate_path, mint
from distributed.testing.recipes import serving
from distributed.web.asking import ANSWER_NBYTES_MAX, Connection
from distributed.web.guard import GuardedApplication, GuardedHandler


@stream_request_body
class Echo(GuardedHandler):
    def prepare(self) -> None:
        self.nbytes = 0
        self.request.connection.set_max_body_size(2**40)  # type: ignore[union-attr]
        if self.request.path == "/refuse":
            self.answer(503, "not now")

    def data_received(self, chunk: bytes) -> None:
        self.nbytes += len(chunk)

    def post(self) -> None:
        self.answer(200, f"{self.nbytes} {id(self.request.connection.stream)}")  # type: ignore[union-attr]

    def get(self) -> None:
        self.answer(200, "x" * (ANSWER_NBYTES_MAX + 1))


def app() -> GuardedApplication:
    return GuardedApplication([("/echo", Echo), ("/refuse", Echo)], {})


async def zeros(count: int) -> AsyncGenerator[bytes]:
    for _ in range(count):
        yield bytes(100_000)


@asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Any:
    """A server that does exactly this with each connection; its URL."""
    done = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()
            done.append(writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        while not done:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("url", ["", "h:1", "ftp://h:1", "http://h", "http://h:1/path", "http://u@h:1", "unix://x"])
async def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(AddressError, match="http://host:port"):
        Connection(url)


async def test_one_connection_serves_many_requests_of_every_kind() -> None:
    async with serving(app()) as port:
        connection = Connection(f"http://127.0.0.1:{port}/")
        answers = [
            await connection.ask("POST", "/echo", {}, body, nbytes)
            for body, nbytes in (
                (b"", None), (b"abc", None), (bytes(300_000), None), (lambda: zeros(20), None),
                (lambda: zeros(20), 2_000_000),
            )
        ]  # fmt: skip
        connection.close()
    assert [answer.text.split()[0] for answer in answers] == ["0", "3", "300000", "2000000", "2000000"]
    assert len({answer.text.split()[1] for answer in answers}) == 1


async def test_a_refusal_comes_before_the_content_is_made() -> None:
    made = 0

    async def body() -> AsyncGenerator[bytes]:
        nonlocal made
        made += 1
        yield b"x"

    async with serving(app()) as port:
        connection = Connection(f"http://127.0.0.1:{port}")
        answer = await connection.ask("POST", "/refuse", {}, body)
        assert (answer.status, answer.line, made) == (503, "503 not now", 0)
        assert (await connection.ask("POST", "/echo", {}, b"abc")).status == 200
        connection.close()


async def test_a_connection_that_was_closed_while_nobody_asked_is_made_again() -> None:
    async with serving(app()) as port:
        connection = Connection(f"http://127.0.0.1:{port}")
        first = await connection.ask("POST", "/echo", {}, b"abc")
    async with serving(app(), port):
        second = await connection.ask("POST", "/echo", {}, b"abcd")
        connection.close()
    assert [answer.text.split()[0] for answer in (first, second)] == ["3", "4"]


async def test_nobody_there_is_told_apart_from_somebody_who_went_away(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", f"unix://{tmp_path}/none", "http://no-such-host.invalid:1"):
        with pytest.raises(UnreachableError, match="out of reach"):
            await Connection(url).ask("GET", "/")

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async with raw(hang_up) as url:
        with pytest.raises(CommClosedError, match="closed"):
            await Connection(url).ask("GET", "/")


@pytest.mark.parametrize("body", [None, b"x" * 100_000, lambda: zeros(1)])
async def test_a_server_that_says_nothing_is_given_up(body: Any) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw(say_nothing) as url:
        with pytest.raises(CommClosedError, match=r"within 0.05 s"):
            await Connection(url, silence_s=0.05).ask("POST", "/", {}, body)


async def test_a_server_that_takes_no_more_is_given_up() -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.wait_for(gone.wait(), 10)

    gone = asyncio.Event()
    async with raw(begin) as url:
        with pytest.raises(CommClosedError, match="takes no more within"):
            await Connection(url, silence_s=0.2).ask("POST", "/", {}, lambda: zeros(10_000))
        gone.set()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    ],
)
async def test_half_an_answer_is_none(text: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text.encode())

    async with raw(say) as url:
        with pytest.raises(CommClosedError):
            await Connection(url).ask("GET", "/")


async def test_an_answer_without_end_is_cut() -> None:
    async with serving(app()) as port:
        with pytest.raises(CommClosedError):
            await Connection(f"http://127.0.0.1:{port}").ask("GET", "/echo")


async def test_what_making_the_content_raises_is_raised_and_ends_the_connection() -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"abc"
        raise ZeroDivisionError

    async with serving(app()) as port:
        connection = Connection(f"http://127.0.0.1:{port}")
        with pytest.raises(ZeroDivisionError):
            await connection.ask("POST", "/echo", {}, body)
        assert (await connection.ask("POST", "/echo", {}, b"abcd")).text.startswith("4 ")
        connection.close()


async def test_https_is_spoken_with_the_users_certificate_only() -> None:
    """H25: TLS; a server with another certificate does not get the token."""
    mint(certificate_path())
    try:
        async with serving(app(), tls=True) as port:
            connection = Connection(f"https://127.0.0.1:{port}")
            assert (await connection.ask("POST", "/echo", {}, lambda: zeros(20))).text.startswith("2000000 ")
            connection.close()
            mint(certificate_path(), replace=True)
            with pytest.raises(UnreachableError, match="certificate"):
                await Connection(f"https://127.0.0.1:{port}").ask("POST", "/echo", {}, b"abc")
    finally:
        certificate_path().unlink()
