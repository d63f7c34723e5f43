"""``multipart/form-data`` (RFC 7578), piece by piece both ways, however big a part is; pure.

    POST /new_file, Content-Type: multipart/form-data; boundary=B

    --B CRLF  headers CRLF CRLF  content CRLF  --B CRLF  headers CRLF CRLF  content CRLF  --B-- CRLF

Not here: encodings of parts, which nobody uses, and multiparts within parts, which RFC 7578 forbids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto

from distributed.dataclass import dataclass
from distributed.errors import MultipartError

__all__ = ["Begin", "Data", "End", "MultipartParser", "begin_part", "boundary_of", "content_type", "end_parts"]

HEADERS_NBYTES_MAX = 32_768  # of one part: a name of a file takes up to 12 KiB
PREAMBLE_NBYTES_MAX = 1024
PARTS_MAX = 10_000
CRLF = b"\r\n"

_BOUNDARY = re.compile(
    r"""\bboundary=(?:"([0-9A-Za-z'()+_,./:=? -]{1,70})"|([0-9A-Za-z'+_.-]{1,70})(?:[; ]|$))""", re.I
)
_PARAMETER = re.compile(r';\s*(name|filename)=(?:"((?:[^"\\]|\\.)*)"|([^";\s]+))', re.I)
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)")


@dataclass(slots=True)
class Begin:
    """A part begins: its headers, with names in lower case, and what its Content-Disposition calls it."""

    headers: dict[str, str]
    name: str
    filename: str | None


@dataclass(slots=True)
class Data:
    """Some of the content of the part that began last; never empty."""

    content: bytes


@dataclass(slots=True)
class End:
    """The part that began last is complete."""


Event = Begin | Data | End


class State(Enum):
    """Where in a body we are."""

    PREAMBLE = auto()
    BOUNDARY = auto()  # right behind one
    HEADERS = auto()
    CONTENT = auto()
    EPILOGUE = auto()


class MultipartParser:
    """Takes a body in pieces of any size and tells what is in it; keeps no more than a boundary or one part's headers.

    Args:
        boundary: see `boundary_of`.
    """

    def __init__(self, boundary: str, parts_max: int = PARTS_MAX) -> None:
        self._delimiter = CRLF + b"--" + boundary.encode()
        self._parts_left = parts_max
        self._parts_max = parts_max
        self._state = State.PREAMBLE
        self._rest = CRLF  # a boundary begins a line, and so does the body
        self._step = {
            State.PREAMBLE: self._preamble,
            State.BOUNDARY: self._boundary,
            State.HEADERS: self._headers,
            State.CONTENT: self._content,
            State.EPILOGUE: self._epilogue,
        }

    @property
    def is_complete(self) -> bool:
        """Whether the last boundary has come; what comes after it counts for nothing."""
        return self._state is State.EPILOGUE

    def feed(self, piece: bytes) -> list[Event]:
        """What `piece` brings.

        Raises:
            MultipartError: this is no such body, or it goes beyond a bound.
        """
        events: list[Event] = []
        self._rest = self._rest + piece if self._rest else piece
        more = True
        while more:
            before = self._state
            self._step[before](events)
            more = self._state is not before  # who cannot go on waits for the next piece
        return events

    def close(self) -> None:
        """Nothing more will come.

        Raises:
            MultipartError: the body is not complete.
        """
        if not self.is_complete:
            raise MultipartError("it ends before its last boundary")

    def _preamble(self, events: list[Event]) -> None:
        at = self._rest.find(self._delimiter)
        if at >= 0:
            self._rest = self._rest[at + len(self._delimiter) :]
            self._state = State.BOUNDARY
        elif len(self._rest) > PREAMBLE_NBYTES_MAX:
            raise MultipartError("there is no boundary where it begins")

    def _boundary(self, events: list[Event]) -> None:
        follows = self._rest[:2]
        if len(follows) < 2:
            return
        if follows == b"--":
            self._state = State.EPILOGUE
            return
        if follows != CRLF:
            raise MultipartError("a boundary is followed by something else than a line end")
        if self._parts_left == 0:
            raise MultipartError(f"it has more than {self._parts_max} parts")
        self._parts_left -= 1
        self._state = State.HEADERS  # the line end stays: headers end at an empty line, also when there are none

    def _headers(self, events: list[Event]) -> None:
        at = self._rest.find(CRLF + CRLF, 0, HEADERS_NBYTES_MAX)
        if at >= 0:
            events.append(_begin(self._rest[2:at]))
            self._rest = self._rest[at + 4 :]
            self._state = State.CONTENT
        elif len(self._rest) >= HEADERS_NBYTES_MAX:
            raise MultipartError(f"the headers of a part take more than {HEADERS_NBYTES_MAX} bytes")

    def _content(self, events: list[Event]) -> None:
        at = self._rest.find(self._delimiter)
        # Without a boundary all is content but for an end that may be the begin of one.
        end = at if at >= 0 else self._begin_of_delimiter()
        if end:
            events.append(Data(self._rest[:end]))
        self._rest = self._rest[end + (len(self._delimiter) if at >= 0 else 0) :]
        if at >= 0:
            events.append(End())
            self._state = State.BOUNDARY

    def _begin_of_delimiter(self) -> int:
        start = max(0, len(self._rest) - len(self._delimiter) + 1)
        while (at := self._rest.find(b"\r", start)) >= 0:
            if self._delimiter.startswith(self._rest[at:]):
                return at
            start = at + 1
        return len(self._rest)

    def _epilogue(self, events: list[Event]) -> None:
        self._rest = b""


def _begin(block: bytes) -> Begin:
    headers = {}
    for line in block.decode(errors="surrogateescape").split("\r\n") if block else ():
        found = _HEADER.fullmatch(line)
        if found is None:
            raise MultipartError("a part has a line among its headers that is none")
        headers[found[1].lower()] = found[2].rstrip()
    given: dict[str, str | None] = {"name": "", "filename": None}
    for key, quoted, plain in _PARAMETER.findall(headers.get("content-disposition", "")):
        given[key.lower()] = plain or re.sub(r"\\(.)", r"\1", quoted)
    return Begin(headers, given["name"] or "", given["filename"])


def boundary_of(header: str) -> str:
    """The boundary that a Content-Type names.

    Raises:
        MultipartError: it is none of multipart/form-data, or has no boundary.
    """
    kind, _, parameters = header.partition(";")
    found = _BOUNDARY.search(parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
        raise MultipartError("its Content-Type is not 'multipart/form-data; boundary=...'")
    return found[1] or found[2]


def content_type(boundary: str) -> str:
    """The Content-Type of a body with this boundary, which must not occur in any content: 32 random digits do not."""
    return f"multipart/form-data; boundary={boundary}"


def begin_part(boundary: str, name: str, headers: Mapping[str, str] | None = None, is_first: bool = True) -> bytes:
    """What stands before the content of a part. It has a file name, since it is one; the real one is in a header."""
    lines = [f'Content-Disposition: form-data; name="{name}"; filename="{name}"']
    lines += [f"{key}: {value}" for key, value in (headers or {}).items()]
    start = "" if is_first else "\r\n"
    return "\r\n".join([f"{start}--{boundary}", *lines, "", ""]).encode()


def end_parts(boundary: str) -> bytes:
    """What stands behind the last content."""
    return f"\r\n--{boundary}--\r\n".encode()
