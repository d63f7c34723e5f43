"""Contents of files on disk, each once, named by their sha256; the least recently used go when space is short.

```text
FOLDER/                     mode 0700
    lock                    held (flock) while anything below is counted, pinned or removed
    usage                   bytes in use, a number as text; too high after a crash, and right after the next eviction
    blobs/ab/cdef...        contents, mode 0444; their time of change is when they were last asked for
    manifests/ID            msgpack of `Manifest.to_wire`
    incoming/               files being written; whole ones are renamed to their place
    pins/HOLDER.ID          what processes hold, see `distributed.workspace.pins`
```

Nothing is flushed to disk: after a power loss a content may be shorter than it should be, and is found out by its size,
which everybody who asks knows. What is *not* here: who may have what, see `distributed.workspace.spaces`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf, nextafter
from typing import BinaryIO

import msgpack

from distributed.errors import (
    BlobMismatchError,
    BlobMissingError,
    DistributedError,
    StoreFolderError,
    StoreFullError,
)
from distributed.ids import unique_id
from distributed.workspace.incoming import Incoming
from distributed.workspace.limits import DEFAULT_LIMITS, WorkspaceLimits
from distributed.workspace.manifest import Manifest
from distributed.workspace.pins import Pins
from distributed.workspace.spreading import make_apart, spread

__all__ = ["BlobStore", "default_folder", "on_disk"]

BLOCK_NBYTES = 4096  # what the smallest file takes of most disks: a bound on bytes is one on files, too
TOUCH_S = 60.0  # a content that was used that recently is not marked again
STALE_S = 3600.0  # a file that nobody has written to for so long is no longer on its way
LOCK_S = 120.0  # an eviction among a million contents takes 20 s on a quiet disk
EVICT_FRACTION = 0.9  # of the bound stays after an eviction, so that not every new content looks at all old ones
MANIFEST_NBYTES_MAX = 64 * 2**20

_FULL = (errno.ENOSPC, errno.EDQUOT)


def default_folder() -> str:
    """``$XDG_CACHE_HOME/distributed/store``, else below ``~/.cache``."""
    caches = os.environ.get("XDG_CACHE_HOME", "")  # the XDG rule: relative paths count as unset
    if not os.path.isabs(caches):
        caches = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(caches, "distributed", "store")


def on_disk(nbytes: int) -> int:
    """What a file of `nbytes` counts: whole blocks, at least one."""
    return max(1, -(-nbytes // BLOCK_NBYTES)) * BLOCK_NBYTES


def make_private(folder: str) -> None:
    """Make a folder that only its owner can use, or check that it is one.

    Raises:
        StoreFolderError: it is not, or cannot be made.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise StoreFolderError(folder, f"{error.strerror or error}; name another one") from error
    if not stat.S_ISDIR(status.st_mode):
        raise StoreFolderError(folder, "it is a link; name the folder itself")
    if status.st_uid != os.geteuid():
        raise StoreFolderError(folder, f"it belongs to user id {status.st_uid}, not to you ({os.geteuid()})")
    if status.st_mode & 0o077:
        raise StoreFolderError(folder, f"its mode is {status.st_mode & 0o777:04o}, others can use it; chmod 700 it")


