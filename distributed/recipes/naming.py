"""Names of files on the wire and on the screen; pure.

A relative path is kept as `os.fsdecode` makes it, so every byte of its name survives. In headers, URLs and JSON it
travels as its bytes, percent-encoded (RFC 3986): plain ASCII, without spaces, line ends or quotes.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from distributed.errors import HomeError
from distributed.log import shown

__all__ = ["NAME_LENGTH_MAX", "decode_path", "encode_path", "escaped_line", "shown"]

NAME_LENGTH_MAX = 3 * 4096  # characters on the wire: Linux takes no path of more than 4096 bytes

_ENCODED = re.compile(r"(?:[A-Za-z0-9_.~/!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")  # what RFC 3986 has in a path


def encode_path(path: str) -> str:
    """A relative path for the wire."""
    return quote_from_bytes(path.encode(errors="surrogateescape"), safe="/")


def decode_path(text: str) -> str:
    """The relative path that `encode_path` made `text` of.

    Raises:
        HomeError: it made no such text, or too long a one.
    """
    if len(text) > NAME_LENGTH_MAX or not _ENCODED.fullmatch(text):
        raise HomeError(text[:100], "this is no percent-encoded path")
    return unquote_to_bytes(text).decode(errors="surrogateescape")


def escaped_line(digest: str, path: bytes) -> bytes:
    r"""One line as coreutils write it: a name with ``\``, newline or return is escaped, and ``\`` begins the line."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != path else b"") + digest.encode() + b"  " + escaped + b"\n"
