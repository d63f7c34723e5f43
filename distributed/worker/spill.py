"""Results on disk: one file per result, written once, read by mapping it.

    file:  the pickle, then each of its buffers, every part on a multiple of 64 bytes

Where the parts lie is kept in memory: no later life reads these files, but for those that a nanny rescues (`rescue`).
They are 0600, in a folder that only this process uses and that goes with it. All of this blocks, so none of it runs on
the loop.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
from itertools import count
from typing import Any, Protocol

from distributed.errors import DistributedError
from distributed.protocol.serialize import Serialized, loads_payload

__all__ = ["Disk", "SpillDisk", "SpillReadError", "Spilled"]

ALIGNMENT = 64  # of arrays, so that they are as fast as those that were never here
FOLDER_PREFIX = "distributed-spill-"


class SpillReadError(DistributedError):
    """The operator's fault, or the disk's: a file of spilled results is gone or cannot be read. Its result is lost."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"a spilled result cannot be read from {path}: {reason}; it counts as lost")


class Spilled:
    """A result in a file.

    Attributes:
        nbytes: size of the file.
        mapped_nbytes: what of the loaded object will lie in the mapping: the system takes such pages back by itself.
        box: ``(object,)`` while it is also loaded; the store's.
        parts: where each frame begins and ends.
        is_plain: whether it is one pickle, bytes and not `Serialized`.
    """

    __slots__ = ("box", "is_plain", "mapped_nbytes", "nbytes", "parts", "path")

    def __init__(self, path: str, parts: list[tuple[int, int]], is_plain: bool) -> None:
        self.path = path
        self.nbytes = parts[-1][1]
        self.mapped_nbytes = sum(stop - start for start, stop in parts[1:]) if parts[0] != (0, 0) else 0
        self.box: tuple[Any] | None = None
        self.parts = parts
        self.is_plain = is_plain

    def load(self) -> Any:
        """A new object; its buffers are the file's pages, written to privately. Runs the code of the pickle.

        Raises:
            SpillReadError: the file is gone or too short. Exception: whatever loading raises.
        """
        return loads_payload(self._payload(mmap.ACCESS_COPY))

    def payload(self) -> Any:
        """The pickled object as it was written, not loaded; frames are the file's pages.

        Raises:
            SpillReadError: the file is gone or too short.
        """
        return self._payload(mmap.ACCESS_READ)

    def private_payload(self) -> Any:
        """As `payload`, but objects that are loaded from it may be written to; the file stays as it is."""
        return self._payload(mmap.ACCESS_COPY)

    def _payload(self, access: int) -> Any:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_size < self.nbytes:  # reading beyond the end would kill the process
                    raise SpillReadError(self.path, "it is shorter than it was")
                pages = memoryview(mmap.mmap(descriptor, self.nbytes, access=access))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SpillReadError(self.path, error.strerror or str(error)) from None
        frames: list[Any] = [pages[start:stop] for start, stop in self.parts]
        return bytes(frames[0]) if self.is_plain else Serialized(frames)


class Disk(Protocol):
    """Where results go that memory has no room for."""

    def write(self, key: str, payload: Any) -> Spilled:
        """Put a payload there. Raises OSError when it takes no more; then nothing of it is left there."""

    def remove(self, spilled: Spilled) -> None:
        """Its place is free. Objects that were loaded from it stay whole."""

    def close(self) -> None:
        """Everything in it is gone."""


class SpillDisk:
    """Files in a folder that is made at the first write.

    Args:
        parent: an existing folder; None: the system's for temporary files.
    """

    def __init__(self, parent: str | None) -> None:
        self._parent = parent
        self._numbers = count()
        self.folder: str | None = None

    def write(self, key: str, payload: Any) -> Spilled:
        """See `Disk`. One thread at a time."""
        if self.folder is None:
            self.folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=self._parent)  # 0700
        path = os.path.join(self.folder, str(next(self._numbers)))
        is_plain = type(payload) is bytes
        frames = [payload] if is_plain else payload.frames
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            parts = _write_frames(descriptor, frames)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)
        return Spilled(path, parts, is_plain)

    def remove(self, spilled: Spilled) -> None:
        """See `Disk`."""
        with contextlib.suppress(FileNotFoundError):  # the whole folder was removed by somebody
            os.unlink(spilled.path)

    def close(self) -> None:
        """See `Disk`."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _write_frames(descriptor: int, frames: list[Any]) -> list[tuple[int, int]]:
    """Where each frame lies in the file."""
    parts, start = [], 0
    for frame in frames:
        view = memoryview(frame).cast("B")
        parts.append((start, start + view.nbytes))
        while view.nbytes:
            written = os.pwrite(descriptor, view, start)
            view, start = view[written:], start + written
        start += -start % ALIGNMENT
    return parts
