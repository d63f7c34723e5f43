"""An empty folder of its own for each call: it is the working directory when the call begins, and gone after it.

Every thread has one folder, which serves call after call while nothing is left in it. One look tells: its time of
change was set to 1970, and whatever is made in it sets that anew. So a call that writes no file costs no more than that
look, 2 us in all (measured).

On Linux each thread has a working directory of its own (``unshare(CLONE_FS)``; a process starts with one for all
threads). Elsewhere, and where that is forbidden, a room has one thread, see `has_folder_per_thread`. Async tasks share
one loop, so one folder: `Scratch.shared`. Not here: the workspace's own files (`entry.workspace_root`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import threading
from collections.abc import Callable
from itertools import count
from types import GeneratorType
from typing import Any

from distributed.rooms.entry import place
from distributed.worker.context import TaskContext, current, sheltered

__all__ = ["Scratch", "has_folder_per_thread"]

CLONE_FS = 0x200  # linux/sched.h


class Scratch:
    """The folders of one process.

    Args:
        parent: an empty folder, which outlives them.

    Attributes:
        shared: the working directory of what is no call in a thread: async tasks, and threads of our own.
    """

    def __init__(self, parent: str) -> None:
        self._parent = os.path.abspath(parent)
        self._numbers = count(1)
        self._local = threading.local()
        self.shared = self._new_folder()

    def dress(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, in a folder of its own at each call. What a generator yields is listed while that is there.

        Classes are left as they are: what they make lives on.
        """
        if isinstance(function, type):
            return function
        local, scratch = self._local, self

        def dressed(*args: Any, **kwargs: Any) -> Any:
            context = current()
            if context is not None and context.level:
                scratch._begin_on_top(context)
                return function(*args, **kwargs)
            try:
                desk = local.desk
            except AttributeError:
                desk = local.desk = scratch._desk()
            if not desk.is_clean:
                desk.clean()
            desk.is_clean = False  # until we have looked, whatever interrupts this thread
            try:
                return _listed(function(*args, **kwargs))
            except (FileNotFoundError, ModuleNotFoundError) as error:
                _explain(error)
                raise
            finally:
                if desk.look() == desk.mark:
                    desk.is_clean = True
                else:
                    desk.tidy()

        return dressed

    def _desk(self) -> _Desk:
        with sheltered():
            has_folder_per_thread()  # for this thread, from now on
            return _Desk(self._new_folder)

    def _begin_on_top(self, context: TaskContext) -> None:
        """For a call in a thread where another one waits: when this one has ended, that one finds all as it was."""
        with sheltered():
            before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            folder = self._new_folder()

            def end() -> None:
                os.fchdir(before)
                os.close(before)
                _remove(folder)

            if context.at_end is None:
                context.at_end = []
            context.at_end.append(end)
            os.chdir(folder)

    def _new_folder(self) -> str:
        folder = os.path.join(self._parent, str(next(self._numbers)))
        os.mkdir(folder, 0o700)
        return folder


class _Desk:
    """The folder of one thread.

    Args:
        make: makes one.

    Attributes:
        is_clean: it is the working directory, and empty.
        look: tells what the working directory is, and when something was last made or removed in it.
        mark: what `look` says of this folder while it is clean.
    """

    __slots__ = ("_make", "_path", "is_clean", "look", "mark")

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make
        self._path = make()
        self.look = _looker()
        self.mark: object = None
        self.is_clean = False

    def tidy(self) -> None:
        """`clean` after a call, whose outcome stands; what cannot be done now is done, or told, before the next one."""
        with contextlib.suppress(OSError):
            self.clean()

    def clean(self) -> None:
        """Make it so: empty, and the working directory. OSError: not even a new folder can be made."""
        with sheltered():
            try:
                _empty(self._path)
                os.chdir(self._path)
            except OSError:  # what is in there cannot be removed, or the folder is not ours any more
                self._path = self._make()
                os.chdir(self._path)
            os.utime(".", ns=(0, 0))
            self.mark = self.look() or self
            self.is_clean = True


def _looker() -> Callable[[], object]:
    """What `_Desk.look` calls, for one thread: of ``.`` links, owner, mode, number, device and time of change.

    Where there is ``statx`` it is called by ctypes, which keeps the interpreter's lock: it takes as long as `os.stat`,
    but threads that run one short call after another do not hand the lock over at each (measured: 1.3 times the calls).
    """
    libc = ctypes.PyDLL(None)
    if sys.platform != "linux" or not hasattr(libc, "statx"):
        return _stat
    statx, found = libc.statx, ctypes.create_string_buffer(256)  # linux/stat.h, struct statx
    at_cwd, here, flags, wanted = ctypes.c_int(-100), ctypes.c_char_p(b"."), ctypes.c_int(0), ctypes.c_uint(0x7FF)

    def look() -> bytes:
        if statx(at_cwd, here, flags, wanted, found):
            return b""  # a place that cannot be looked at
        raw = found.raw
        return raw[16:40] + raw[112:144]

    return look


def _stat() -> object:
    try:
        seen = os.stat(".")
    except OSError:  # likewise
        return None
    return seen[:4], seen[8]


def has_folder_per_thread() -> bool:
    """Whether the calling thread has a working directory of its own; from now on, where the system can do that."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).unshare(CLONE_FS) == 0)


def _listed(value: Any) -> Any:
    return list(value) if type(value) is GeneratorType else value


def _explain(error: FileNotFoundError | ModuleNotFoundError) -> None:
    """Add what is different in a room: where a file is, if it lies in the workspace; where modules come from."""
    here = place()
    if here is None or getattr(error, "__notes__", None):
        return
    if isinstance(error, ModuleNotFoundError):
        error.add_note(
            "A call finds the modules of the workspace and of its environment: name the package in requirements=, or, "
            f"if {error.name or 'it'} is a file of the project, see that no ignore file leaves it out (include=)"
        )
        return
    name = error.filename
    if not isinstance(name, str) or os.path.isabs(name):
        return
    if os.path.exists(os.path.join(here.root, name)):
        error.add_note(
            f"{name} is a file of the workspace, but each call begins in an empty folder of its own: "
            f"open distributed.workspace_root() / {name!r}"
        )


def _empty(path: str) -> None:
    """Remove all that is in the folder. OSError: it is gone, or something cannot be removed."""
    os.chmod(path, 0o700)
    with os.scandir(path) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for each, is_folder in found:
        if is_folder:
            _remove(each)
        else:
            os.unlink(each)


def _remove(path: str) -> None:
    """Remove a tree of ours, also where its folders were made unreadable."""

    def unlock(function: Any, failed: str, error: Any) -> None:
        with contextlib.suppress(OSError):  # whatever cannot be removed goes with the room, or stays
            os.chmod(os.path.dirname(failed), 0o700)
            os.chmod(failed, 0o700)
            shutil.rmtree(failed) if os.path.isdir(failed) and not os.path.islink(failed) else os.unlink(failed)

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=unlock)
    else:
        shutil.rmtree(path, onerror=unlock)
