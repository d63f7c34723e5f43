"""What processes hold in a folder they share: a file per workspace, locked by its holder for as long as that lives.

The kernel lets a `flock` go with the process, however that ends, so a pin outlives nobody. A file's content is the
digests one after the other. What is *not* here: the lock of the store, under which all of this is called.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator

from distributed.ids import unique_id

__all__ = ["Pins"]

DIGEST_NBYTES = 32
WORKSPACE_LENGTH = 64  # hex digits


class Pins:
    """The pins of one store, those of this process among them.

    Forked children inherit the locks: fork before anything is pinned, or exec.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._holder = unique_id("p")
        self._held: dict[str, tuple[int, int]] = {}  # workspace: open file, count

    def add(self, workspace: str, digests: Iterable[bytes]) -> None:
        """Hold `digests`; a workspace that is held already is held once more, whatever it names."""
        if workspace in self._held:
            descriptor, count = self._held[workspace]
            self._held[workspace] = descriptor, count + 1
            return
        path = self._path(workspace)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(b"".join(digests))
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise
        self._held[workspace] = descriptor, 1

    def remove(self, workspace: str) -> None:
        """Hold it once less; nothing happens if it is not held."""
        descriptor, count = self._held.get(workspace, (-1, 0))
        if count > 1:
            self._held[workspace] = descriptor, count - 1
        elif count:
            del self._held[workspace]
            with contextlib.suppress(FileNotFoundError):  # the folder was removed
                os.unlink(self._path(workspace))
            os.close(descriptor)

    def held(self) -> list[str]:
        """Workspaces that this process holds, oldest first."""
        return list(self._held)

    def sweep(self) -> None:
        """Remove what killed processes left; before this one holds anything."""
        for path in list(self._paths()):
            self._content(path, is_ours=False)

    def all(self) -> tuple[set[str], set[bytes]]:
        """Workspaces and digests that any process holds; what killed ones left is removed."""
        workspaces: set[str] = set()
        digests: set[bytes] = set()
        for path in self._paths():
            workspace = path[-WORKSPACE_LENGTH:]
            if (content := self._content(path, is_ours=workspace in self._held)) is not None:
                workspaces.add(workspace)
                digests.update(content[at : at + DIGEST_NBYTES] for at in range(0, len(content), DIGEST_NBYTES))
        return workspaces, digests

    def _content(self, path: str, is_ours: bool) -> bytes | None:
        """What a pin names; None: its holder is gone, or has let go just now."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            if not (is_ours and path == self._path(path[-WORKSPACE_LENGTH:])):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read()
                os.unlink(path)
                return None
            return file.read()

    def _paths(self) -> Iterator[str]:
        with os.scandir(self._folder) as entries:
            yield from [entry.path for entry in entries]

    def _path(self, workspace: str) -> str:
        return os.path.join(self._folder, f"{self._holder}.{workspace}")
