"""What the cells need of a side, and what they do alike: start its processes, repeat within the time, sum up.

Both sides run this file, each with its own Python: it imports neither package.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

__all__ = [
    "REPEATS_MAX",
    "Plan",
    "Sample",
    "Side",
    "check",
    "cluster",
    "end_with_parent",
    "fresh_environment",
    "rates",
    "server",
    "settle",
]

REPEATS_MAX = 5  # timed runs of one script: more say little that another round would not say better
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


class Side(Protocol):
    """One of the two packages."""

    name: str
    local_cluster_keywords: dict[str, Any]
    scatter_keywords: dict[str, Any]

    def commands(self, scheduler_file: Path) -> tuple[list[str], list[str]]: ...
    def connect(self, scheduler_file: Path) -> Any: ...
    def scheduler_pid(self, client: Any) -> int: ...
    def worker_pids(self, client: Any) -> list[int]: ...
    def local_client(self) -> AbstractContextManager[Any]: ...
    def rpc(self, address: str) -> Any: ...
    def wrap(self, data: Any) -> Any: ...

    def unwrap(self, data: Any) -> Any: ...
    async def serve(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Attributes:
        box_s: time for the timed runs of one cell together.
        is_quick: counts that no time limit bounds are smaller too.
        script: of this side, to run again as a server.
    """

    box_s: float
    is_quick: bool
    script: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What one script found: the value in the cell's unit, from `samples`, each of `count` tasks, calls or passes."""

    value: float
    samples: list[float]
    count: int
    nominal: int


def rates(run: Callable[[int], float], nominal: int, first: int, plan: Plan, fit: Callable[[int], int] = int) -> Sample:
    """Things per second, where ``run(count)`` returns the seconds that `count` of them took.

    Two small runs warm up and tell the speed; whoever is too slow for the nominal count within the box then does fewer.
    ``fit(count)`` is the next lower count that `run` can do.
    """
    run(first)
    per_second = first / run(first)
    count = fit(min(nominal, max(first, int(per_second * plan.box_s))))
    samples: list[float] = []
    left_s = plan.box_s
    while not samples or (len(samples) < REPEATS_MAX and count / samples[-1] < left_s):
        gc.collect()
        seconds = run(count)
        left_s -= seconds
        samples.append(count / seconds)
    return Sample(median(samples), samples, count, nominal)


@contextmanager
def cluster(side: Side) -> Iterator[Any]:
    """A client of a scheduler and two workers with one thread each, all started by the side's own commands."""
    with tempfile.TemporaryDirectory(prefix="c") as folder, _Processes() as processes:
        scheduler_file = Path(folder) / "scheduler.json"
        scheduler_command, worker_command = side.commands(scheduler_file)
        processes.start(scheduler_command)
        _wait(lambda: _is_json(scheduler_file), "the scheduler's file", processes)
        processes.start(worker_command)
        client = side.connect(scheduler_file)
        try:
            _wait(lambda: len(client.ncores()) == 2, "two workers", processes)
            yield client
        finally:
            client.close()


@contextmanager
def server(plan: Plan) -> Iterator[str]:
    """Address of the side's rpc server, in a process of its own."""
    with _Processes() as processes:
        process = processes.start(
            [sys.executable, plan.script, "serve", "--watch-stdin"], stdout=subprocess.PIPE, stdin=subprocess.PIPE
        )
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        if not address:
            raise RuntimeError(f"the rpc server ended at once, exit code {process.wait()}")
        yield address


def settle(client: Any, function: Callable[[int], int]) -> None:
    """Let the release of an earlier run's futures be over: it belongs to no timed run."""
    gc.collect()
    client.submit(function, -1, pure=False).result()
    time.sleep(0.3)


def fresh_environment() -> dict[str, str]:
    """For interpreters that are to start as a user's would: without our folder on their path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def end_with_parent() -> None:
    """End this whole process group when the driver is gone, however it went: it holds the other end of stdin."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


class _Processes:
    """Started processes, ended by pid when the block ends."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):  # workers before their scheduler
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def start(
        self, command: list[str], stdout: int | None = None, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start one; what it prints goes where our stderr goes."""
        process = subprocess.Popen(command, stdin=stdin, stdout=sys.stderr if stdout is None else stdout)
        self._started.append(process)
        return process

    def check(self) -> None:
        """Raise if one has ended."""
        for process in self._started:
            if process.poll() is not None:
                raise RuntimeError(f"exit code {process.returncode}: {' '.join(map(str, process.args))}")  # type: ignore[arg-type]


def _wait(is_so: Callable[[], bool], what: str, processes: _Processes) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not is_so():
        processes.check()
        if time.monotonic() > until:
            raise RuntimeError(f"no sign of {what} within {START_TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # not there, or half written
        return False
    return True


def check(found: object, wanted: object) -> None:
    """Refuse a wrong result: it has no speed."""
    if found != wanted:
        raise RuntimeError(f"wrong result: {str(found)[:200]} instead of {str(wanted)[:200]}")
