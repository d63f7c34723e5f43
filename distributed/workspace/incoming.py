"""One big content on its way into a store, in pieces of any order."""

from __future__ import annotations

import contextlib
import hashlib
import os

from distributed.errors import BlobMismatchError

__all__ = ["PIECE_NBYTES", "Incoming"]

PIECE_NBYTES = 4 * 2**20  # of one message, and where the pieces of a content begin


class Incoming:
    """A file that is filled, checked and then placed by the store.

    Its disk space is taken at once, so that a full disk is met at the first piece, not at the last.

    Attributes:
        digest, nbytes: of the content to come.
        is_kept: it has got its place.
    """

    def __init__(self, path: str, digest: bytes, nbytes: int) -> None:
        self.digest = digest
        self.nbytes = nbytes
        self.is_kept = False
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        self._ranges: dict[int, int] = {}  # start: end of what came
        try:
            if nbytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, 0, nbytes)
        except BaseException:
            self.close()
            raise

    def write(self, offset: int, piece: bytes) -> None:
        """Take a piece; one that came before is written again.

        Raises:
            BlobMismatchError: it goes beyond the end.
        """
        if offset < 0 or offset + len(piece) > self.nbytes:
            raise BlobMismatchError(
                self.digest.hex(), f"bytes {offset:,} to {offset + len(piece):,} of {self.nbytes:,} came"
            )
        view = memoryview(piece)
        at = offset
        while view:
            count = os.pwrite(self._descriptor, view, at)
            view, at = view[count:], at + count
        if piece:
            self._ranges[offset] = max(self._ranges.get(offset, 0), offset + len(piece))

    @property
    def end(self) -> int:
        """Up to where it has come without a gap."""
        end = 0
        for start in sorted(self._ranges):
            if start > end:
                break
            end = max(end, self._ranges[start])
        return end

    @property
    def is_complete(self) -> bool:
        """Every byte has come."""
        return self.end >= self.nbytes

    def check(self) -> str:
        """The path of the file, whose content is right.

        Raises:
            BlobMismatchError: bytes lack or are wrong.
        """
        if not self.is_complete:
            raise BlobMismatchError(self.digest.hex(), f"it has {self.nbytes:,} bytes, and not all of them came")
        with open(self._descriptor, "rb", buffering=0, closefd=False) as file:
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").digest()
        if found != self.digest:
            raise BlobMismatchError(self.digest.hex(), "other bytes came")
        return self._path

    def close(self) -> bool:
        """Close the file, and remove it unless it was kept; False: that was done before."""
        if self._descriptor < 0:
            return False
        os.close(self._descriptor)
        self._descriptor = -1
        if not self.is_kept:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        return True
