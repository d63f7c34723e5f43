"""A workspace in memory, for tests of what is done with one."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from typing import BinaryIO

from distributed.workspace.manifest import EXECUTABLE, FILE, SYMLINK, Entry, Manifest

__all__ = ["Project", "entry_of", "read_tree"]


def entry_of(path: str, content: bytes, mode: int = FILE) -> Entry:
    """The entry of a file with that content."""
    return Entry(path, mode, len(content), hashlib.sha256(content).digest())


class Project:
    """Files by path, as text or bytes; a path that ends with ``*`` is executable, one that ends with ``@`` a link.

    Attributes:
        content_by_digest: of all contents that it ever had, so that they can be spoilt.
        reads: digests that were asked for, in order.
    """

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self.files = dict(files)
        self.content_by_digest: dict[bytes, bytes] = {}
        self.reads: list[bytes] = []

    @staticmethod
    def of_count(count: int, nbytes: int = 2000) -> Project:
        """`count` small modules, fifty in a package."""
        return Project({f"p{n // 50}/m{n}.py": f"# {n}\n".ljust(nbytes, "x") for n in range(count)})

    def manifest(self) -> Manifest:
        """What it holds now."""
        entries = []
        for path, content in self.files.items():
            data = content.encode() if isinstance(content, str) else content
            mode = {"*": EXECUTABLE, "@": SYMLINK}.get(path[-1], FILE)
            entries.append(entry_of(path.rstrip("*@"), data, mode))
            self.content_by_digest[entries[-1].digest] = data
        return Manifest(entries)

    def read(self, digest: bytes) -> bytes:
        """The whole content."""
        self.reads.append(digest)
        return self.content_by_digest[digest]

    def open(self, digest: bytes) -> BinaryIO:
        """To read it in pieces."""
        self.reads.append(digest)
        return io.BytesIO(self.content_by_digest[digest])


def read_tree(folder: str) -> dict[str, str]:
    """Files below a folder by path, as `Project` writes them."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(f for f in folders if os.path.islink(os.path.join(parent, f)))]:
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            if os.path.islink(path):
                found[f"{relative}@"] = os.readlink(path)
            else:
                with open(path, encoding="utf-8", errors="replace") as file:
                    found[relative + ("*" if os.stat(path).st_mode & 0o100 else "")] = file.read()
    return found
