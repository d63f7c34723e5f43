"""Real processes for tests: started in a folder and with a key of their own, and every one of them is gone in the end.

Whatever they start in turn inherits a mark in its environment, so `alive` finds grandchildren whose parents were
killed. Linux only, as it reads ``/proc``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.ids import unique_id

__all__ = ["PATIENCE_S", "Cluster", "Processes", "Started", "wait_until"]

PATIENCE_S = 20.0  # for whatever is waited for; slow machines need it, good ones never
_POLL_S = 0.01
_SLOW = re.compile(r"^Executing <.*> took \d+\.\d+ seconds\n", re.MULTILINE)
_ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], Any], what: Callable[[], object] | str, timeout_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`.

    Raises:
        AssertionError: none in time; the text is `what`.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(_POLL_S)
    return value


class Started:
    """A process and what it has printed, stdout and stderr in one."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._output = output

    def said(self) -> str:
        """All of it so far, but not how long a step of asyncio took: that is said in development mode, under load."""
        return _SLOW.sub("", self._output.read_text(errors="backslashreplace"))

    def wait_said(self, pattern: str, timeout_s: float = PATIENCE_S) -> re.Match[str]:
        """The first match of a regular expression in what it prints; AssertionError if it ends without."""

        def look() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            found = re.search(pattern, self.said())
            assert found or not ended, f"ended with {self.process.returncode} without {pattern!r}:\n{self.said()}"
            return found

        found: re.Match[str] = wait_until(look, lambda: f"{pattern!r} in:\n{self.said()}", timeout_s)
        return found

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code when it has ended."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s:g} s, having said:\n{self.said()}") from None

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        """Send a signal and wait for the end; its exit code."""
        self.send(number)
        return self.wait(timeout_s)


class Processes:
    """Starts processes that share a folder and a key; use it as a context manager.

    Args:
        folder: their working folder; made if it is missing.
        environment: variables beside those of this process.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.key_file = folder / "key"
        self._mark = f"DISTRIBUTED_TEST_MARK={unique_id('mark')}"
        self._started: list[Started] = []
        folder.mkdir(exist_ok=True)
        name, _, value = self._mark.partition("=")
        self.environment = {
            **os.environ,
            "DISTRIBUTED_KEY_FILE": str(self.key_file),
            "PYTHONPATH": str(_ROOT),
            "PYTHONUNBUFFERED": "1",
            name: value,
            **(environment or {}),
        }

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self, *command: str, **options: Any) -> Started:
        """Start a command; keywords as for `subprocess.Popen`, ``env`` holds what to change in the environment."""
        environment = {**self.environment, **options.pop("env", {})}
        output = self.folder / f".output-{len(self._started)}"
        with open(output, "wb") as file:
            process = subprocess.Popen(
                command,
                **{"cwd": self.folder, "stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, **options},
                env=environment,
                start_new_session=True,
            )
        started = Started(process, output)
        self._started.append(started)
        return started

    def python(self, *arguments: str, **options: Any) -> Started:
        """Start this Python, for example with ``"-c", code``."""
        return self.start(sys.executable, *arguments, **options)

    def dscheduler(self, options: str = "--port 0", **keywords: Any) -> Started:
        """Start the console script; wait for ``scheduler at`` to know its address, see `address`.

        Without HTTP, whose import costs every process 30 ms, unless `options` mention it.
        """
        return self.python("-m", "distributed.cli.dscheduler", *_plain(options), **keywords)

    def dworker(self, options: str, **keywords: Any) -> Started:
        """Start the console script, without HTTP likewise."""
        return self.python("-m", "distributed.cli.dworker", *_plain(options), **keywords)

    def address(self, scheduler: Started) -> str:
        """Where a `dscheduler` listens."""
        return scheduler.wait_said(r"scheduler at (tcp://\S+)")[1]

    def alive(self) -> dict[int, str]:
        """Command line by process id of everything started here or by those, however remotely, that still runs."""
        mark = self._mark.encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):  # it ended while we looked, or is somebody else's
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = command.decode(errors="replace")
        return found

    def wait_nothing_left(self, timeout_s: float = 5.0) -> None:
        """Until all processes are gone; AssertionError if some stay."""
        wait_until(lambda: not self.alive(), lambda: f"still alive: {self.alive()}", timeout_s)

    def close(self) -> None:
        """Kill what is left."""
        while left := self.alive():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_S)
        for started in self._started:
            started.process.wait()


def _plain(options: str) -> list[str]:
    return [*shlex.split(options), *([] if "--http" in options else ["--no-http"])]


@dataclass(slots=True)
class Cluster:
    """A scheduler and its workers, for tests that leave it as it is."""

    processes: Processes
    scheduler: Started
    workers: Started
    file: Path
    address: str
