"""A walk through a project's folder: which files belong to the workspace, and what the system says of each.

Contents are not read here, except those of ignore files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from distributed.dataclass import dataclass, field
from distributed.errors import WorkspaceFileError, WorkspaceTooLargeError
from distributed.units import MiB, format_nbytes
from distributed.workspace.ignoring import (
    ENVIRONMENT_MARKERS,
    IGNORE_FILES,
    VERSION_CONTROL,
    Includes,
    Rules,
    States,
    is_built_in,
)
from distributed.workspace.limits import WorkspaceLimits, biggest_items
from distributed.workspace.patterns import Pattern, compile_lines, decide

__all__ = ["EXCLUDE_CURE", "Folder", "Found", "Survey", "Surveyor", "Touched", "listing_of"]

IGNORE_FILE_NBYTES_MAX = MiB
COUNTED_MAX = 2  # times the limit on files; then counting is given up
EXCLUDE_CURE = "exclude it (a line in .distributedignore, or exclude=)"

_NORMAL, _INCLUDED, _SEARCHED = range(3)  # rules apply; everything is in; only what `include` matches is in


Found = tuple[str, os.stat_result]  # relative path, and what lstat says


@dataclass(slots=True)
class Folder:
    """One folder that was looked into.

    Attributes:
        path: relative to the root: empty, or with a ``/`` at the end.
        given: rules of the folder around it, mode and states that it was looked at with.
        texts: of its own ignore files.
        rules: what the ignore files say of what is in it.
        mode: whether they count here.
        states: what is left of `include` to be matched in it.
        files: what of it belongs to the workspace.
        children: folders in it that were looked into too: path, mode, states.
        matched: numbers of patterns of `include` that found something in it.
    """

    path: str
    given: tuple[Rules | None, int, States]
    texts: tuple[str, str]
    rules: Rules
    mode: int
    states: States
    files: list[Found] = field(default_factory=list)
    children: list[tuple[str, int, States]] = field(default_factory=list)
    matched: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Survey:
    """What a walk found: files and links in no particular order, and each folder by its path."""

    files: list[Found] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)


@dataclass(slots=True)
class Touched:
    """Where something has happened since the last walk; nothing else has to be looked at again.

    Attributes:
        folders: in which something has changed.
        trees: folders that are others now, with all that is below them.
        is_all: it is not known.
    """

    folders: set[str] = field(default_factory=set)
    trees: set[str] = field(default_factory=set)
    is_all: bool = True

    def add(self, folder: str, name: str, is_folder: bool) -> None:
        """Something happened to `name` in `folder`; to the folder itself if the name is empty."""
        self.folders.add(folder)
        if is_folder or not name:
            self.trees.add(f"{folder}{name}/" if name else folder)


class Surveyor:
    """Walks through one project's folder, and remembers what ignore files said."""

    def __init__(
        self,
        root: str,
        include: Iterable[str],
        exclude: Iterable[str],
        limits: WorkspaceLimits,
        beside: Callable[[], Iterable[str]] | None = None,
        entry: str | None = None,
    ) -> None:
        """See `scanning.Workspace`.

        Args:
            root, include, exclude, limits: as there.
            beside: gives the names in the root that alone belong to it.
            entry: relative path of a file that belongs to it whatever ignores it.

        Raises:
            ConfigError: a pattern that is none.
        """
        self._root = root
        self._limits = limits
        self._beside = beside
        self._includes = Includes(include, entry)
        self._exclude: tuple[Pattern, ...] = compile_lines(tuple(exclude), "exclude")
        self._last = Survey()
        self._outer: tuple[tuple[str, str], ...] = ()
        self._top: tuple[object, Rules] | None = None  # those of the root, and what they were made of
        self._beside_names: frozenset[str] = frozenset()

    def survey(self, before_folder: Callable[[str], None] | None = None, touched: Touched | None = None) -> Survey:
        """Walk through everything.

        Args:
            before_folder: is told of each folder before it is listed, so that it can be watched from then on.
            touched: only that is looked at again, the rest is as the last walk found it; None: everything is.
        Raises:
            WorkspaceFileError: the root or a folder in it cannot be listed, or `include` names what cannot travel.
            WorkspaceTooLargeError: more files or bytes than the limits allow.
        """
        made = Survey()
        matched: set[int] = set()
        if touched is None or self._has_moved():
            touched = Touched()
        is_stale = touched.is_all or "" in touched.trees
        waiting: list[tuple[str, Rules | None, int, States, bool]] = [
            ("", None, _NORMAL, self._includes.start, is_stale)
        ]
        while waiting:
            path, parent, mode, states, is_stale = waiting.pop()
            folder = None if is_stale or path in touched.folders else self._last.folders.get(path)
            if folder is None or folder.given[0] is not parent or folder.given[1:] != (mode, states):
                if before_folder is not None:
                    before_folder(path)
                folder = self._look_into(path, parent, mode, states)
                if folder is None:
                    continue
            made.folders[path] = folder
            made.files += folder.files
            matched |= folder.matched
            for child, child_mode, child_states in folder.children:
                waiting.append((child, folder.rules, child_mode, child_states, is_stale or child in touched.trees))
            if max(len(made.files), len(made.folders)) > COUNTED_MAX * self._limits.files_max:
                break
        self._check_size(made)
        for pattern in self._includes.missing(matched):
            raise WorkspaceFileError(pattern, self._root, "include= names it, and it is not there", "correct include=")
        self._last = made
        return made

    def judge(self, folder: Folder, name: str, is_folder: bool) -> tuple[int | None, States, list[int]]:
        """What becomes of the thing `name` in `folder`: the mode below it (None: it is out), what of `include` is left
        to be matched there, and the patterns of `include` that it matches itself."""
        if name in VERSION_CONTROL:
            return None, (), []
        if self._exclude and decide(self._exclude, folder.path + name, name, is_folder):
            return None, (), []
        states, whole = self._includes.step(folder.states, name) if folder.states else ((), [])
        if whole:
            return _INCLUDED, states, whole
        if folder.mode == _INCLUDED:
            is_in = not is_built_in(name, is_folder)
        elif folder.mode == _NORMAL:
            is_in = not folder.rules.leaves_out(name, is_folder)
            if is_in and not folder.path and self._beside is not None:
                is_in = name in self._beside_names
        else:
            is_in = False
        if is_in:
            return folder.mode, states, whole
        return (_SEARCHED if is_folder and states else None), states, whole

    # ---------------------------------------------------------------- private

    def _has_moved(self) -> bool:
        """Whether something beyond the root has changed that the last walk depended on."""
        outer, names = _outer_texts(self._root), frozenset(self._beside() if self._beside is not None else ())
        if (outer, names) == (self._outer, self._beside_names):
            return False
        self._outer, self._beside_names = outer, names
        return True

    def _look_into(self, path: str, parent: Rules | None, mode: int, states: States) -> Folder | None:
        """What is in a folder; None: it is a virtual environment, of which nothing is wanted."""
        given = (parent, mode, states)
        items = self._list(path)
        if path and mode == _NORMAL and not ENVIRONMENT_MARKERS.isdisjoint(item.name for item in items):
            mode = _SEARCHED
            if not states:
                return None
        texts = self._ignore_texts(path, items)
        known = self._last.folders.get(path)
        if parent is None:
            rules = self._top_rules(texts)
        elif known is not None and known.given[0] is parent and known.texts == texts:
            rules = known.rules
        else:
            rules = parent.below(path[:-1].rpartition("/")[2], texts)
        folder = Folder(path, given, texts, rules, mode, states)
        for item in items:
            self._take(folder, item)
        return folder

    def _list(self, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(f"{self._root}/{path}") as items:
                return list(items)
        except FileNotFoundError:
            if path:
                return []  # it went while we walked
            raise WorkspaceFileError(".", self._root, "there is no such folder", "name another root") from None
        except NotADirectoryError:
            if path:
                return []
            raise WorkspaceFileError(".", self._root, "it is no folder", "name another root") from None
        except OSError as error:
            cure = f"make it readable, or {EXCLUDE_CURE}"
            raise WorkspaceFileError(path or ".", self._root, f"it cannot be listed: {error.strerror}", cure) from error

    def _take(self, folder: Folder, item: os.DirEntry[str]) -> None:
        """Note a file that belongs to the workspace, or a folder that is to be looked into."""
        name = item.name
        is_folder = item.is_dir(follow_symlinks=False)
        whole: list[int] = []
        if folder.mode == _NORMAL and not folder.states and not self._exclude and (folder.path or not self._beside):
            if folder.rules.leaves_out(name, is_folder):  # what `judge` says in nearly all cases
                return
            mode, states = _NORMAL, folder.states
        else:
            judged, states, whole = self.judge(folder, name, is_folder)
            folder.matched.update(whole)
            if judged is None:
                return
            mode = judged
        if is_folder:
            folder.children.append((f"{folder.path}{name}/", mode, states))
            return
        if mode == _SEARCHED:
            return
        try:
            status = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            folder.files.append((folder.path + name, status))
        elif whole:
            reason = f"include= names it, and it is {_kind(status.st_mode)}"
            raise WorkspaceFileError(folder.path + name, self._root, reason, "take it out of include=")

    def _top_rules(self, texts: tuple[str, str]) -> Rules:
        if self._top is None or self._top[0] != (texts, self._outer):
            self._top = ((texts, self._outer), Rules.top(texts, self._outer))
        return self._top[1]

    def _ignore_texts(self, path: str, items: list[os.DirEntry[str]]) -> tuple[str, str]:
        texts = {item.name: self._text(path + item.name, item) for item in items if item.name in IGNORE_FILES}
        return (texts.get(IGNORE_FILES[0], ""), texts.get(IGNORE_FILES[1], "")) if texts else _NO_TEXTS

    def _text(self, path: str, item: os.DirEntry[str]) -> str:
        try:
            status = item.stat()
            if not stat.S_ISREG(status.st_mode):
                return ""
            with open(item.path, "rb") as file:
                return file.read(IGNORE_FILE_NBYTES_MAX).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return ""
        except OSError as error:
            reason = f"what it ignores cannot be read: {error.strerror}"
            raise WorkspaceFileError(path, self._root, reason, "make it readable") from error

    def _check_size(self, made: Survey) -> None:
        nbytes = sum(status.st_size for _, status in made.files)
        limits = self._limits
        for kind, paths in (("files", (path for path, _ in made.files)), ("folders", iter(made.folders))):
            count = len(made.files) if kind == "files" else len(made.folders)
            if count > limits.files_max:
                more = "at least " if count > COUNTED_MAX * limits.files_max else ""
                biggest = biggest_items((path.rstrip("/") or ".", 1) for path in paths)
                listing = [(item, f"{number:,} {kind}") for item, number in biggest]
                limit = f"{limits.files_max:,} {kind}"
                raise WorkspaceTooLargeError(self._root, f"{more}{count:,} {kind}", limit, listing)
        if nbytes > limits.nbytes_max:
            raise WorkspaceTooLargeError(
                self._root, format_nbytes(nbytes), format_nbytes(limits.nbytes_max), listing_of(made.files)
            )


_NO_TEXTS = ("", "")


def listing_of(files: Iterable[Found]) -> list[tuple[str, str]]:
    """The biggest items among files, with their sizes as people read them."""
    return [(item, format_nbytes(nbytes)) for item, nbytes in biggest_items((path, s.st_size) for path, s in files)]


def _outer_texts(root: str) -> tuple[tuple[str, str], ...]:
    """What ignores things in `root` from above it: (path of root below, text) of each `.gitignore`, the nearest first,
    as far up as the repository goes, then of its `info/exclude`; nothing when a folder that `root` is in is ignored
    itself.
    """
    outer: list[tuple[str, str]] = []
    folder = Path(root)
    below = ""
    while True:
        if below:
            outer.append((below, _read_text(folder / ".gitignore")))
        if (folder / ".git").exists():
            outer.append((below, _read_text(folder / ".git" / "info" / "exclude")))
            return tuple((prefix, text) for prefix, text in outer if text and not _covers(text, prefix))
        if folder.parent == folder:
            return ()
        below = f"{folder.name}/{below}"
        folder = folder.parent


def _covers(text: str, below: str) -> bool:
    """Whether a file with that text ignores the folder `below`, or one above it."""
    parts = below.split("/")[:-1]
    rules = Rules.top(("", text))
    for part in parts:
        if rules.leaves_out(part, True):
            return True
        rules = rules.below(part, _NO_TEXTS)
    return False


def _read_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(IGNORE_FILE_NBYTES_MAX).decode("utf-8", "surrogateescape")
    except OSError:
        return ""  # none there, or none of our business: it lies outside of the workspace


def _kind(mode: int) -> str:
    for is_kind, text in (
        (stat.S_ISSOCK, "a socket"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISBLK, "a device"), (stat.S_ISCHR, "a device"),
    ):  # fmt: skip
        if is_kind(mode):
            return text
    return "neither file nor folder nor link"
