"""Which files of a project belong to its workspace: ignore files, a built-in list, and what the caller names.

What is said of one file or folder, strongest first:

1. names of version control are out, and so is what ``exclude=`` matches;
2. what ``include=`` matches is in; in a folder that it matches, only rule 1 and the built-in list leave something out;
3. `.distributedignore`, the deepest first, in each the last line that matches;
4. the built-in list: byte code, virtual environments, caches;
5. `.gitignore` likewise, up to the top of the repository; then `.git/info/exclude`.

As with git nothing below a folder that is out can be in again, except by ``include=``. No file is touched here, see
`distributed.workspace.surveying`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from distributed.errors import ConfigError
from distributed.workspace.patterns import compile_text, decide

__all__ = [
    "BUILT_IN",
    "ENVIRONMENT_MARKERS",
    "IGNORE_FILES",
    "VERSION_CONTROL",
    "Includes",
    "Rules",
    "States",
    "is_built_in",
]

IGNORE_FILES = (".distributedignore", ".gitignore")  # the first one is stronger

# Never part of a workspace, whatever anybody says: histories are huge, and no task needs them.
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS"})

# Left out unless `.distributedignore` or `include` asks for them: made by tools, for this machine only.
BUILT_IN = frozenset(
    {
        *("__pycache__", ".venv", "venv", ".virtualenv", "__pypackages__", ".pixi", "node_modules", ".DS_Store"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".pytype", ".pyre", ".cache", ".eggs"),
        *(".tox", ".nox", ".direnv", ".gradle", ".terraform", ".idea", ".vscode", ".ipynb_checkpoints"),
    }
)
_FILE_ENDINGS = (
    *(".pyc", ".pyo"),
    *("~", ".swp", ".swo", ".swn", ".swx", ".kate-swp", "___jb_tmp___", "___jb_old___"),  # of editors, for seconds
    ".ipynb",  # saved again every two minutes; what is defined in one travels with the calls
)
_FILE_BEGINNINGS = (".#", ".~lock.")  # of editors too; Emacs makes links to nowhere, with the name of who edits
_FOLDER_ENDINGS = (".egg-info",)

# A folder with one of these in it is an environment, whatever it is called.
ENVIRONMENT_MARKERS = frozenset({"pyvenv.cfg", "conda-meta"})


def is_built_in(name: str, is_folder: bool) -> bool:
    """Whether a file or folder of that name is left out unless somebody asks for it."""
    if name in BUILT_IN or name in VERSION_CONTROL:
        return True
    if is_folder:
        return name.endswith(_FOLDER_ENDINGS)
    return name.endswith(_FILE_ENDINGS) or name.startswith(_FILE_BEGINNINGS)


_Layer = tuple[int, str, str]  # of a path: how much is cut off, what is put before; the text of the ignore file


class Rules:
    """What the ignore files say of the things in one folder; decisions are made once and remembered.

    Attributes:
        folder: relative to the root: empty, or with a ``/`` at the end.
        decisions: whether a name is left out, by name; those of folders have a ``/`` at the end.
    """

    __slots__ = ("_strong", "_weak", "decisions", "folder")

    def __init__(self, folder: str, strong: tuple[_Layer, ...], weak: tuple[_Layer, ...]) -> None:
        """See `top` and `below`; layers of both kinds come with the deepest ignore file first."""
        self.folder, self._strong, self._weak = folder, strong, weak
        self.decisions: dict[str, bool] = {}

    @classmethod
    def top(cls, texts: tuple[str, str], outer: Iterable[tuple[str, str]] = ()) -> Rules:
        """Those of the root.

        Args:
            texts: of its ignore files, in the order of `IGNORE_FILES`; empty: there is none.
            outer: of `.gitignore` above the root, the nearest first: the root's path below that folder, with a ``/`` at
                the end, and the text.
        """
        return cls("", (), tuple((0, prefix, text) for prefix, text in outer))._with(texts)

    def below(self, name: str, texts: tuple[str, str]) -> Rules:
        """Those of the folder `name` in this one, whose ignore files have these texts."""
        return Rules(f"{self.folder}{name}/", self._strong, self._weak)._with(texts)

    def leaves_out(self, name: str, is_folder: bool) -> bool:
        """Whether the thing `name` in this folder is no part of the workspace."""
        key = f"{name}/" if is_folder else name
        known = self.decisions.get(key)
        if known is None:
            known = self.decisions[key] = self._decide(name, is_folder)
        return known

    def _with(self, texts: tuple[str, str]) -> Rules:
        cut = len(self.folder)
        strong, weak = (((cut, "", text),) if text else () for text in texts)
        return Rules(self.folder, strong + self._strong, weak + self._weak) if strong or weak else self

    def _decide(self, name: str, is_folder: bool) -> bool:
        if name in VERSION_CONTROL:
            return True
        said = self._ask(self._strong, name, is_folder)
        if said is None and is_built_in(name, is_folder):
            return True
        if said is None:
            said = self._ask(self._weak, name, is_folder)
        return bool(said)

    def _ask(self, layers: tuple[_Layer, ...], name: str, is_folder: bool) -> bool | None:
        for cut, before, text in layers:
            path = f"{before}{self.folder[cut:]}{name}"
            said = decide(compile_text(text), path, name, is_folder)
            if said is not None:
                return said
        return None


_GLOB = re.compile(r"[*?[]")

States = tuple[tuple[int, int], ...]  # (number of a pattern, parts of it that have been matched)


class Includes:
    """Paths and globs that belong to a workspace in spite of everything, matched part by part on the way down."""

    def __init__(self, patterns: Iterable[str], path: str | None = None) -> None:
        """Read patterns: relative, parts joined by ``/``; ``*``, ``?``, ``[...]`` within a part, ``**`` for any
        folders.

        Args:
            patterns: what somebody asked for.
            path: one more file, as it is written; it may be missing.
        Raises:
            ConfigError: one is absolute, empty, or leaves the root.
        """
        self.patterns = tuple(patterns)
        self._parts = [_parts(pattern) for pattern in self.patterns]
        if path is not None:
            self._parts.append([_GLOB.sub(r"[\g<0>]", part) for part in path.split("/")])

    @property
    def start(self) -> States:
        """Where matching begins, for the root."""
        return self._closed({(number, 0) for number in range(len(self._parts))})

    def step(self, states: States, name: str) -> tuple[States, list[int]]:
        """What is left to be matched below `name`, and the numbers of the patterns that `name` itself matches."""
        reached: set[tuple[int, int]] = set()
        whole = []
        for number, position in states:
            parts = self._parts[number]
            part = parts[position]
            is_any = part == "**"
            if not is_any and not (fnmatch.fnmatchcase(name, part) if _is_glob(part) else name == part):
                continue
            if position == len(parts) - 1:
                whole.append(number)
            reached.add((number, position if is_any else position + 1))
        return self._closed(reached), whole

    def missing(self, matched: set[int]) -> list[str]:
        """Patterns that name one thing each, and did not find it."""
        return [
            pattern
            for number, pattern in enumerate(self.patterns)
            if number not in matched and not any(map(_is_glob, self._parts[number]))
        ]

    def _closed(self, states: set[tuple[int, int]]) -> States:
        """With what can be reached without a step: ``**`` may stand for nothing."""
        found: set[tuple[int, int]] = set()
        waiting = [(number, position) for number, position in states if position < len(self._parts[number])]
        while waiting:
            number, position = waiting.pop()
            found.add((number, position))
            parts = self._parts[number]
            if parts[position] == "**" and position + 1 < len(parts) and (number, position + 1) not in found:
                waiting.append((number, position + 1))
        return tuple(sorted(found))


def _parts(pattern: str) -> list[str]:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if not parts or pattern.startswith("/") or ".." in parts:
        raise ConfigError("include", pattern, "write a path or glob relative to the workspace's root, inside of it")
    return parts


def _is_glob(part: str) -> bool:
    return _GLOB.search(part) is not None
