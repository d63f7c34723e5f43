"""Many files in one body: each as a record of lengths, name and content; pure.

    4 bytes   length of the name   (unsigned, most significant byte first)
    8 bytes   length of the content
    name      the relative path, percent-encoded as in `naming`: ASCII
    content

Records follow each other until the body ends. Whoever reads such a body answers by the same names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from distributed.errors import ProtocolError
from distributed.recipes.naming import NAME_LENGTH_MAX, encode_path

__all__ = ["CONTENT_TYPE", "HEAD", "next_head", "record_head", "records"]

CONTENT_TYPE = "application/x-distributed-files"
HEAD = struct.Struct("!IQ")


def record_head(path: str, nbytes: int) -> bytes:
    """What stands before the content of a file."""
    name = encode_path(path).encode()
    return HEAD.pack(len(name), nbytes) + name


def next_head(read: Callable[[int], bytes]) -> tuple[str, int] | None:
    """Name and length of the next record; None: the body is at its end.

    Args:
        read: gives so many bytes, fewer only at the end.
    Raises:
        ProtocolError: the body ends in the middle, or holds something else.
    """
    lengths = read(HEAD.size)
    if not lengths:
        return None
    if len(lengths) < HEAD.size:
        raise ProtocolError("a batch of files ends in the middle of a record")
    name_length, nbytes = HEAD.unpack(lengths)
    if not 0 < name_length <= NAME_LENGTH_MAX:
        raise ProtocolError(f"a batch of files has a name of {name_length} bytes; at most {NAME_LENGTH_MAX}")
    name = read(name_length)
    if len(name) < name_length or not name.isascii():
        raise ProtocolError("a batch of files has a name that is cut off, or not percent-encoded")
    return name.decode("ascii"), nbytes


def records(body: bytes) -> Iterator[tuple[str, memoryview]]:
    """Name and content of each record of a whole body.

    Raises:
        ProtocolError: it ends in the middle, or holds something else.
    """
    view = memoryview(body)
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        part = bytes(view[position : position + count])
        position += len(part)
        return part

    while (head := next_head(read)) is not None:
        name, nbytes = head
        if position + nbytes > len(view):
            raise ProtocolError("a batch of files ends in the middle of a content")
        yield name, view[position : position + nbytes]
        position += nbytes
