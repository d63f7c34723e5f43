"""Where a file system puts what is made in a folder.

ext4 makes files near their folder, and folders near the one around them: all that is laid out below ``/tmp`` is in one
corner of the disk. Without a journal it does not take the place of a file again for a minute after that was removed,
and looks at each such place for each new file: where 1,000 files went, making 1,000 takes 250 to 1,400 ms instead of
28. What it is told here it does by itself for the root of a disk: each folder in there begins in a place of its own,
which follows from its name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys

from distributed.ids import unique_id

__all__ = ["make_apart", "spread"]

LONG_NBYTES = struct.calcsize("l")  # the kernel takes an int, but its calls are numbered as if for a long
GET_FLAGS = 0x8000_6601 | LONG_NBYTES << 16
SET_FLAGS = 0x4000_6602 | LONG_NBYTES << 16
TOP_OF_TREES = 0x0002_0000  # ``chattr +T``

_OTHER = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES)  # nothing to tell it


def spread(folder: str) -> bool:
    """Have folders made in `folder` spread over the disk, however the files in each of them stay together.

    Returns:
        Whether its file system knows of that. No error if it does not.
    """
    if sys.platform != "linux":
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        (flags,) = struct.unpack_from("i", fcntl.ioctl(descriptor, GET_FLAGS, bytes(LONG_NBYTES)))
        fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("i", flags | TOP_OF_TREES).ljust(LONG_NBYTES, b"\0"))
    except OSError as error:
        if error.errno not in _OTHER:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def make_apart(folder: str) -> None:
    """Make a folder in a place of its own, in a parent that is spread; no error if it is there, or comes meanwhile."""
    if os.path.isdir(folder):
        return
    made = os.path.join(os.path.dirname(folder), unique_id("apart"))
    os.mkdir(made, 0o700)
    try:
        os.rename(made, folder)  # in place of an empty one, too, where another process was as quick
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(made)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
