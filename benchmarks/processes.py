"""Running one worker script for one cell, and leaving no process behind, whatever happens.

A script starts as the leader of a session of its own and dies with its group when our end of its stdin closes (see
`sides.end_with_parent`). What leaves the group is found by a mark in its environment and ended by pid.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

__all__ = ["CellError", "Runner"]

HERE = Path(__file__).resolve().parent
MARK = "DISTRIBUTED_BENCHMARK_RUN"
FOREIGN = ("PYTHON", "DASK_", "DISTRIBUTED_", "VIRTUAL_ENV", "XDG_CONFIG")  # would change defaults of either side
GRACE_S = 5.0


class CellError(Exception):
    """A worker script gave no result: the benchmark or the side is broken. The text holds the end of its output."""


class Runner:
    """Runs worker scripts in a home folder of their own: default settings, nothing of the user's is read or written.

    Attributes:
        pythons: the interpreter per side, "ours" and "rival".
        left_behind: command lines of processes that outlived their script and had to be killed.
    """

    def __init__(self, pythons: dict[str, Path], home: Path) -> None:
        self.pythons = pythons
        self.left_behind: list[str] = []
        self._home = home
        self._mark = uuid.uuid4().hex
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        # Functions of `workload` are imported by the workers; TMPDIR so that nothing stays in the system's.
        self._environment |= {MARK: self._mark, "HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(HERE)}

    def run(self, side: str, cell: str, limit_s: float, *arguments: str) -> dict[str, Any]:
        """The JSON that the side's script prints for `cell`.

        Raises:
            CellError: it failed, or had not ended after `limit_s`.
        """
        command = [str(self.pythons[side]), str(HERE / f"{side}.py"), cell, "--watch-stdin", *arguments]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._home,
                env=self._environment,
                start_new_session=True,
            )
            try:
                output = self._read(process, limit_s)
            except subprocess.TimeoutExpired:
                raise CellError(f"no result after {limit_s:.0f} s\n{_tail(log)}") from None
            finally:
                self._end(process)
            lines = [line for line in output.decode().splitlines() if line.startswith("{")]
            if process.returncode != 0 or not lines:
                raise CellError(f"exit code {process.returncode}\n{_tail(log)}")
        result: dict[str, Any] = json.loads(lines[-1])
        return result

    @staticmethod
    def _read(process: subprocess.Popen[bytes], limit_s: float) -> bytes:
        # Not communicate(): it would close stdin, which tells the script to die. The JSON is far smaller than a pipe.
        process.wait(limit_s)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)  # a child that lives on would keep the pipe open
        return process.stdout.read() or b""

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the script if need be, then what it left. Until it is reaped, its pid and group can be nobody else's."""
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.sweep()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def sweep(self) -> None:
        """Kill every process that carries our mark, after a moment in which it may end by itself."""
        until = time.monotonic() + GRACE_S
        while (marked := self._marked()) and time.monotonic() < until:
            time.sleep(0.1)
        for process in marked:
            with suppress(psutil.Error):
                self.left_behind.append(" ".join(process.cmdline()) or process.name())
                process.kill()

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def _tail(log: Any) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").splitlines()[-15:])
