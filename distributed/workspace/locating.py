"""Where a program's project is, what its entry is called as a module, and which folders of it modules come from."""

from __future__ import annotations

import keyword
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from distributed.dataclass import dataclass
from distributed.errors import WorkspaceEntryError
from distributed.workspace.ignoring import is_built_in

__all__ = [
    "FALLBACK_NAME",
    "INSTALLED",
    "MARKERS",
    "Project",
    "entry_name",
    "import_roots",
    "imported_beside",
    "project_of",
]

MARKERS = (".git", "pyproject.toml", "setup.py", "setup.cfg", ".distributedignore")
FALLBACK_NAME = "distributed_main"  # of an entry that cannot be imported under its own name
INSTALLED = frozenset({"site-packages", "dist-packages"})  # what lies below is installed, and no project

# A module of these names would hide another one that the worker itself needs.
_TAKEN = {"__main__", "distributed", "tornado", "msgpack", "cloudpickle", "psutil", "click", "tqdm"}


@dataclass(slots=True, frozen=True)
class Project:
    """Where a project is.

    Attributes:
        root: its folder.
        is_shared: the folder holds much that is not the project's (it is home, the temporary folder or ``/``): only the
            entry, and what is imported from beside it, belong to it; see `imported_beside`.
    """

    root: Path
    is_shared: bool = False


def project_of(entry: str | os.PathLike[str]) -> Project:
    """The project that the file `entry` belongs to; `entry` may be a folder too (of a notebook, of a prompt).

    It is the nearest folder upwards with one of `MARKERS`, but never home, the temporary folder or ``/``; else the
    entry's own folder.
    """
    path = Path(entry).resolve()
    own = path if path.is_dir() else path.parent
    shared = _shared_folders()
    for folder in (own, *own.parents):
        if folder not in shared and any((folder / marker).exists() for marker in MARKERS):
            return Project(folder)
    return Project(own, own in shared)


def entry_name(entry: str | os.PathLike[str], root: str | os.PathLike[str], spec_name: str | None = None) -> str:
    """The name under which the file `entry` is imported on a worker: ``"pkg.module"``, or `FALLBACK_NAME`.

    Args:
        entry: the program's file.
        root: of the workspace.
        spec_name: of a program that runs as ``python -m NAME``: ``__main__.__spec__.name``.
    Raises:
        WorkspaceEntryError: `entry` is no file inside of `root`.
    """
    path, base = Path(entry).resolve(), Path(root).resolve()
    if not path.is_relative_to(base):
        raise WorkspaceEntryError(os.fspath(entry), str(base), "it lies outside")
    if not path.is_file():
        raise WorkspaceEntryError(os.fspath(entry), str(base), "it is no file")
    names = spec_name.split(".") if spec_name else _natural_names(path, base)
    is_usable = path.suffix == ".py" and all(name.isidentifier() and not keyword.iskeyword(name) for name in names)
    if not is_usable or names[0] in _TAKEN or names[0] in sys.stdlib_module_names:
        return FALLBACK_NAME
    return ".".join(names)


def import_roots(root: str | os.PathLike[str], path: Iterable[str]) -> list[str]:
    """The folders of the workspace from which modules are imported, relative to `root`, in the order of `path`.

    A virtual environment inside of the project is none of them. ``src`` follows where the project has one, because an
    editable installation is not always seen in `path`. There is always one; ``"."`` is the root.

    Args:
        root: of the workspace.
        path: the program's ``sys.path``; the script's folder is first in it.
    """
    base = Path(root).resolve()
    found: dict[str, None] = {}
    for each in path:
        folder = Path(each or os.curdir).resolve()
        if not folder.is_relative_to(base) or not folder.is_dir():
            continue
        parts = folder.relative_to(base).parts
        if not any(is_built_in(part, True) or part in INSTALLED for part in parts):
            found["/".join(parts) or "."] = None
    if (base / "src").is_dir() and any((base / marker).exists() for marker in MARKERS[1:4]):
        found["src"] = None
    return list(found) or ["."]


def imported_beside(entry: str | os.PathLike[str], modules: Mapping[str, ModuleType]) -> list[str]:
    """Names in the entry's folder that belong to a program in a shared folder: its file, and what it has imported.

    Args:
        entry: the program's file, or the folder of a notebook or prompt.
        modules: ``sys.modules``.
    Returns:
        File names, and names of packages' folders, sorted.
    """
    path = Path(entry).resolve()
    folder = path if path.is_dir() else path.parent
    names = set() if path.is_dir() else {path.name}
    for name in {name.partition(".")[0] for name in list(modules)}:
        module = modules.get(name)
        file = getattr(module, "__file__", None)
        places = [os.path.dirname(file)] if file and os.path.basename(file).startswith("__init__.") else []
        for place in places or ([file] if file else list(getattr(module, "__path__", ()))):
            if os.path.dirname(os.path.realpath(place)) == str(folder):
                names.add(os.path.basename(os.path.realpath(place)))
    return sorted(names)


def _shared_folders() -> set[Path]:
    given = [os.environ.get(variable, "") for variable in ("TMPDIR", "TEMP", "TMP")]
    folders = {Path(name).resolve() for name in ("/", "/tmp", "/var/tmp", *given) if os.path.isabs(name)}
    home = os.path.expanduser("~")
    return folders | {Path(home).resolve()} if home != "~" else folders


def _natural_names(path: Path, base: Path) -> list[str]:
    """Upwards through the packages that the file is in, as far as the workspace goes."""
    names = [path.stem]
    folder = path.parent
    while folder != base and (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return names
