"""The nanny's part of stopping a task that does not stop: end the process, and nothing but it.

A task may be cancelled with force, or run for longer than it may. The nanny looks into the file of what runs: what has
ended meanwhile costs nobody anything. Else it stops the process (SIGSTOP), looks again, takes out the data that cannot
be computed again (`rescue`), and tells; then the process may go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from distributed.ids import cut_key
from distributed.process.folders import Folder, make_folder
from distributed.process.vitals import read_vitals
from distributed.process.zygote import Child
from distributed.worker.rescue import log_path, rescue
from distributed.worker.running import read_deadlines

__all__ = ["LATE_S", "LOOK_S", "Replacement", "any_of", "late_ones", "prepare"]

logger = logging.getLogger(__name__)

LOOK_S = 0.2  # how often deadlines are looked at: 20 us
LATE_S = 0.5  # past its deadline: until then the worker interrupts the task itself
STOP_S = 0.5  # for a process to stop; one that is deep in a system call does not, and is not read then

Due = Callable[[list[tuple[str, float]]], list[str]]


@dataclass(slots=True)
class Replacement:
    """A process that is to be ended.

    Attributes:
        keys: of the tasks for whose sake.
        folder: where the data is that was taken out; None: there was none.
        rescued: the keys of that data.
        is_late: whether they ran for too long; else they were cancelled.
    """

    keys: list[str]
    folder: Folder | None
    rescued: list[str]
    is_late: bool

    @property
    def cause(self) -> str:
        """For people."""
        why = "ran for longer than it may" if self.is_late else "was cancelled with force"
        return f"replaced by its nanny, since {', '.join(self.keys)} {why} and did not stop"


def any_of(keys: list[str]) -> Due:
    """Those of `keys` that run."""
    named = frozenset(map(cut_key, keys))
    return lambda running: [key for key, _ in running if key in named]


def late_ones(running: list[tuple[str, float]]) -> list[str]:
    """Those that should have ended long ago."""
    now = time.monotonic()
    return [key for key, deadline in running if deadline and now > deadline + LATE_S]


async def prepare(
    process: Child, running_path: str, due: Due, *, is_late: bool, parent: str | None
) -> Replacement | None:
    """Stop the process and take the data out, unless nothing is due; None: it runs on.

    Args:
        running_path: the file of what runs. parent: where a folder for the data is made.
    """
    if process.ended.done() or not due(read_deadlines(running_path)):
        return None
    os.kill(process.pid, signal.SIGSTOP)
    is_stopped = await _wait_stopped(process)
    keys = due(read_deadlines(running_path))
    if process.ended.done():
        return None
    if not keys:
        os.kill(process.pid, signal.SIGCONT)
        return None
    rescued: list[str] = []
    place: Folder | None = None
    log = log_path(running_path)
    if is_stopped and os.path.exists(log):
        try:
            place = make_folder(parent)
            rescued = await asyncio.get_running_loop().run_in_executor(None, rescue, process.pid, log, place.path)
        except OSError as error:
            logger.warning("scattered data of process %d could not be rescued: %s", process.pid, error)
    if place is not None and not rescued:
        place.remove()
        place = None
    return Replacement(keys, place, rescued, is_late)


async def _wait_stopped(process: Child) -> bool:
    """Whether it has stopped; it may have ended instead."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline and not process.ended.done():
        vitals = read_vitals(process.pid)
        if vitals is None or vitals.state in "TtZ":
            return vitals is not None and vitals.state != "Z"
        await asyncio.sleep(0.001)
    return False
