"""`Homes`: the folder that a push master was started with, and those it was given later, as if they were one.

A file of the first is known by its path below it, a file of another one by its absolute path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO

from distributed.errors import HomeError
from distributed.recipes.home import Home

__all__ = ["Homes"]


class Homes:
    """All that `Home` offers to those who read files and keep digests.

    Args:
        home_dir: the first folder.
    """

    def __init__(self, home_dir: str | os.PathLike[str]) -> None:
        self.homes = [Home(os.path.abspath(os.fspath(home_dir)))]

    @property
    def home_dir(self) -> str:
        """The first folder."""
        return self.homes[0].home_dir

    def begin(self, home: Home) -> dict[str, str]:
        """The first folder, its files loaded; as `names`."""
        self.homes[0] = home
        return self.names(home)

    def add(self, home: Home) -> dict[str, str]:
        """A further folder, its files loaded; as `names`.

        Raises:
            HomeError: it is known already, or lies in one that is, or one that is lies in it.
        """
        for known in self.homes:
            both = [os.path.realpath(known.home_dir), os.path.realpath(home.home_dir)]
            if os.path.commonpath(both) in both:
                raise HomeError(home.home_dir, f"it has files in common with {known.home_dir!r}, known already")
        self.homes.append(home)
        return self.names(home)

    def names(self, home: Home) -> dict[str, str]:
        """What the files of one folder are called, and their paths in it; without those that cannot be read."""
        return {self._name(home, path): path for path in home.files if path not in home.errors}

    @property
    def files(self) -> dict[str, str | None]:
        """Digest by name."""
        return {self._name(home, path): digest for home in self.homes for path, digest in home.files.items()}

    @property
    def errors(self) -> dict[str, str]:
        """Reason by name, of files and folders that cannot be read."""
        return {self._name(home, path): reason for home in self.homes for path, reason in home.errors.items()}

    @property
    def finished(self) -> bool:
        """Whether every file of every folder is settled."""
        return all(home.finished for home in self.homes)

    @property
    def state(self) -> dict[str, int]:
        """As `Home.state`, of all folders."""
        return _sum(home.state for home in self.homes)

    def file_exists(self, name: str) -> bool:
        """Whether it was found in one of them."""
        found = self._find(name)
        return found is not None and found[0].file_exists(found[1])

    def digest(self, name: str) -> str | None:
        """Of a file that was found; None: not known."""
        home, path = self._found(name)
        return home.files.get(path)

    def set_file_hash(self, name: str, digest: str) -> None:
        """Keep the digest of a file."""
        home, path = self._found(name)
        home.set_file_hash(path, digest)

    def set_file_error(self, name: str, reason: str) -> None:
        """Nobody will hash it."""
        home, path = self._found(name)
        home.set_file_error(path, reason)

    def open(self, name: str) -> BinaryIO:
        """See `Home.open`."""
        home, path = self._found(name)
        return home.open(path)

    def _name(self, home: Home, path: str) -> str:
        return path if home is self.homes[0] else os.path.join(home.home_dir, path)

    def _found(self, name: str) -> tuple[Home, str]:
        found = self._find(name)
        if found is None:
            raise HomeError(name, "it is not among the files that were found")
        return found

    def _find(self, name: str) -> tuple[Home, str] | None:
        if not name.startswith("/"):
            return self.homes[0], name
        for home in self.homes[1:]:
            below = home.home_dir.rstrip("/") + "/"
            if name.startswith(below):
                return home, name.removeprefix(below)
        return None


def _sum(states: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for state in states:
        for key, count in state.items():
            total[key] = total.get(key, 0) + count
    return total
