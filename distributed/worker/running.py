"""Which task every thread runs, in a small file that outlives the process: its guard reads what ran at death.

    file:  one slot of 512 bytes per thread
    slot:  4 bytes little-endian length (0: nothing runs) | 8 bytes deadline | UTF-8 of the key, cut, then zeros

The deadline is a double, in seconds of the system's monotonic clock, which all processes share; 0: there is none.

Written through a shared mapping, so that a write costs no system call and survives SIGKILL. It does not survive the
machine, and does not have to.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct

from distributed.ids import CUT_KEY_NBYTES

__all__ = ["Running", "read_deadlines", "read_running"]

SLOT_NBYTES = CUT_KEY_NBYTES + 12

_SLOT = struct.Struct(f"<Id{CUT_KEY_NBYTES}s")  # pads and cuts by itself
_DEADLINE = struct.Struct("<d")
_LENGTH = struct.Struct("<I")
_write_slot = _SLOT.pack_into
_write_length = _LENGTH.pack_into


class Running:
    """The tasks that run now, one slot per thread; each slot is written by its own thread only.

    Args:
        path: file to create, in place of what is there, readable by its owner only; None keeps the slots in memory.
        nthreads: number of slots, >= 1.
    Raises:
        OSError: the file cannot be made.
    Cost: `begin` 0.17 us, `end` 0.10 us, measured.
    """

    def __init__(self, path: str | None, nthreads: int) -> None:
        self.path = path
        self.nthreads = nthreads
        self._slots: mmap.mmap | bytearray
        if path is None:
            self._slots = bytearray(nthreads * SLOT_NBYTES)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # not truncated: that would kill a process which still has the old file mapped
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, nthreads * SLOT_NBYTES)  # a full disk is an error here, not SIGBUS later
            self._slots = mmap.mmap(descriptor, nthreads * SLOT_NBYTES)
        finally:
            os.close(descriptor)

    def begin(self, slot: int, key: str) -> None:
        """The thread of `slot` runs `key` from now on, instead of what it ran before."""
        encoded = key.encode("utf-8", "replace")
        _write_slot(self._slots, slot * SLOT_NBYTES, len(encoded), 0.0, encoded)

    def limit(self, slot: int, deadline: float) -> None:
        """What the thread of `slot` runs should have ended by then."""
        _DEADLINE.pack_into(self._slots, slot * SLOT_NBYTES + _LENGTH.size, deadline)

    def end(self, slot: int) -> None:
        """The thread of `slot` runs nothing."""
        _write_length(self._slots, slot * SLOT_NBYTES, 0)

    def keys(self) -> list[str]:
        """What runs now, by slot; keys longer than 500 bytes are cut."""
        return [key for key, _ in _entries(self._slots[:])]

    def close(self) -> None:
        """Remove the file, because this process ends in good order. The slots go on to work, in memory."""
        if self.path is not None and isinstance(self._slots, mmap.mmap):
            # Not closed by hand: a thread may be about to write to it. It goes with its last reference.
            self._slots = bytearray(self._slots[:])
            with contextlib.suppress(FileNotFoundError):  # the guard was quicker
                os.unlink(self.path)


def read_running(path: str) -> list[str]:
    """What ran when the process that wrote `path` ended, by slot; empty if there is no such file.

    Keys longer than 500 bytes are cut, and one that was being written at that moment may be mixed up with another.
    """
    return [key for key, _ in read_deadlines(path)]


def read_deadlines(path: str) -> list[tuple[str, float]]:
    """The same with the deadline of each, in seconds of the monotonic clock; 0: it has none."""
    try:
        with open(path, "rb") as file:
            return _entries(file.read())
    except FileNotFoundError:
        return []


def _entries(slots: bytes | bytearray) -> list[tuple[str, float]]:
    entries = []
    for length, deadline, encoded in _SLOT.iter_unpack(slots[: len(slots) // SLOT_NBYTES * SLOT_NBYTES]):
        if length:
            entries.append((encoded[: min(length, CUT_KEY_NBYTES)].decode("utf-8", "ignore"), deadline))
    return entries
