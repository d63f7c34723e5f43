"""`Home`: the folder whose files a master has hashed, and what is known of each of them.

Paths are relative to the folder, with ``/``; bytes that are no UTF-8 are kept as `os.fsdecode` keeps them. Links to
folders are not followed, nor links that lead out of the folder. Whoever may write in it may put links in the place of
anything at any moment: what counts is where that lies which has been opened, not what its path was just before.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from distributed.errors import HomeError

__all__ = ["Home"]


class Home:
    """The regular files below a folder, each with its digest once somebody has told it.

    Args:
        home_dir: the folder.
    Attributes:
        real_dir: where that was when this was made; nothing from elsewhere is read.
        files: digest by relative path; None: not known (yet).
        errors: by relative path, why a file or folder cannot be read. Such a file is settled: nobody waits for it.
    """

    def __init__(self, home_dir: str | os.PathLike[str]) -> None:
        self.home_dir = os.fspath(home_dir)
        self.real_dir = os.path.realpath(self.home_dir)
        self.files: dict[str, str | None] = {}
        self.errors: dict[str, str] = {}
        self._is_loaded = False
        self._unsettled: set[str] = set()

    def load_files(self) -> None:
        """Find the files, once, folder by folder in the order of names. What cannot be read is in `errors`.

        Raises:
            HomeError: the files are loaded already, or there is no such folder.
        """
        if self._is_loaded:
            raise HomeError(self.home_dir, "files loaded already; make a new Home to look again")
        if not os.path.isdir(self.home_dir):
            raise HomeError(self.home_dir, "it is no folder; name one that exists with --home")
        self._is_loaded = True
        for path in self._found():
            self.files[path] = None
            if path not in self.errors:
                self._unsettled.add(path)

    @property
    def is_loaded(self) -> bool:
        """Whether `load_files` was called."""
        return self._is_loaded

    def leave_out(self, output: str | os.PathLike[str]) -> None:
        """Forget a file, if it is one of ours: the digests will be written to it."""
        path = os.path.relpath(os.path.realpath(output), os.path.realpath(self.home_dir))
        self.files.pop(path, None)
        self.errors.pop(path, None)
        self._unsettled.discard(path)

    def set_file_hash(self, path: str, hash_: str) -> None:
        """Keep the digest of a file, whatever was known of it before."""
        self.files[path] = hash_
        self.errors.pop(path, None)
        self._unsettled.discard(path)

    def set_file_error(self, path: str, reason: str) -> None:
        """Nobody will hash this file any more; one that has its digest keeps it."""
        if self.files.get(path) is None:
            self.errors[path] = reason
            self._unsettled.discard(path)

    def get_full_path(self, path: str) -> str:
        """The folder and `path` joined."""
        return os.path.join(self.home_dir, path)

    def file_exists(self, path: str) -> bool:
        """Whether it was found by `load_files`."""
        return path in self.files

    def open(self, path: str) -> BinaryIO:
        """A file that was found, for reading, without a buffer.

        Raises:
            HomeError: it is none of those, or has become something else; it leads out of the folder.
            OSError: it vanished, or may not be read.
        """
        if not self.file_exists(path):
            raise HomeError(path, "it is not among the files that were found")
        if self._leads_out(path):
            raise HomeError(path, "it leads out of the folder")
        file = open(self.get_full_path(path), "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115  # given away
        if self._lies_outside(file.fileno(), path):
            file.close()
            raise HomeError(path, "it leads out of the folder")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise HomeError(path, "it is not a regular file any more")
        return file

    @property
    def finished(self) -> bool:
        """Whether every file is settled: it has its digest, or cannot be read. True of an empty folder."""
        return not self._unsettled

    @property
    def state(self) -> dict[str, int]:
        """``{"total": n, "finished": k}``; and ``failed``, how many cannot be read, if there are any."""
        failed = sum(path in self.errors for path in self.files) if self.errors else 0
        found = {"total": len(self.files), "finished": len(self.files) - len(self._unsettled) - failed}
        return {**found, "failed": failed} if failed else found

    def _found(self) -> Iterator[str]:
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                entries = self._listed(folder)
            except OSError as error:
                self.errors[folder or "."] = error.strerror or str(error)
                continue
            except HomeError as error:
                self.errors[folder or "."] = error.reason
                continue
            folders.extend(path for path, is_folder in reversed(entries) if is_folder)
            yield from (path for path, is_folder in entries if not is_folder)

    def _listed(self, folder: str) -> list[tuple[str, bool]]:
        """Paths of what is in a folder, and whether they are folders, in the order of names."""
        descriptor = os.open(os.path.join(self.home_dir, folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self._lies_outside(descriptor, folder):
                raise HomeError(folder, "it leads out of the folder")
            with os.scandir(descriptor) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            found = [(os.path.join(folder, entry.name), entry) for entry in entries]
            kinds = [(path, entry.is_dir(follow_symlinks=False), entry) for path, entry in found]
            return [(path, is_folder) for path, is_folder, entry in kinds if is_folder or self._is_wanted(entry, path)]
        finally:
            os.close(descriptor)

    def _is_wanted(self, entry: os.DirEntry[str], path: str) -> bool:
        try:
            if not entry.is_file():
                return False
        except OSError as error:  # a link to itself, for one
            self.errors[path] = error.strerror or str(error)
            return True
        if entry.is_symlink() and self._leads_out(path):
            self.errors[path] = "it is a link that leads out of the folder"
        return True

    def _leads_out(self, path: str) -> bool:
        return not _is_within(os.path.realpath(self.get_full_path(path)), self.real_dir)

    def _lies_outside(self, descriptor: int, path: str) -> bool:
        """Whether what was opened at `path` is elsewhere; a system that does not tell is asked for the path again."""
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return self._leads_out(path)
        return not _is_within(real, self.real_dir)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for a writer, should it be a pipe by now."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