class BlobStore:
    """Contents and manifests in one folder, used by any number of processes and threads of one user at once.

    Args:
        folder: made with mode 0700 where it is missing.
        nbytes_max: bound on everything in it, in whole blocks of 4 KiB; the least recently used that nobody pins go.
        free_nbytes_min: of its file system, left to others.
        make_room: called with a number of bytes before they are taken, for a bound on several stores together.
    Raises:
        StoreFolderError: it belongs to somebody else, others may use it, or it cannot be made.
    """

    def __init__(
        self,
        folder: str,
        nbytes_max: int,
        free_nbytes_min: int = 64 * 2**20,
        make_room: Callable[[int], None] | None = None,
    ) -> None:
        self.folder = os.path.abspath(folder)
        self.nbytes_max = nbytes_max
        self._free_nbytes_min = free_nbytes_min
        self._make_room = make_room
        make_private(self.folder)
        inside = [os.path.join(self.folder, name) for name in ("blobs", "manifests", "incoming", "pins")]
        self._blobs, self._manifests, self._arriving, pins = inside
        self._usage = os.path.join(self.folder, "usage")
        try:
            spread(self.folder)
            for path in inside:
                make_apart(path)
            self._lock = os.open(os.path.join(self.folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._explain(error, BLOCK_NBYTES) from error
        self._turn = threading.Lock()  # between threads of this process, which share `_lock`
        self._pins = Pins(pins)
        self._sweep()
        self._under_way = 0  # bytes that threads of ours have reserved and not written yet: an eviction cannot see them

    def _sweep(self) -> None:
        """Remove the pins of killed processes, unless the store is in use: whoever needs room does it, too."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            self._pins.sweep()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of all pins. May be called again."""
        with self._turn:
            for workspace in self._pins.held():
                while workspace in self._pins.held():
                    self._pins.remove(workspace)
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    # ------------------------------------------------------------ contents

    def path(self, digest: bytes) -> str:
        """Where a content lies, if it is here."""
        name = digest.hex()
        return f"{self._blobs}/{name[:2]}/{name[2:]}"

    def lacks(self, nbytes_by_digest: Mapping[bytes, int]) -> list[bytes]:
        """Those that are not here, in order; those of another size are removed. Uses the rest."""
        missing = []
        now = time.time()
        for digest, nbytes in nbytes_by_digest.items():
            path = self.path(digest)
            try:
                status = os.lstat(path)
                if status.st_size != nbytes:
                    os.unlink(path)
                    missing.append(digest)
                elif now - status.st_mtime > TOUCH_S:
                    os.utime(path)
            except FileNotFoundError:
                missing.append(digest)
        return missing

    def put(self, digest: bytes, pieces: Iterable[bytes], nbytes: int) -> None:
        """Keep a content of `nbytes`, if its pieces are what `digest` says.

        Raises:
            BlobMismatchError: they are not. StoreFullError: no room. Nothing is kept then.
        """
        arriving = self.begin(digest, nbytes)
        try:
            at = 0
            for piece in pieces:
                self.write(arriving, at, piece)
                at += len(piece)
            self.finish(arriving)
        finally:
            self.abandon(arriving)

    def put_all(self, contents: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep whole contents, pairs of digest and bytes; room is made once for all. Errors as `put`."""
        for digest, content in contents:
            if hashlib.sha256(content).digest() != digest:
                raise BlobMismatchError(digest.hex(), f"other bytes came, {len(content):,} of them")
        nbytes = sum(on_disk(len(content)) for _, content in contents)
        self.reserve(nbytes)
        left = nbytes
        temporary = os.path.join(self._arriving, unique_id("small"))
        try:
            for digest, content in contents:
                if not os.path.lexists(self.path(digest)):
                    self._write(temporary, content)
                    self._place(temporary, digest)
                    left -= on_disk(len(content))
        except OSError as error:
            raise self._explain(error, nbytes) from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            self._settle(nbytes, left)

    def begin(self, digest: bytes, nbytes: int) -> Incoming:
        """A content that comes in pieces; `finish` or `abandon` it. StoreFullError: no room, now or for the rest."""
        taken = unused = on_disk(nbytes)
        self.reserve(taken)
        try:
            arriving = Incoming(os.path.join(self._arriving, unique_id("big")), digest, nbytes)
            unused = 0
        except OSError as error:
            raise self._explain(error, nbytes) from error
        finally:
            self._settle(taken, unused)
        return arriving

    def write(self, arriving: Incoming, offset: int, piece: bytes) -> None:
        """Add a piece. BlobMismatchError: it goes beyond the end. StoreFullError: the disk is full."""
        try:
            arriving.write(offset, piece)
        except OSError as error:
            raise self._explain(error, arriving.nbytes) from error

    def finish(self, arriving: Incoming) -> None:
        """Keep what has arrived. Errors as `put`; then it is abandoned."""
        try:
            path = arriving.check()
            if os.path.lexists(self.path(arriving.digest)):
                return  # somebody else was quicker
            self._place(path, arriving.digest)
            arriving.is_kept = True
        except OSError as error:
            raise self._explain(error, arriving.nbytes) from error
        finally:
            self.abandon(arriving)

    def abandon(self, arriving: Incoming) -> None:
        """Remove what came of it, unless it is kept. May be called again."""
        if arriving.close() and not arriving.is_kept:
            self.release(on_disk(arriving.nbytes))

    def open(self, digest: bytes) -> BinaryIO:
        """To read it.

        Raises:
            BlobMissingError: it is not here.
        """
        try:
            return open(os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)
        except FileNotFoundError:
            raise BlobMissingError(digest.hex(), self.folder) from None

    def read(self, digest: bytes, nbytes: int) -> bytes:
        """The whole content, checked.

        Raises:
            BlobMissingError: it is not here, or is damaged and was removed.
        """
        with self.open(digest) as file:
            content = file.read(nbytes + 1)
        if len(content) != nbytes or hashlib.sha256(content).digest() != digest:
            self.discard(digest)
            raise BlobMissingError(digest.hex(), self.folder)
        return content

    def discard(self, digest: bytes) -> None:
        """Remove a content that was found damaged; the next eviction counts anew."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    # ------------------------------------------------------------ workspaces

    def pin(self, workspace: str, digests: Iterable[bytes]) -> None:
        """Until as many `unpin`s, or the end of this process, these stay once they are here, and the manifest too."""
        with self._locked():
            self._pins.add(workspace, digests)

    def unpin(self, workspace: str) -> None:
        """Undo one `pin`; nothing happens if there is none."""
        with self._locked():
            self._pins.remove(workspace)

    def put_manifest(self, manifest: Manifest) -> None:
        """Remember it by its id. StoreFullError: no room."""
        path = self._manifest_path(manifest.id)
        if os.path.lexists(path):
            os.utime(path)
            return
        content: bytes = msgpack.packb(manifest.to_wire())
        taken = unused = on_disk(len(content))
        self.reserve(taken)
        temporary = os.path.join(self._arriving, unique_id("manifest"))
        try:
            self._write(temporary, content)
            os.rename(temporary, path)
            unused = 0
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise self._explain(error, len(content)) from error
        finally:
            self._settle(taken, unused)

    def manifest(self, workspace: str, limits: WorkspaceLimits = DEFAULT_LIMITS) -> Manifest | None:
        """The one of that id; None: it is not here, or breaks a rule."""
        path = self._manifest_path(workspace)
        try:
            with open(path, "rb") as file:
                content = file.read(MANIFEST_NBYTES_MAX)
            os.utime(path)
        except FileNotFoundError:
            return None
        try:
            manifest = Manifest.from_wire(msgpack.unpackb(content, strict_map_key=False), limits)
        except (ValueError, msgpack.UnpackException, DistributedError):  # damaged
            os.unlink(path)
            return None
        if manifest.id != workspace:
            os.unlink(path)
            return None
        return manifest

    # ------------------------------------------------------------ room

    def usage(self) -> int:
        """Bytes in use; an estimate that is never too low."""
        return self.usage_of(self.folder)

    @staticmethod
    def usage_of(folder: str) -> int:
        """The same of any store, without opening it; 0: there is none."""
        try:
            with open(os.path.join(folder, "usage"), encoding="ascii") as file:
                return int(file.read() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def reserve(self, nbytes: int) -> None:
        """Take room for `nbytes` that are about to be written; the least recently used contents go for it.

        Raises:
            StoreFullError: it is not enough.
        """
        if self._make_room is not None:
            self._make_room(nbytes)
        with self._locked():
            used = self.usage()
            if used + nbytes > self.nbytes_max or not os.path.exists(self._usage):
                used = self._evict(self.nbytes_max - nbytes)
            if nbytes + self._free_nbytes_min > self._free_nbytes():
                used = self._evict(used - (nbytes + self._free_nbytes_min - self._free_nbytes()))
            self._set_usage(used)
            self._check_room(used, nbytes)
            self._set_usage(used + nbytes)
            self._under_way += nbytes

    def release(self, nbytes: int) -> None:
        """Give back room that was written to and is free again."""
        self._settle(0, nbytes)

    def _settle(self, taken: int, unused: int) -> None:
        """What was reserved is written by now, but for `unused` bytes that were not needed."""
        with self._locked():
            self._under_way -= taken
            if unused:
                self._set_usage(self.usage() - unused)

    def evict(self, nbytes: int) -> int:
        """Remove the least recently used until `nbytes` less are in use, or all the rest is pinned; bytes removed."""
        with self._locked():
            before = self._evict(None)
            after = self._evict(before - nbytes)
            self._set_usage(after)
        return before - after

    def _check_room(self, used: int, nbytes: int) -> None:
        if used + nbytes > self.nbytes_max:
            cure = "all of the rest is in use: end programs that use it, or raise the limit of the store"
            raise StoreFullError(self.folder, nbytes, max(0, self.nbytes_max - used), cure)
        free = self._free_nbytes() - self._free_nbytes_min
        if nbytes > free:
            cure = f"free some of its disk, of which {self._free_nbytes_min:,} bytes are left to others"
            raise StoreFullError(self.folder, nbytes, max(0, free), cure)

    def _evict(self, target: int | None) -> int:
        """Count what is there, and remove until at most nine tenths of `target` remain if it is more; what remains.

        Looks twice, so that a million contents take few bytes of memory: which age has to go, and who is of that age.
        """
        workspaces, digests = self._pins.all()
        pinned = {self.path(digest) for digest in digests} | {self._manifest_path(name) for name in workspaces}
        used = self._under_way
        times, sizes = array("d"), array("q")  # of what may go
        for path, nbytes, used_at in self._everything():
            used += nbytes
            if path not in pinned and not path.startswith(self._arriving):
                times.append(used_at)
                sizes.append(nbytes)
        if target is None or used <= target:
            return used
        excess = used - max(0, target) * EVICT_FRACTION
        oldest_kept = -inf
        for number in sorted(range(len(times)), key=times.__getitem__):
            if excess <= 0:
                break
            oldest_kept = nextafter(times[number], inf)
            excess -= sizes[number]
        for path, nbytes, used_at in self._everything():
            if used_at < oldest_kept and path not in pinned and not path.startswith(self._arriving):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                used -= nbytes
        return used

    def _everything(self) -> Iterator[tuple[str, int, float]]:
        """Path, bytes on disk and last use of all that counts; what killed processes left half-written is removed."""
        stale = time.time() - STALE_S
        with os.scandir(self._blobs) as folders:
            names = [folder.path for folder in folders]
        for folder in (*names, self._manifests, self._arriving):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if folder == self._arriving and status.st_mtime < stale:
                            os.unlink(entry.path)
                        else:
                            yield entry.path, on_disk(status.st_size), status.st_mtime

    def _free_nbytes(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def _set_usage(self, nbytes: int) -> None:
        """In place: it is smaller than a page, and only read under the lock, or as an estimate."""
        descriptor = os.open(self._usage, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, f"{max(0, nbytes):<20}".encode(), 0)
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------ files

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._turn:
            give_up = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up:
                        reason = f"another process has held its lock for {LOCK_S:.0f} s; end that one (lsof shows it)"
                        raise StoreFolderError(self.folder, reason) from None
                    time.sleep(0.002)
            try:
                yield
            except DistributedError:
                raise
            except OSError as error:  # pins and the count of bytes need room, too
                raise self._explain(error, BLOCK_NBYTES) from error
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _write(self, path: str, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)

    def _place(self, path: str, digest: bytes) -> None:
        target = self.path(digest)
        try:
            os.rename(path, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            os.rename(path, target)

    def _manifest_path(self, workspace: str) -> str:
        return f"{self._manifests}/{workspace}"

    def _explain(self, error: OSError, nbytes: int) -> OSError:
        """The same, or what it means to the operator."""
        if error.errno not in _FULL:
            return error
        return StoreFullError(self.folder, nbytes, self._free_nbytes(), "its disk is full: free some, or name another")
