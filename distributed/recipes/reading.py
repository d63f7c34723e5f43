"""Reading a file that others may write to meanwhile, whole or piece by piece: what is read is one version of it."""

from __future__ import annotations

import os
from typing import BinaryIO

from distributed.errors import HomeError

__all__ = ["CHANGES", "Source", "read_whole"]

CHANGES = "it changes while it is read"

Identity = tuple[int, int]  # bytes, and ns of the last change


class Source:
    """A file that is read piece by piece.

    Attributes:
        nbytes: as it was opened; what is read is exactly that, or an error.
    """

    def __init__(self, file: BinaryIO, piece_nbytes: int) -> None:
        self._file = file
        self._piece_nbytes = piece_nbytes
        self._identity = _identity(file)
        self.nbytes = self._identity[0]
        self._left = self.nbytes

    def next_piece(self) -> bytes:
        """The next one, whose last byte is only given when the file is still the one that was opened.

        Raises:
            HomeError: it has changed meanwhile: it is none of the versions of this file.
            OSError: it cannot be read.
        """
        piece = self._file.read(min(self._piece_nbytes, self._left))
        self._left -= len(piece)
        if (not piece and self._left) or (not self._left and self._has_changed()):
            raise HomeError(os.fsdecode(self._file.name), CHANGES)
        return piece

    @property
    def is_at_end(self) -> bool:
        """Whether all pieces were given."""
        return not self._left

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _has_changed(self) -> bool:
        """Whether there is more than there was, or something else."""
        return bool(self._file.read(1)) or _identity(self._file) != self._identity


def read_whole(file: BinaryIO, nbytes_max: int) -> tuple[int, bytes | None]:
    """How big a file is, and its content; None: it is bigger than `nbytes_max`. Errors as `Source.next_piece`."""
    source = Source(file, nbytes_max)
    if source.nbytes > nbytes_max:
        return source.nbytes, None
    pieces = [source.next_piece()]
    while not source.is_at_end:
        pieces.append(source.next_piece())
    return source.nbytes, b"".join(pieces)


def _identity(file: BinaryIO) -> Identity:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
