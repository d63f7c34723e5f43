"""Whether anything in some folders has changed, asked of the kernel: inotify, through ctypes. Linux only.

The kernel queues a notice before the system call that changes something returns, so who asks afterwards is told. It
sees what this machine changes, not what another one does to a network file system; hence `is_watchable`. It does not
see stores into a file that is mapped into memory.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["Watcher", "is_watchable"]

_CREATE, _DELETE, _MODIFY, _ATTRIB, _WRITTEN, _MOVED_FROM, _MOVED_TO = 0x100, 0x200, 0x2, 0x4, 0x8, 0x40, 0x80
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_IS_FOLDER, _IGNORED, _OVERFLOW = 0x40000000, 0x8000, 0x4000
_ONLY_FOLDERS, _NO_LINKS, _EXCLUDE_UNLINKED = 0x01000000, 0x02000000, 0x04000000
_CHANGES = _CREATE | _DELETE | _MODIFY | _ATTRIB | _WRITTEN | _MOVED_FROM | _MOVED_TO | _DELETE_SELF | _MOVE_SELF
_MASK = _CHANGES | _ONLY_FOLDERS | _NO_LINKS | _EXCLUDE_UNLINKED
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ_NBYTES = 2**16
_FIONREAD = 0x541B

# File systems that nobody but this machine changes, by the number that statfs gives.
_LOCAL = {
    0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010, 0x2FC12FC1, 0x794C7630, 0x858458F6, 0xCA451A4E, 0x52654973,
    0x3153464A, 0x4D44, 0x2011BAB0, 0x61756673,
}  # ext, xfs, btrfs, tmpfs, f2fs, zfs, overlayfs, ramfs, bcachefs, reiserfs, jfs, fat, exfat, aufs  # fmt: skip


class Watcher:
    """Watches folders, each by a name of the caller's choice."""

    _fd = -1  # until there is one

    def __init__(self) -> None:
        """Watch nothing yet.

        Raises:
            OSError: the kernel has no inotify, or no more of them for this user.
        """
        self._libc = _libc()
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            _raise("inotify_init1")
        # So long that `ioctl` uses it where it is: for a short one, which it copies, it lets go of the interpreter,
        # and in a program with busy threads that costs 15 us each time.
        self._waiting = array("i", bytes(2048))
        self._folder_by_watch: dict[int, str] = {}
        self._lost = False

    def add(self, path: str, folder: str) -> None:
        """Watch the folder at `path`; what happens in it is told with the name `folder`. Once more does no harm.

        Raises:
            OSError: it is no folder, or there are no more watches for this user.
        """
        watch = self._libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK)
        if watch < 0:
            _raise("inotify_add_watch")
        self._folder_by_watch[watch] = folder

    def keep(self, folders: Iterable[str]) -> None:
        """Watch no others than these any more."""
        wanted = set(folders)
        for watch, folder in list(self._folder_by_watch.items()):
            if folder not in wanted:
                del self._folder_by_watch[watch]
                self._libc.inotify_rm_watch(self._fd, watch)

    def take(self) -> list[tuple[str, str, bool]] | None:
        """What has happened since the last time: (folder, name in it, whether that is a folder); the name is empty
        where something happened to the folder itself. None: too much, or a folder is gone; anything may have happened.

        It never waits; it takes 0.5 us when nothing has happened.
        """
        fcntl.ioctl(self._fd, _FIONREAD, self._waiting)
        if not self._waiting[0]:
            return _NOTHING
        events: list[tuple[str, str, bool]] = []
        is_all = True
        while True:
            try:
                content = os.read(self._fd, _READ_NBYTES)
            except BlockingIOError:
                return events if is_all else None
            for watch, mask, name in _events(content):
                folder = self._folder_by_watch.get(watch)
                if mask & _OVERFLOW:
                    is_all = False
                elif folder is None:
                    continue  # one that is not watched any more
                elif mask & _IGNORED:
                    del self._folder_by_watch[watch]
                    is_all = False
                else:
                    events.append((folder, name, bool(mask & _IS_FOLDER)))

    def close(self) -> None:
        """Watch nothing any more; once is enough."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def count(self) -> int:
        """How many folders are watched."""
        return len(self._folder_by_watch)

    def __del__(self) -> None:
        self.close()


def is_watchable(path: str) -> bool:
    """Whether the kernel sees all that may change at `path`: here is Linux, and the file system is local."""
    if sys.platform != "linux":
        return False
    try:
        libc = _libc()
    except OSError:
        return False
    buffer = bytearray(256)  # struct statfs has 120 bytes; it begins with the number of the file system, a long
    if libc.statfs(os.fsencode(path), (libc.char * len(buffer)).from_buffer(buffer)) != 0:
        return False
    number = int.from_bytes(buffer[: struct.calcsize("l")], sys.byteorder)
    return number & 0xFFFFFFFF in _LOCAL


# ---------------------------------------------------------------- private

_NOTHING: list[tuple[str, str, bool]] = []


class _Libc:
    """The four functions of the C library, with their types."""

    def __init__(self) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self.inotify_init1: Any = libc.inotify_init1
        self.inotify_add_watch: Any = libc.inotify_add_watch
        self.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        self.inotify_rm_watch: Any = libc.inotify_rm_watch
        self.statfs: Any = libc.statfs
        self.char: Any = ctypes.c_char
        self.get_errno = ctypes.get_errno


@functools.cache
def _libc() -> _Libc:
    try:
        return _Libc()
    except (AttributeError, ImportError) as error:  # another C library, or a Python that was built without ctypes
        raise OSError(errno.ENOSYS, "there is no inotify here") from error


def _raise(function: str) -> None:
    number = _libc().get_errno()
    raise OSError(number, f"{function}: {os.strerror(number)}")


def _events(content: bytes) -> Iterator[tuple[int, int, str]]:
    position = 0
    while position < len(content):
        watch, mask, _, length = _EVENT.unpack_from(content, position)
        position += _EVENT.size
        name = os.fsdecode(content[position : position + length].rstrip(b"\0"))
        position += length
        yield watch, mask, name
