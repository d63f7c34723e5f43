"""What a task does at this worker: it runs, and in which line; waits for its turn; or waits for data of others."""

from __future__ import annotations

import sys
import time
from pathlib import PurePath
from types import FrameType

from distributed.ids import cut_key
from distributed.protocol.failure import OWN_FOLDER
from distributed.units import format_seconds
from distributed.why import Why
from distributed.worker.execute import Executor
from distributed.worker.machine import WorkerMachine
from distributed.worker.records import TaskRecord, TaskState

__all__ = ["explain"]

FRAMES_MAX = 10_000  # of a thread's stack, looked at
OWN_MODULES = "distributed.worker."


def explain(key: str, machine: WorkerMachine, executor: Executor) -> Why | None:
    """A sentence about `key` that begins with It or There; None: it is not here, or has just ended.

    Cost: O(tasks here). Nothing is measured while tasks run: a running task is found in the stacks of the threads.
    """
    record = machine.state.tasks.get(key)
    if record is None:
        return None
    if record.state is TaskState.WAITING:
        return _fetching(record)
    running = executor.running.keys()  # a list; long keys are cut
    if record.is_lent or cut_key(key) in running:
        return _running(key)
    ahead = sum(
        other.state is TaskState.READY
        and (other.task.rank, other.task.ticket) < (record.task.rank, record.task.ticket)
        and other is not record
        for other in machine.state.tasks.values()
    )
    if executor.gate.is_shut:
        return Why("It has not begun: the worker is paused, or another task needs it alone.", "queued", "paused")
    return Why(f"It has not begun: {ahead:,} task(s) run there or come before it.", "queued", "queued")


def _fetching(record: TaskRecord) -> Why:
    missing = record.missing or {}
    first = next(iter(missing.values()))
    place = f" from {first.peer}" if first.peer else ""
    text = f"There it waits for {len(missing)} result(s) of other workers, first {first.key}{place}."
    return Why(text, "waiting", "fetching", list(missing))


def _running(key: str) -> Why:
    for top in list(sys._current_frames().values()):
        frame: FrameType | None = top
        users: FrameType | None = None
        for _ in range(FRAMES_MAX):
            if frame is None:
                break
            if users is None and not frame.f_code.co_filename.startswith(OWN_FOLDER):
                users = frame
            if frame.f_globals.get("__name__", "").startswith(OWN_MODULES):
                task, started = frame.f_locals.get("task"), frame.f_locals.get("started")
                if isinstance(started, float):
                    if getattr(task, "key", None) == key:
                        return Why(f"It runs since {_since(started)}{_line(users)}.", "running", "running")
                    users = None  # that was code of a task that runs on top of the one below, which waits
            frame = frame.f_back
    return Why("It runs.", "running", "running")


def _since(started: float) -> str:
    seconds = max(0.0, time.perf_counter() - started)
    return f"{seconds:.1f} s" if seconds < 60 else format_seconds(seconds)


def _line(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return f", now in {frame.f_code.co_name} ({PurePath(frame.f_code.co_filename).name}:{frame.f_lineno})"
