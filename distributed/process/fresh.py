"""A zygote that is not forked of this process but started anew, so that it can be made at any time, beside any thread.

It finds the modules that this program finds, in the same order, and costs one start of Python (some 0.2 s); each of its
children then costs a fork.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from distributed.errors import WorkerStartError
from distributed.process.zygote import Zygote, run_forker

__all__ = ["FreshZygote", "import_paths", "own_path", "set_own_path"]

PROGRAM = "import sys; from distributed.process.fresh import main; main(sys.argv[1])"


class FreshZygote(Zygote):
    """As `Zygote`, but what children run can be named only.

    Args:
        mains: ``module:function`` by kind.
        preload: as of `Zygote`.
        python: path of another interpreter, which finds this package by itself.
        variables: its environment, and its children's; None: this process's.
    Raises:
        WorkerStartError: the interpreter cannot be started.
    """

    def __init__(
        self,
        mains: Mapping[str, str],
        preload: Sequence[str] = (),
        python: str = sys.executable,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        has_own = variables is None
        path = own_path() if variables is None else variables.get("PYTHONPATH")
        given = {"control": theirs.fileno(), "mains": dict(mains), "preload": list(preload), "PYTHONPATH": path}
        try:
            self._process = subprocess.Popen(
                [python, "-P", "-c", PROGRAM, json.dumps(given)],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
                env={**os.environ, "PYTHONPATH": import_paths()} if has_own else variables,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise WorkerStartError(f"{python} cannot be started: {error.strerror or error}") from None
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._begin(ours, self._process.pid)

    def is_gone(self) -> bool:
        """Whether it has ended by itself: it was killed, or its interpreter lacks what it imports."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the zygote and with it all its children."""
        super().close()
        self._process.wait()  # it was waited for already; this one keeps a record of its own


def import_paths() -> str:
    """Where this program looks for modules, as ``PYTHONPATH`` has it."""
    return os.pathsep.join(dict.fromkeys(os.path.abspath(entry or os.curdir) for entry in sys.path))


def main(text: str) -> None:
    """What `FreshZygote` starts; never returns."""
    given: dict[str, Any] = json.loads(text)
    set_own_path(given["PYTHONPATH"])
    os.set_inheritable(given["control"], False)
    run_forker(socket.socket(fileno=given["control"]), given["mains"], given["preload"])


def set_own_path(value: str | None) -> None:
    """``PYTHONPATH`` was for this process only, programs that users' code starts want the user's."""
    if value is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = value


def own_path() -> str | None:
    """For `set_own_path` of a process that is started with another one."""
    return os.environ.get("PYTHONPATH")
