"""Reading the master's files for workers, in threads: a disk that is slow holds nobody else up."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from distributed.dataclass import dataclass
from distributed.errors import HomeError
from distributed.recipes.home import Home

__all__ = ["CHANGES", "PIECE_NBYTES", "Content", "Source", "open_source", "read_contents", "threads"]

PIECE_NBYTES = 1_048_576  # in memory per connection at once: two of them
THREADS = 8  # files that are read at the same time
CHANGES = "it changes while it is read"

Identity = tuple[int, int]  # bytes, and ns of the last change


def threads() -> ThreadPoolExecutor:
    """Where files are read."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="reading")


class Source:
    """A file that is sent piece by piece.

    Attributes:
        nbytes: as it was opened; what is sent is exactly that, or an error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._identity = _identity(file)
        self.nbytes = self._identity[0]
        self._left = self.nbytes

    def next_piece(self) -> bytes:
        """The next one, whose last byte is only given when the file is still the one that was opened.

        Raises:
            HomeError: it has changed meanwhile: it is none of the versions of this file.
            OSError: it cannot be read.
        """
        piece = self._file.read(min(PIECE_NBYTES, self._left))
        self._left -= len(piece)
        if (not piece and self._left) or (not self._left and _identity(self._file) != self._identity):
            raise HomeError(os.fsdecode(self._file.name), CHANGES)
        return piece

    @property
    def is_at_end(self) -> bool:
        """Whether all pieces were given."""
        return not self._left

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(slots=True)
class Content:
    """What was read of one file of a batch.

    Attributes:
        content: all of it; None: see the others.
        error: why it cannot be read.
        is_changing: it was written to meanwhile.
        nbytes: of a file that did not fit.
    """

    path: str
    content: bytes | None = None
    error: str | None = None
    is_changing: bool = False
    nbytes: int = 0


def open_source(home: Home, path: str) -> tuple[Source, bytes]:
    """A file and its first piece.

    Raises:
        HomeError: it is no file of the folder (any more), or has changed just now.
        OSError: it cannot be read.
    """
    source = Source(home.open(path))
    try:
        return source, source.next_piece()
    except BaseException:
        source.close()
        raise


def read_contents(home: Home, paths: list[str], nbytes_max: int) -> list[Content]:
    """Files of a batch, in their order, as long as their bytes fit together."""
    found: list[Content] = []
    room = nbytes_max
    for path in paths:
        content = _read_content(home, path, room)
        room -= len(content.content or b"")
        found.append(content)
    return found


def _read_content(home: Home, path: str, room: int) -> Content:
    try:
        with home.open(path) as file:
            identity = _identity(file)
            if identity[0] > room:
                return Content(path, nbytes=identity[0])
            content = file.read(identity[0] + 1)
            if len(content) != identity[0] or _identity(file) != identity:
                return Content(path, is_changing=True)
            return Content(path, content)
    except HomeError as error:
        return Content(path, error=error.reason)
    except OSError as error:
        return Content(path, error=error.strerror or str(error))


def _identity(file: BinaryIO) -> Identity:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
