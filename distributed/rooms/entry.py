"""Where the code of a workspace lies: on the Main as the program that runs, in a room as modules of a copy.

The *entry* is the script that the Main runs. There it is the module ``__main__``; in a room it is imported under the
name that its file gives it (``main``, ``tools.train``), so that whatever stands below ``if __name__ == "__main__"``
stays where it is. Pickles name it in the same way: the Main answers to both names.

Not here: how functions and values are named (`references`), what runs in a room (`child`).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from distributed.dataclass import dataclass
from distributed.errors import FunctionLoadError, ModuleFailedError, ModuleMissingError
from distributed.workspace.locating import INSTALLED, project_of

__all__ = ["Place", "be_main", "be_room", "import_module", "is_importing", "is_inside", "place", "workspace_root"]

MAIN = "__main__"
RETRY_S = 10.0  # a module that could not be imported is not tried again by each of ten thousand calls
KEPT = frozenset({"distributed", MAIN, *sys.builtin_module_names})  # never given up for a module of the workspace


@dataclass(slots=True, frozen=True)
class Place:
    """Which workspace this process has to do with.

    Attributes:
        root: its folder, absolute: the project on the Main, a copy in a room.
        entry: module name of the Main's script; None: it has no file, or none inside the workspace.
        workspace: its id in a room; empty on the Main, where it may change at any time.
    """

    root: str
    entry: str | None
    workspace: str = ""


_place: Place | None = None
_importing = threading.local()
_failures: dict[str, tuple[float, FunctionLoadError]] = {}


def place() -> Place | None:
    """The workspace of this process; None: it is neither a Main nor a room."""
    return _place


def is_inside() -> bool:
    """Whether this process is a room. Cost: 0.05 us."""
    return _place is not None and _place.workspace != ""


def is_importing() -> bool:
    """Whether this thread of a room imports a module of the workspace just now.

    A `@distributed` function that is called meanwhile stands outside of the guard of the Main's script.
    """
    return getattr(_importing, "depth", 0) > 0


def be_main(root: str, entry: str | None) -> None:
    """This process is the Main of the workspace at `root`. May be called again, with another one.

    The running script is known as `entry` too from now on, so pickles that come from rooms find its classes.
    """
    global _place
    _place = Place(os.path.abspath(root), entry)
    if entry is not None:
        sys.modules[entry] = sys.modules[MAIN]
        package, _, name = entry.rpartition(".")
        if package in sys.modules and not hasattr(sys.modules[package], name):
            setattr(sys.modules[package], name, sys.modules[MAIN])


def be_room(
    workspace: str,
    root: str,
    roots: list[str],
    entry: str | None = None,
    entry_file: str | None = None,
    source: str | None = None,
) -> None:
    """This process is a room: its modules are those of the workspace first, then those of its environment.

    Args:
        workspace: its id.
        root: folder of the copy.
        roots: folders below `root` in which modules are looked for, relative, in order.
        entry: see `Place`.
        entry_file: the script, relative to `root`, where `entry` is not what its file would be imported as.
        source: the Main's own folder, if it may be on this machine: what was left out of the copy is not found there.
    """
    global _place
    _place = Place(os.path.abspath(root), entry, workspace)
    folders = [os.path.normpath(os.path.join(_place.root, folder)) for folder in roots]
    others = [path for path in sys.path if path and (source is None or not _is_of_project(path, source))]
    sys.path[:] = list(dict.fromkeys([*folders, *others]))
    for folder in reversed(folders):
        _uncover(folder)
    if entry is not None and entry_file is not None:
        sys.meta_path.insert(0, _EntryFinder(entry, os.path.join(_place.root, entry_file)))
    importlib.invalidate_caches()


class _EntryFinder:
    """Finds the Main's script, whose file may be called ``01-train.py`` or anything else that cannot be imported."""

    def __init__(self, name: str, path: str) -> None:
        self._name, self._path = name, path

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As importlib asks."""
        return importlib.util.spec_from_file_location(name, self._path) if name == self._name else None


def _is_of_project(path: str, source: str) -> bool:
    """Whether modules of the project itself lie there: a virtual environment in its folder has others'."""
    found, base = Path(path).resolve(), Path(source).resolve()
    is_installed = found.is_relative_to(Path(sys.prefix).resolve()) or not INSTALLED.isdisjoint(found.parts)
    return found.is_relative_to(base) and not is_installed


def _uncover(folder: str) -> None:
    """Forget modules, loaded before, whose names are those of the workspace's: the Main's script would get these."""
    for entry in os.listdir(folder) if os.path.isdir(folder) else ():
        name = entry.removesuffix(".py")
        if name == entry and not os.path.isfile(os.path.join(folder, entry, "__init__.py")):
            continue  # of a folder without that file any module elsewhere is preferred
        module = sys.modules.get(name)
        if module is None or name in KEPT or (getattr(module, "__file__", None) or folder).startswith(folder):
            continue
        for loaded in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
            del sys.modules[loaded]


def import_module(name: str) -> ModuleType:
    """The module, imported if it is not here yet.

    Raises:
        ModuleMissingError: it, or one that it needs, is not here.
        ModuleFailedError: its code raised.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return module
    failed = _failures.get(name)
    if failed is not None and time.monotonic() < failed[0] + RETRY_S:
        raise failed[1].with_traceback(None)
    _importing.depth = getattr(_importing, "depth", 0) + 1
    try:
        with _at_root():
            return importlib.import_module(name)
    except FunctionLoadError:  # of a reference in a module that was imported by it
        raise
    except (Exception, SystemExit) as error:  # whatever the code of the user does
        failure = _failure_of(name, error)
        _failures[name] = (time.monotonic(), failure)
        raise failure from error
    finally:
        _importing.depth -= 1


@contextmanager
def _at_root() -> Iterator[None]:
    """In a room modules are imported in the workspace's folder, whoever is the first to need them."""
    if not is_inside() or _place is None:
        yield
        return
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(_place.root)
        yield
    finally:
        with suppress(OSError):  # it was removed meanwhile: the next call begins in a new one
            os.fchdir(before)
        os.close(before)


def _failure_of(name: str, error: BaseException) -> FunctionLoadError:
    where = f"{'the room' if is_inside() else 'the Main'} on {socket.gethostname()}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return ModuleMissingError(name, error.name, where)
    return ModuleFailedError(name, f"{type(error).__name__}: {error}", where)


def workspace_root() -> Path:
    """The folder of the workspace: in a room that of its copy, on the Main the project's own.

    A task that reads a file of its project asks for it with this, since each begins in an empty folder of its own.
    """
    if _place is not None:
        return Path(_place.root)
    return project_of(getattr(sys.modules[MAIN], "__file__", None) or os.getcwd()).root
