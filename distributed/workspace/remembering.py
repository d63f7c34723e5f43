"""Digests of files that have been read, so that a file which has not changed is not read again, also by the next
process.

A file is the same as before if size, times and inode are. That does not tell when it was read in the same moment in
which it was last changed: another change within one tick of the file system's clock would leave the time as it is. So
what is remembered of a file counts only if the file had been left alone for a moment when it was read (git calls
others racy).
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import msgpack

from distributed.dataclass import dataclass
from distributed.workspace.manifest import DIGEST_NBYTES, EXECUTABLE, FILE, SYMLINK, Entry

__all__ = ["DigestMemory", "cache_folder", "mode_of"]

logger = logging.getLogger(__name__)

RACY_LOCAL_NS = 20_000_000  # two ticks of the slowest clock that Linux stamps files with
RACY_REMOTE_NS = 3_000_000_000  # another machine's clock, or a file system that counts in whole seconds
FORMAT = 1
FILE_NBYTES_MAX = 64 * 2**20
FILES_KEPT = 64  # projects whose digests are remembered at once
SAVED_PART = 50  # digests are saved when so much of them, a fiftieth, is new

Signature = tuple[int, int, int, int]  # size, time of the content, time of the file's own record, inode


@dataclass(slots=True)
class _Known:
    entry: Entry
    signature: Signature
    is_settled: bool


class DigestMemory:
    """What is known of one project's files."""

    def __init__(self, root: str, is_local: bool) -> None:
        """Remember nothing yet; `load` what an earlier process knew.

        Args:
            root: of the project.
            is_local: only this machine changes its file system, by its own clock.
        """
        self._racy_ns = RACY_LOCAL_NS if is_local else RACY_REMOTE_NS
        self._root = root
        self._known: dict[str, _Known] = {}
        self._new = 0

    def entry(self, path: str, status: os.stat_result) -> Entry | None:
        """What `path` holds if it is known to be unchanged."""
        known = self._known.get(path)
        if known is None or not known.is_settled or known.signature != signature_of(status):
            return None
        return known.entry if known.entry.mode == mode_of(status) else None

    def signature(self, path: str) -> Signature | None:
        """Of the file when it was last read."""
        known = self._known.get(path)
        return known.signature if known is not None else None

    def note(self, entry: Entry, status: os.stat_result, began_ns: int) -> Entry:
        """Remember what was read of a file; `began_ns` is the wall clock before that. Returns the entry as it was first
        remembered if it is the same."""
        signature = signature_of(status)
        known = self._known.get(entry.path)
        if known is not None and known.entry == entry:
            entry = known.entry
        is_settled = signature[2] < began_ns - self._racy_ns  # every write sets that time, and nobody can choose it
        self._new += is_settled
        self._known[entry.path] = _Known(entry, signature, is_settled)
        return entry

    def keep(self, paths: set[str]) -> None:
        """Forget all others."""
        if len(self._known) > len(paths):
            self._known = {path: known for path, known in self._known.items() if path in paths}

    def load(self) -> None:
        """Read what an earlier process saved; what is damaged, or not ours alone to write, is as good as nothing."""
        path = self._path()
        if path is None:
            return
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.getuid() or status.st_mode & 0o022 or status.st_size > FILE_NBYTES_MAX:
                    logger.warning("%s is not used: it is not yours alone, or too big; remove it", path)
                    return
                content = file.read()
            rows = msgpack.unpackb(content)
            self._known = _read(rows, self._root, self._racy_ns)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, msgpack.UnpackException) as error:
            logger.info("%s is not used, files are read again: %s", path, error)

    def save(self) -> None:
        """Write what is known to a file, if enough of it is new."""
        if self._new == 0 or self._new * SAVED_PART < len(self._known):
            return
        self._new = 0
        path = self._path()
        if path is None:
            return
        rows = [
            [each.entry.path, each.entry.mode, each.entry.digest, each.entry.nbytes, *each.signature]
            for each in self._known.values()
            if each.is_settled
        ]
        content = msgpack.packb([FORMAT, self._root, self._racy_ns, rows])
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, content)
            _tidy(path.parent)
        except OSError as error:
            logger.info("digests of %s are not kept for the next process: %s", self._root, error)

    def _path(self) -> Path | None:
        folder = cache_folder()
        if folder is None:
            return None
        name = hashlib.sha256(self._root.encode(errors="surrogateescape")).hexdigest()[:32]
        return folder / "scans" / name


def cache_folder() -> Path | None:
    """``distributed`` below the user's folder for caches (the XDG rule); None: the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = given if os.path.isabs(given) else os.path.expanduser("~/.cache")  # relative ones count as unset
    return Path(home) / "distributed" if os.path.isabs(home) else None


def signature_of(status: os.stat_result) -> Signature:
    """What tells that a file has changed."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def mode_of(status: os.stat_result) -> int:
    """The mode that the file has in a manifest."""
    if stat.S_ISLNK(status.st_mode):
        return SYMLINK
    return EXECUTABLE if status.st_mode & stat.S_IXUSR else FILE


# ---------------------------------------------------------------- private


def _read(value: Any, root: str, racy_ns: int) -> dict[str, _Known]:
    version, saved_root, saved_racy_ns, rows = value
    if (version, saved_root) != (FORMAT, root) or saved_racy_ns < racy_ns:
        raise ValueError("it is of another version, or of another folder")
    known = {}
    for path, mode, digest, nbytes, size, modified_ns, changed_ns, inode in rows:
        if type(path) is not str or type(digest) is not bytes or len(digest) != DIGEST_NBYTES:
            raise ValueError("a row has no path and digest")
        signature = (size, modified_ns, changed_ns, inode)
        if set(map(type, (mode, nbytes, *signature))) != {int} or mode not in (FILE, EXECUTABLE, SYMLINK):
            raise ValueError("a row has wrong numbers")
        known[path] = _Known(Entry(path, mode, nbytes, digest), signature, True)
    return known


def _write(path: Path, content: bytes) -> None:
    name = path.parent / f".{path.name}.{os.getpid()}.{threading.get_ident()}"
    number = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(number, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _tidy(folder: Path) -> None:
    """Keep the files of the projects that were used last."""
    files = sorted(folder.iterdir(), key=lambda path: path.lstat().st_mtime_ns)
    old_s = time.time() - 3600
    for path in files[:-FILES_KEPT]:
        if path.lstat().st_mtime < old_s:
            path.unlink(missing_ok=True)
