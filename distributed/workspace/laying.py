"""A workspace laid out: a writable tree of copies, made so that no manifest can reach out of it.

The tree grows in a fresh folder beside its place (see `spreading`), which only its owner can enter, and is renamed at
the end: whole, or not at all. Each file, folder and link is made anew (``O_EXCL``, ``mkdir``) in the folder that was
just made, by its descriptor and never by a path, so nothing is ever written through a link, whatever the manifest says.
Where links lead is worked out from the manifest alone, before anything is made. Modes are 0644 and 0755, less the
umask; there is no way to say setuid, device or socket.

Files are copies, not hard links: a task may write into its workspace, and the store must not change.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable

from distributed.errors import BlobMissingError, LayOutError, StoreFullError
from distributed.ids import unique_id
from distributed.workspace.manifest import SYMLINK, Entry, Manifest, find_bad_links
from distributed.workspace.spreading import spread
from distributed.workspace.store import BlobStore, on_disk

__all__ = ["folds_case", "lay_out", "remove"]

SMALL_NBYTES = 2**20  # up to that a content passes through our memory, and its digest is checked on the way
FREE_NBYTES_MIN = 64 * 2**20  # of the disk, left to others
REMOVE_TRIES = 4  # of a tree in which somebody may still be making files

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_KERNEL_COPY = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOB = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def lay_out(manifest: Manifest, store: BlobStore, folder: str, is_wanted: Callable[[], bool] = lambda: True) -> bool:
    """Make `folder`, which must not exist, with copies of all files of `manifest`; whole, or not at all.

    Contents of up to 1 MiB are checked against their digests once more, bigger ones by their size.

    Args:
        is_wanted: looked at between files; when it turns False, what was made is removed.
    Returns:
        Whether it was wanted to the end.
    Raises:
        LayOutError: a name that collides or is too long for this file system; a link that does not stay inside.
        BlobMissingError: the store lacks or lost a content.
        StoreFullError: no room on the disk.
        OSError: `folder` is there already, or cannot be made.
    """
    parent, name = os.path.split(os.path.abspath(folder))
    if os.path.lexists(folder):
        raise FileExistsError(errno.EEXIST, "a workspace is laid out in a folder of its own", folder)
    _check_room(manifest, parent)
    targets = _link_targets(manifest, store)
    growing = os.path.join(parent, f".{name}.{unique_id('growing')}")
    os.mkdir(growing, 0o700)
    is_whole = False
    try:
        spread(growing)
        tree = os.path.join(growing, unique_id("tree"))  # where it begins follows from the name
        os.mkdir(tree, 0o700)
        is_whole = _Tree(tree, manifest, store, targets).fill(is_wanted)
        if is_whole:
            os.rename(tree, folder)
    except OSError as error:
        is_whole = False
        if error.errno in _FULL:
            raise _full(manifest, parent) from error
        raise
    finally:
        remove(growing)
    return is_whole


def remove(folder: str) -> None:
    """Remove a tree, also where its users took away their own rights to folders; no error if it is gone.

    Raises:
        OSError: something in it cannot be removed: it belongs to somebody else, or files are still being made.
    """
    for tries_left in reversed(range(REMOVE_TRIES)):
        if not os.path.lexists(folder):
            return
        try:
            shutil.rmtree(folder)
        except PermissionError:
            if not tries_left:
                raise
            _allow(folder)
        except OSError as error:  # something was made or removed there meanwhile
            if not tries_left or error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise


def folds_case(folder: str) -> bool:
    """Whether ``A`` and ``a`` are one file in `folder`, where workspaces are laid out."""
    name = unique_id("case")
    path = os.path.join(folder, name)
    os.close(os.open(path, _NEW, 0o600))
    try:
        return os.path.lexists(os.path.join(folder, name.upper()))
    finally:
        os.unlink(path)


# ---------------------------------------------------------------- private


class _Tree:
    """One tree while it grows."""

    def __init__(self, root: str, manifest: Manifest, store: BlobStore, targets: dict[str, str]) -> None:
        self._root = root
        self._manifest = manifest
        self._store = store
        self._target_by_link = targets
        self._parts: list[str] = []  # of the folder we are in
        self._open: list[int] = []  # the root, and each of `_parts`

    def fill(self, is_wanted: Callable[[], bool]) -> bool:
        """Make everything; whether it was wanted to the end."""
        self._open.append(os.open(self._root, _FOLDER))
        try:
            for entry in self._manifest.entries:
                if not is_wanted():
                    return False
                self._make(entry)
        finally:
            for descriptor in self._open:
                os.close(descriptor)
        return True

    def _make(self, entry: Entry) -> None:
        try:
            folder, _, name = entry.path.rpartition("/")
            self._enter(folder.split("/") if folder else [])
            if entry.mode == SYMLINK:
                os.symlink(self._target_by_link[entry.path], name, dir_fd=self._open[-1])
            else:
                self._copy(entry, name, self._open[-1])
        except FileExistsError as error:
            raise LayOutError(entry.path, self._collision(entry.path)) from error
        except OSError as error:
            if error.errno in _BAD_NAME:
                raise LayOutError(entry.path, f"this file system says: {error.strerror}") from error
            raise

    def _enter(self, folders: list[str]) -> None:
        """Go to a folder. All paths below one are next to each other in a manifest: what we leave is complete."""
        if folders == self._parts:
            return
        common = 0
        while common < min(len(folders), len(self._parts)) and folders[common] == self._parts[common]:
            common += 1
        while len(self._parts) > common:
            self._parts.pop()
            os.close(self._open.pop())
        for part in folders[common:]:
            os.mkdir(part, 0o755, dir_fd=self._open[-1])
            self._open.append(os.open(part, _FOLDER, dir_fd=self._open[-1]))
            self._parts.append(part)

    def _copy(self, entry: Entry, name: str, folder: int) -> None:
        source = _open_blob(entry, self._store)
        try:
            content = _read(source, entry.nbytes + 1) if entry.nbytes <= SMALL_NBYTES else None
            if content is not None and not _is_right(entry, content):
                raise _lost(entry, self._store)
            made = os.open(name, _NEW, entry.mode, dir_fd=folder)
            try:
                if content is not None:
                    _write(made, content)
                elif os.fstat(source).st_size != entry.nbytes or _copy_big(source, made) != entry.nbytes:
                    raise _lost(entry, self._store)
            finally:
                os.close(made)
        finally:
            os.close(source)

    def _collision(self, path: str) -> str:
        for other, late in self._manifest.collisions():
            if path == late or path.startswith(late):
                return f"this file system takes it and {other!r} for one, since case does not count there"
        return "this file system takes it for another file of the workspace"


def _link_targets(manifest: Manifest, store: BlobStore) -> dict[str, str]:
    """What each link says, once all are known to stay inside."""
    targets = {}
    for entry in manifest.entries:
        if entry.mode == SYMLINK:
            source = _open_blob(entry, store)
            try:
                content = _read(source, entry.nbytes + 1)
            finally:
                os.close(source)
            if not _is_right(entry, content):
                raise _lost(entry, store)
            if b"\0" in content:
                raise LayOutError(entry.path, "it is a link whose target holds a NUL")
            targets[entry.path] = os.fsdecode(content)
    if targets:
        for link, target, fault in find_bad_links([entry.path for entry in manifest.entries], targets):
            raise LayOutError(link, f"it is a link to {target!r}, and {fault}")
    return targets


def _check_room(manifest: Manifest, parent: str) -> None:
    status = os.statvfs(parent)
    if _needed(manifest) + FREE_NBYTES_MIN > status.f_bavail * status.f_frsize:
        raise _full(manifest, parent)


def _full(manifest: Manifest, parent: str) -> StoreFullError:
    status = os.statvfs(parent)
    free = max(0, status.f_bavail * status.f_frsize - FREE_NBYTES_MIN)
    return StoreFullError(parent, _needed(manifest), free, "workspaces are laid out there: free some of its disk")


def _needed(manifest: Manifest) -> int:
    folders = {entry.path.rpartition("/")[0] for entry in manifest.entries}
    return sum(on_disk(entry.nbytes) for entry in manifest.entries) + len(folders) * on_disk(1)


def _open_blob(entry: Entry, store: BlobStore) -> int:
    try:
        return os.open(store.path(entry.digest), _BLOB)
    except FileNotFoundError:
        raise BlobMissingError(entry.digest.hex(), store.folder, entry.path) from None


def _is_right(entry: Entry, content: bytes) -> bool:
    return len(content) == entry.nbytes and hashlib.sha256(content).digest() == entry.digest


def _lost(entry: Entry, store: BlobStore) -> BlobMissingError:
    """It was damaged on disk: remove it, so that it is asked for again."""
    store.discard(entry.digest)
    return BlobMissingError(entry.digest.hex(), store.folder, entry.path)


def _read(descriptor: int, nbytes: int) -> bytes:
    content = os.read(descriptor, nbytes)
    while 0 < len(content) < nbytes and (more := os.read(descriptor, nbytes - len(content))):
        content += more
    return content


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _copy_big(source: int, made: int) -> int:
    """Copy all of a file; bytes. The kernel shares the blocks where the file system can."""
    copied = 0
    try:
        if not hasattr(os, "copy_file_range"):
            raise OSError(errno.ENOSYS, "this system's kernel copies nothing")
        while count := os.copy_file_range(source, made, 2**30):
            copied += count
    except OSError as error:
        if copied or error.errno not in _NO_KERNEL_COPY:
            raise
        while piece := os.read(source, SMALL_NBYTES):
            _write(made, piece)
            copied += len(piece)
    return copied


def _allow(folder: str) -> None:
    """Give ourselves back the rights to all folders below; links are not followed."""
    os.chmod(folder, 0o700)
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.chmod(path, 0o700)
