"""Temporary folders that outlive nobody: each is locked by its owner; what a killed owner left the next one removes.

The lock is a `flock` on a file in the folder. The kernel lets it go with the process, however that ends, so there are
no process ids to be mistaken. Folders without that file are left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile

__all__ = ["Folder", "make_folder", "remove_leftovers", "remove_tree"]

logger = logging.getLogger(__name__)

PREFIX = "distributed-worker-"
LOCK = "lock"


class Folder:
    """A folder of ours, mode 0700, until `remove` or the end of this process (then the next one removes it).

    Attributes:
        path: where it is.
    """

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    def remove(self) -> None:
        """Remove it with all that is in it. May be called again."""
        remove_tree(self.path)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def make_folder(parent: str | None = None) -> Folder:
    """A new one in `parent`, None: the system's place for temporary files.

    Raises:
        OSError: it cannot be made there.
    """
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        lock = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(lock)
            if os.path.exists(os.path.join(path, LOCK)):
                return Folder(path, lock)
        except BlockingIOError:  # somebody cleans up and was quicker: it removes the folder
            os.close(lock)
            continue
        except OSError:  # a file system without locks: nobody will clean up, either
            return Folder(path, lock)
        os.close(lock)  # it has been removed just now


def remove_tree(path: str) -> bool:
    """Remove a folder with all that is in it, also where somebody has made folders unreadable; whether it is gone."""
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path) or os.path.islink(path):
        return not os.path.lexists(path)
    with contextlib.suppress(OSError):  # not ours: then it stays
        os.chmod(path, 0o700)
        for folder, names, _ in os.walk(path):  # from the top, so each can be read when its turn comes
            for name in names:
                if not os.path.islink(inner := os.path.join(folder, name)):
                    os.chmod(inner, 0o700)
    shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


def remove_leftovers(parent: str | None = None) -> list[str]:
    """Remove the folders in `parent` that belong to this user and whose owner is gone; their paths.

    Blocks for as long as removing them takes. What cannot be removed stays, without an error.
    """
    removed = []
    with contextlib.suppress(OSError), os.scandir(parent or tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and _is_ours(entry) and _remove_left(entry.path):
                removed.append(entry.path)
    if removed:
        logger.info("removed %d folders that killed processes had left, such as %s", len(removed), removed[0])
    return removed


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()
    except OSError:  # removed meanwhile
        return False


def _remove_left(path: str) -> bool:
    try:
        lock = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # being made, or not one of these
        return False
    try:
        _lock(lock)
    except OSError:  # its owner lives
        return False
    else:
        return remove_tree(path)
    finally:
        os.close(lock)


def _lock(descriptor: int) -> None:
    """Take it. BlockingIOError: another process has it. OSError: there are no locks here."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
