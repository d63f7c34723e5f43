"""How a master reads files of its folder and sends them: small ones together, a big one piece by piece."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import Any, BinaryIO

from distributed import config as default_config
from distributed.constants import HTTP_HEADER_X_FILE_PATH, WORKER_PATH_NEW_FILE
from distributed.dataclass import dataclass, field
from distributed.errors import HomeError
from distributed.recipes.naming import encode_path
from distributed.recipes.reading import CHANGES, Source, read_whole
from distributed.web.asking import Answer, Body, Connection
from distributed.web.connecting import base_url
from distributed.web.multipart import begin_part, content_type, end_parts

__all__ = ["Parcel", "pack", "send", "worker_urls"]


@dataclass(slots=True)
class Parcel:
    """What goes to a worker in one request.

    Attributes:
        contents: of small files, whole.
        big: a file that is read while it is sent; then it is the only one.
        nbytes: by path, as far as the files were looked at.
        faults: by path, why a file could not be read.
        left: paths that did not fit.
    """

    contents: dict[str, bytes] = field(default_factory=dict)
    big: tuple[str, BinaryIO] | None = None
    nbytes: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """Which files are in it."""
        return [self.big[0]] if self.big else list(self.contents)

    def close(self) -> None:
        """Close what is open."""
        if self.big is not None:
            self.big[1].close()


async def pack(opener: Callable[[str], BinaryIO], paths: list[str], config: Any = None) -> Parcel:
    """Read as many of `paths`, in their order, as fit together. The disk may be slow: it is read in a thread.

    Args:
        opener: `Home.open`, or one like it.
    """
    return await asyncio.to_thread(_pack, opener, paths, (config or default_config).BATCH_MAX_BYTES)


async def send(connection: Connection, parcel: Parcel, given: dict[str, str], config: Any = None) -> Answer:
    """Send it; the answer.

    Raises:
        UnreachableError, CommClosedError: the worker is at fault, see `Connection.ask`.
        HomeError: a big file cannot be read to its end, or has changed meanwhile. The worker drops what it got.
    """
    boundary = secrets.token_hex(16)
    head = {"Content-Type": content_type(boundary), **given}
    body: Body
    nbytes = None
    if parcel.big is None:
        body = b"".join(
            piece
            for number, (path, content) in enumerate(parcel.contents.items())
            for piece in (_begin(boundary, path, number == 0), content)
        ) + end_parts(boundary)
    else:
        path, file = parcel.big
        size = (config or default_config).CHUNK_SIZE

        def body() -> AsyncGenerator[bytes]:
            return _pieces(boundary, path, file, parcel.nbytes[path], size)

        head[HTTP_HEADER_X_FILE_PATH] = encode_path(path)
        nbytes = len(_begin(boundary, path, True)) + parcel.nbytes[path] + len(end_parts(boundary))
    return await connection.ask("POST", WORKER_PATH_NEW_FILE, head, body, nbytes)


def worker_urls(config: Any, insecure: bool = False) -> list[str]:
    """Where the workers of the settings are.

    Args:
        config: its ``WORKERS`` are pairs of host and port, or ``"unix:///path"``.
        insecure: without TLS, although they are on other machines.
    Raises:
        ConfigError: one is on another machine, and there is no certificate.
    """
    return [place if isinstance(place, str) else base_url(place[0], place[1], insecure) for place in config.WORKERS]


def _begin(boundary: str, path: str, is_first: bool) -> bytes:
    return begin_part(boundary, "file", {HTTP_HEADER_X_FILE_PATH: encode_path(path)}, is_first)


async def _pieces(boundary: str, path: str, file: BinaryIO, nbytes: int, size: int) -> AsyncGenerator[bytes]:
    file.seek(0)  # it may be the second attempt
    source = Source(file, size)
    if source.nbytes != nbytes:
        raise HomeError(path, CHANGES)
    yield _begin(boundary, path, True)
    try:
        while not source.is_at_end:
            yield await asyncio.to_thread(source.next_piece)
    except OSError as error:
        raise HomeError(path, error.strerror or str(error)) from error
    yield end_parts(boundary)


def _pack(opener: Callable[[str], BinaryIO], paths: list[str], nbytes_max: int) -> Parcel:
    parcel = Parcel()
    room = nbytes_max
    for number, path in enumerate(paths):
        try:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(opener(path))
                nbytes, content = read_whole(file, room)
                parcel.nbytes[path] = nbytes
                if content is None and parcel.contents:
                    parcel.left = paths[number:]
                    return parcel
                if content is None:
                    parcel.big = (path, file)
                    parcel.left = paths[number + 1 :]
                    stack.pop_all()  # it stays open
                    return parcel
                parcel.contents[path] = content
                room -= nbytes
        except HomeError as error:
            parcel.faults[path] = error.reason
        except OSError as error:
            parcel.faults[path] = error.strerror or str(error)
    return parcel
