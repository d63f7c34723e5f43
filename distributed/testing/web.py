"""Requests as a hostile client may send them: exact bytes out, exact bytes back. Nothing here repairs a request."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any

from distributed.security.keys import Keyring, keyring
from distributed.security.permissions import CLIENT
from distributed.web.tokens import token_of

__all__ = ["Answer", "bearer", "request", "send_raw"]

ANSWER_S = 10.0


@dataclass(slots=True, frozen=True)
class Answer:
    """What came back until the server closed the connection, or the answer was complete.

    Attributes:
        status: 0: nothing came.
        headers: names in small letters.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON says it."""
        return json.loads(self.body)


def bearer(role: str = CLIENT, keys: Keyring | None = None) -> str:
    """The header of a role, with its name."""
    return f"Authorization: Bearer {token_of(keys or keyring(), role)}"


async def request(
    place: int | str,
    path: str,
    *headers: str,
    method: str = "GET",
    body: bytes = b"",
    host: str = "127.0.0.1",
    context: ssl.SSLContext | None = None,
) -> Answer:
    """One request, to a port of 127.0.0.1 or a unix socket; `headers` are whole lines.

    Args:
        host: of the ``Host`` header, without a port.
        body: its length is told unless `headers` do.
    """
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    if body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode("latin-1", "surrogateescape")
    return await send_raw(place, head + b"\r\n\r\n" + body, context)


async def send_raw(place: int | str, data: bytes, context: ssl.SSLContext | None = None) -> Answer:
    """The answer to these bytes; TimeoutError: the server keeps the connection, and has not answered in full."""
    async with asyncio.timeout(ANSWER_S):
        if isinstance(place, int):
            reader, writer = await asyncio.open_connection("127.0.0.1", place, ssl=context)
        else:
            reader, writer = await asyncio.open_unix_connection(place)
        try:
            writer.write(data)
            return await _read_answer(reader, has_body=not data.startswith(b"HEAD "))
        finally:
            writer.close()


async def _read_answer(reader: asyncio.StreamReader, has_body: bool) -> Answer:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    status = int(head[0].split()[1])
    length = headers.get("content-length") if has_body else "0"
    body = await reader.read() if length is None else await reader.readexactly(int(length))
    return Answer(status, headers, body)
