"""Which files this process is writing to: its log, its results, what its stdout was sent to.

They may well lie in the project, and are no part of the workspace as long as they are open: else each line of output
would make another workspace of it.
"""

from __future__ import annotations

import fcntl
import os
import stat

__all__ = ["files_being_written"]

DESCRIPTORS = "/dev/fd"


def files_being_written() -> set[tuple[int, int]]:
    """Device and inode of each regular file that this process has open for writing; some microseconds for each."""
    try:
        numbers = [int(name) for name in os.listdir(DESCRIPTORS)]
    except OSError:
        return set()  # a system without that folder: then nothing is known
    found = set()
    for number in numbers:
        try:
            status = os.fstat(number)
            is_written = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        except OSError:
            continue  # closed meanwhile; the folder's own descriptor is one
        if is_written and stat.S_ISREG(status.st_mode):
            found.add((status.st_dev, status.st_ino))
    return found
