"""A workspace as one archive, as the first design of the decorator names and sends it.

Workers of this package get manifests and single contents instead. An archive is for people and other programs: the same
files make the same bytes, whoever makes it, where and when.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

from distributed.errors import ConfigError, UnsupportedOperation, WorkspaceEntryError
from distributed.workspace.manifest import EXECUTABLE, SYMLINK, Manifest
from distributed.workspace.remembering import cache_folder
from distributed.workspace.scanning import Workspace

__all__ = ["Distribution", "distribution"]

_IDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
COMPRESSION = 6


class Distribution:
    """The archive of a workspace; it is made when `path` or `md5` is first asked for, or by `write`.

    Attributes:
        workspace: its folder.
        entry: the program's file in it; None: there is none.
        ident: the archive is called ``<ident>.tar.gz``.
    """

    def __init__(
        self,
        workspace: str | os.PathLike[str],
        entry: str | os.PathLike[str] | None = None,
        ident: str | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
    ) -> None:
        """Name a folder, and the program's file in it.

        Args:
            workspace: the folder.
            entry: a file inside of it, as an absolute path or relative to the current folder, else to `workspace`.
            ident: letters, digits, ``.``, ``_`` and ``-``; default: the folder's name.
            include, exclude: see `distributed.workspace.scanning.Workspace`.
        Raises:
            UnsupportedOperation: `workspace` is no folder.
            WorkspaceEntryError: `entry` is no file inside of it.
            ConfigError: `ident` cannot be the name of a file.
        """
        self.workspace = Path(workspace).resolve()
        if not self.workspace.is_dir():
            raise UnsupportedOperation(os.fspath(workspace), "a distribution is made of a folder, and that is none")
        self.entry = None if entry is None else _entry(entry, self.workspace)
        self.ident = re.sub(r"[^A-Za-z0-9._-]+", "-", self.workspace.name).strip(".-_") or "workspace"
        if ident is not None:
            if not _IDENT.fullmatch(ident):
                raise ConfigError("ident", ident, "use at most 100 letters, digits, '.', '_' and '-'")
            self.ident = ident
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """Where the archive lies; made now, in the user's folder for caches, unless `write` has made it."""
        if self._path is None or not self._path.exists():
            caches = cache_folder()
            if caches is None:
                raise UnsupportedOperation(
                    str(self.workspace), "there is no folder for caches; write() to one you name"
                )
            number = hashlib.sha256(os.fsencode(self.workspace)).hexdigest()[:16]
            self.write(caches / "distributions" / number)
        assert self._path is not None
        return self._path

    @property
    def md5(self) -> str:
        """MD5 of the archive, in hex."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def manifest(self) -> Manifest:
        """What goes into the archive; its `id` names the workspace everywhere else."""
        return self._scanned().scan()

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Make ``<ident>.tar.gz`` in `folder`, which is made if need be, and return its path; it never contains itself.

        Raises:
            WorkspaceError: a file that cannot be sent, or too much; see `Workspace.scan`.
        """
        target = Path(folder).resolve() / f"{self.ident}.tar.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        own = [_escaped(target.relative_to(self.workspace))] if target.is_relative_to(self.workspace) else []
        workspace = self._scanned(own)
        manifest = workspace.scan()
        part = target.with_name(f".{target.name}.{os.getpid()}.swp")  # a name that is left out of every workspace
        try:
            with (
                open(part, "wb") as file,
                gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for entry in manifest:
                    member = tarfile.TarInfo(entry.path)  # time, user and group are zero
                    content = workspace.read(entry.digest)
                    if entry.mode == SYMLINK:
                        member.type, member.linkname, member.mode = tarfile.SYMTYPE, content.decode(), 0o777
                        archive.addfile(member)
                    else:
                        member.size, member.mode = entry.nbytes, entry.mode & EXECUTABLE
                        archive.addfile(member, io.BytesIO(content))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
            workspace.close()
        self._path = target
        return target

    def _scanned(self, own: Iterable[str] = ()) -> Workspace:
        return Workspace(self.workspace, self._include, (*self._exclude, *own))

    def __repr__(self) -> str:
        return f"<Distribution {self.ident}, of {self.workspace}>"


def distribution(
    workspace: str | os.PathLike[str], entry: str | os.PathLike[str] | None = None, ident: str | None = None
) -> Distribution:
    """The distribution of the folder `workspace`, made: ``distribution("project").path``. See `Distribution`."""
    made = Distribution(workspace, entry, ident)
    assert made.path
    return made


def _entry(entry: str | os.PathLike[str], root: Path) -> Path:
    path = Path(entry)
    if not path.is_absolute() and not path.exists():
        path = root / path
    path = path.resolve()
    if not path.is_relative_to(root):
        raise WorkspaceEntryError(os.fspath(entry), str(root), "it lies outside")
    if not path.is_file():
        raise WorkspaceEntryError(os.fspath(entry), str(root), "it is no file")
    return path


def _escaped(path: Path) -> str:
    """A pattern that matches this path alone."""
    return "/" + re.sub(r"([*?\[\\ !#])", r"\\\1", path.as_posix())
