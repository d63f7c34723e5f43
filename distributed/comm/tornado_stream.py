"""Messages over a Tornado ``IOStream`` that somebody else opened: the same bytes as on our own stream."""

from __future__ import annotations

from typing import Any

from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from distributed.config import settings
from distributed.errors import MessageTooLargeError, ProtocolError
from distributed.protocol.codec import SENTINEL, decode, encode, frame_lengths, unescape
from distributed.protocol.serialize import Buffer

__all__ = ["read_from_iostream", "write_to_iostream"]


async def read_from_iostream(stream: IOStream) -> Any:
    """See `distributed.core.read`. The stream's own ``max_buffer_size`` holds too."""
    limits = settings().limits
    try:
        header = await stream.read_until(SENTINEL, max_bytes=limits.header_nbytes_max)
    except StreamClosedError as error:
        if not isinstance(error.real_error, UnsatisfiableReadError):
            raise
        limit = limits.header_nbytes_max
        raise MessageTooLargeError("message header", limit + 1, limit, "header_nbytes_max") from None
    try:
        plain = unescape(header[: -len(SENTINEL)])
        message, lengths = frame_lengths(plain, limits)
    except ProtocolError:
        stream.close()
        raise
    if not lengths:
        return message
    frames: list[Buffer] = []
    for nbytes in lengths:
        frame = bytearray(nbytes)
        if nbytes:
            await stream.read_into(frame)
        frames.append(memoryview(frame))
    return decode(plain, frames)


async def write_to_iostream(stream: IOStream, message: Any) -> None:
    """See `distributed.core.write`."""
    future = None
    for buffer in encode(message, settings().limits):
        future = stream.write(memoryview(buffer))
    if future is not None:
        await future
