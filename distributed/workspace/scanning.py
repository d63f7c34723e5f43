"""A workspace on the Main's side: what its folder holds, and whether that has changed."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from distributed.errors import WorkspaceChangedError
from distributed.workspace.ignoring import is_built_in
from distributed.workspace.limits import FILES_MAX, NBYTES_MAX, NBYTES_SOFT, WorkspaceLimits
from distributed.workspace.locating import imported_beside, project_of
from distributed.workspace.manifest import EXECUTABLE, FILE, SYMLINK, Entry, Manifest

__all__ = ["Workspace"]


class Workspace:
    """The files of a project: `scan` makes a manifest of them, `read` gives contents, `changed` says when to scan again.

    May be used by several threads at once.

    Attributes:
        root: its folder, absolute and without links.
        limits: on its files and bytes.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        *,
        nbytes_max: int = NBYTES_MAX,
        files_max: int = FILES_MAX,
        nbytes_soft: int = NBYTES_SOFT,
        shared_with: str | os.PathLike[str] | None = None,
    ) -> None:
        """Name a folder; it is not looked into before `scan`.

        Args:
            root: the folder.
            include: paths or glob patterns, relative to `root`, of what belongs to it although something ignores it.
            exclude: patterns as in `.gitignore` of what does not belong to it; they beat all others.
            nbytes_max, files_max: above them `scan` refuses.
            nbytes_soft: above it `scan` warns, once.
            shared_with: the program's file where the folder is not the project's alone; only that file, and what is
                imported from beside it, belong to the workspace. See `locating.project_of`.
        """
        self.root = Path(root).resolve()
        self.limits = WorkspaceLimits(nbytes_max, files_max)
        self._nbytes_soft = nbytes_soft
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._shared_with = shared_with
        self._path_by_digest: dict[bytes, str] = {}
        self._manifest: Manifest | None = None

    @classmethod
    def of(cls, entry: str | os.PathLike[str], **options: object) -> Workspace:
        """The workspace of the project that the file `entry` belongs to; options as above."""
        project = project_of(entry)
        return cls(project.root, shared_with=entry if project.is_shared else None, **options)  # type: ignore[arg-type]

    def scan(self) -> Manifest:
        """What the folder holds now."""
        entries = list(self._entries(self.root, ""))
        self._path_by_digest = {entry.digest: entry.path for entry in entries}
        self._manifest = Manifest(entries)
        return self._manifest

    def read(self, digest: bytes) -> bytes:
        """The content that has this digest.

        Raises:
            WorkspaceChangedError: no file has it any more; scan again.
        """
        with self.open(digest) as file:
            content = file.read()
        if hashlib.sha256(content).digest() != digest:
            raise WorkspaceChangedError(self._path_by_digest[digest], str(self.root))
        return content

    def open(self, digest: bytes) -> BinaryIO:
        """A file with the content that has this digest; who reads it checks the digest."""
        return open(self.root / self._path_by_digest[digest], "rb")

    def changed(self) -> bool:
        """Whether a scan might find something else than the last one did."""
        return self._manifest is None or self._manifest.id != Workspace(self.root).scan().id

    def _entries(self, folder: Path, prefix: str) -> Iterator[Entry]:
        names = set(imported_beside(self._shared_with, sys.modules)) if self._shared_with and not prefix else None
        for item in sorted(os.scandir(folder), key=lambda item: item.name):
            if is_built_in(item.name, item.is_dir()) or (names is not None and item.name not in names):
                continue
            path = prefix + item.name
            if item.is_symlink():
                content = os.fsencode(os.readlink(item.path))
                yield Entry(path, SYMLINK, len(content), hashlib.sha256(content).digest())
            elif item.is_dir():
                yield from self._entries(Path(item.path), f"{path}/")
            elif item.is_file():
                content = Path(item.path).read_bytes()
                mode = EXECUTABLE if item.stat().st_mode & 0o100 else FILE
                yield Entry(path, mode, len(content), hashlib.sha256(content).digest())
