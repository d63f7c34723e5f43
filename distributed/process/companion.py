"""A process of ours beside a program: it starts with one line of options, answers with one line, and ends with us.

    program ──one JSON line──▶ stdin ─ companion ─▶ a pipe named "answer" in the options ──one JSON line──▶ program

Its end is ours: it serves until its stdin is closed, or its parent is gone (see `distributed.process.parents`). It
finds the modules that this program finds, but those of the user's project last: a ``json.py`` beside the script is none
of its business. What goes through the pipes is not seen by others, so keys may be in the options.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.errors import WorkerStartError
from distributed.process.fresh import own_path
from distributed.workspace.locating import INSTALLED

__all__ = ["Companion", "companion_paths"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
# Instead of -m: the module `runpy` takes 3 ms, and looking for garbage while importing 7 ms (`run_loop` looks again).
PROGRAM = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[1:]; del sys.argv[1:]; from {module} import main; main()"
)
PACKAGE = str(Path(__file__).resolve().parents[2])  # where `distributed` lies


class Companion:
    """Starts at once; `answer` waits for it.

    Args:
        module: whose ``main()`` it runs.
        what: what it is, for people, such as ``"the offer of this machine"``.
        options: JSON; it finds ``answer`` (a descriptor) and ``PYTHONPATH`` (what it shall be for its children) beside.
        stop_timeout_s: how long it may take to end; then it is killed with all it started.
    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, module: str, what: str, options: dict[str, Any], stop_timeout_s: float = STOP_TIMEOUT_S) -> None:
        self._what = what
        self._answer, answer_there = os.pipe()
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)  # it may name the project
        script = getattr(sys.modules["__main__"], "__file__", None)
        paths = companion_paths(sys.path, os.getcwd() if script is None else os.path.dirname(os.path.abspath(script)))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM.format(module=module), *paths],
                stdin=subprocess.PIPE, pass_fds=(answer_there,), start_new_session=True, env=environment,
            )  # fmt: skip
        except BaseException:
            os.close(self._answer)
            raise
        finally:
            os.close(answer_there)
        self._closing = weakref.finalize(self, _stop, self._process, self._answer, stop_timeout_s)  # at our end too
        self._tell({**options, "answer": answer_there, "PYTHONPATH": own_path()})

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def answer(self, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """The next line it says; blocks until it comes.

        Raises:
            WorkerStartError: it has ended, said an ``error``, or nothing in time.
        """
        answer: dict[str, Any] = json.loads(self._read_line(timeout_s))
        if "error" in answer:
            raise WorkerStartError(f"{self._what} did not start: {answer['error']}")
        return answer

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it and wait for it. May be called twice."""
        self._closing()

    def _tell(self, content: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once; the answer that does not come tells more
            self._process.stdin.write(json.dumps(content).encode() + b"\n")
            self._process.stdin.flush()

    def _read_line(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        line = b""
        poll = select.poll()  # select() takes no descriptors from 1024 on
        poll.register(self._answer, select.POLLIN)
        while not line.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise WorkerStartError(f"{self._what} did not start within {timeout_s:g} s")
            chunk = os.read(self._answer, 65536)
            if not chunk:
                code = self._process.wait()
                raise WorkerStartError(f"{self._what} ended, exit code {code}; see its output above")
            line += chunk
        return line


def companion_paths(paths: Sequence[str], project: str) -> list[str]:
    """Where a companion looks for modules, of a program that has `paths` and whose script lies in `project`.

    The standard library and this package come first, the folders of the project and the current one last.
    """
    library = os.path.dirname(os.__file__)
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    users = {os.path.realpath(project), os.path.realpath(os.curdir)}

    def rank(path: str) -> int:
        parts = Path(path).parts
        if path == library or (path.startswith(library + os.sep) and INSTALLED.isdisjoint(parts)):
            return 0
        if os.path.basename(path) in (archive, "lib-dynload"):
            return 0
        if path == PACKAGE:
            return 1
        is_users = INSTALLED.isdisjoint(parts) and any(
            Path(os.path.realpath(path)).is_relative_to(folder) for folder in users
        )
        return 3 if is_users else 2

    found = dict.fromkeys([PACKAGE, *(os.path.abspath(path or os.curdir) for path in paths)])
    return sorted(found, key=rank)  # stable: within a rank as the program has it


def _stop(process: subprocess.Popen[bytes], answer: int, timeout_s: float) -> None:
    """Let it end, and wait for it."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended
        process.stdin.close()  # which tells it to end
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        os.close(answer)
