"""Interrupts of the code of users: tasks that were cancelled, and tasks that have run for longer than they may.

The loop's thread raises `TaskInterrupted` in the thread of the task, which arrives at the next line of Python. It must
arrive in the call of the user's function and nowhere else. So a thread says what it runs before it looks whether
anything is to be interrupted, and says that it has ended before it looks again; the loop's thread says what it wants
before it looks what runs. One of the two sees the other, without a lock on the way of tasks that nobody interrupts:

    thread                                    loop
    running[slot] = ticket                    wanted[ticket] = request
    wanted? -> look closely                   with the lock: runs it? -> raise there, note that
    call of the function
    running[slot] = what it ran before
    wanted? -> with the lock: was something raised here? -> let it come, and catch it

Code that catches everything swallows the exception: it is raised again, at growing intervals. What holds the
interpreter or waits in C does not hear of it; only its process can be ended, see `distributed.process.replacing`.
A child that a task forks runs on behind the call, as if it were the worker: it ends there.

Within its call a task calls code of ours: it waits and lends its slot, submits to the client that all tasks of the
process share, prints. An exception in the middle of that would leave a permit or a record behind that others need. So
this code runs sheltered: nothing is raised in its thread, and what was to be raised is noted, for waits that look at it
now and then, and for the end of the shelter.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from threading import get_ident
from typing import Any

from distributed.errors import TaskTimeoutError
from distributed.worker.context import TaskContext
from distributed.worker.effects import ReadyTask
from distributed.worker.running import Running

__all__ = ["PAUSE_S", "PAUSE_S_MAX", "RAISED_MAX", "Interrupts", "Sheltered", "TaskInterrupted", "let_come", "raise_in"]

PAUSE_S, PAUSE_S_MAX = 0.05, 5.0  # between two exceptions for one that is swallowed; it doubles
IDLE_S = 1.0  # after the last limit
RAISED_MAX = 100  # so that we do not look for ever


class TaskInterrupted(BaseException):
    """Raised in the thread of a task; not an `Exception`, so that code which handles errors lets it pass."""


@dataclass(slots=True)
class _Request:
    """``due``: when it is raised next; ``timeout_s``: of a task with a limit, until then nothing is wrong; else 0."""

    ticket: int
    due: float
    timeout_s: float = 0.0
    pause_s: float = PAUSE_S
    count: int = 0
    is_cancelled: bool = False
    is_noted: bool = False  # it was due while its thread could not be interrupted


class Interrupts:
    """Who runs what in one process, and what is to be interrupted.

    Args:
        running: where deadlines are noted for the nanny; it has a slot for every thread.
    Attributes:
        running: ticket by slot, of the call that is on top of its thread; 0: it runs none.
        wanted: what is to be interrupted, or will be, by ticket.
    Cost: 0.1 us per call that nobody interrupts.
    """

    def __init__(self, running: Running) -> None:
        self.running = [0] * running.nthreads
        self.wanted: dict[int, _Request] = {}
        self._slots = running
        self._lock = threading.Lock()
        self._threads = [0] * running.nthreads  # by slot
        self._raised: set[int] = set()  # slots in whose threads something was raised since the call began
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = math.inf  # monotonic seconds of the next look
        self._is_child = False
        _instances.add(self)

    # ------------------------------------------------------------ loop thread

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop from whose thread tasks are interrupted."""
        self._loop = loop

    def stop(self, tickets: Iterable[int]) -> None:
        """Interrupt these until they have ended; `forget` them then. Loop thread."""
        now = time.monotonic()
        for ticket in tickets:
            request = self.wanted.get(ticket)
            if request is None:
                request = self.wanted[ticket] = _Request(ticket, now)
            request.due, request.pause_s, request.count, request.is_cancelled = now, PAUSE_S, 0, True
        self._look()

    def forget(self, tickets: Iterable[int]) -> None:
        """These have ended."""
        for ticket in tickets:
            self.wanted.pop(ticket, None)

    def calls(self) -> list[tuple[int, int]]:
        """Ticket and thread of every slot."""
        return list(zip(self.running, self._threads, strict=True))

    def _look(self, is_again: bool = False) -> None:
        """Raise what is due, and look again when more will be; else once more, so that short tasks do not wake us each.

        Args:
            is_again: this is that look.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._look_at = math.inf  # before we look: a thread that begins with a limit meanwhile has to wake us
        now = time.monotonic()
        requests = [request for request in list(self.wanted.values()) if request.count < RAISED_MAX]
        for request in requests:
            if request.due <= now and self._interrupt(request):
                request.count += 1
                request.due = now + request.pause_s
                request.pause_s = min(PAUSE_S_MAX, 2 * request.pause_s)
            elif request.due <= now:  # it is about to begin, sheltered, or waits for a task that runs on its stack
                request.due, request.is_noted = now + PAUSE_S, True
        if self._loop is not None and (requests or not is_again):
            self._look_at = min((request.due for request in requests), default=now + IDLE_S)
            self._timer = self._loop.call_later(max(0.0, self._look_at - now), self._look, not requests)

    def _interrupt(self, request: _Request) -> bool:
        """Raise in the thread that runs it; False: none does."""
        with self._lock:
            if request.ticket in self.running:
                slot = self.running.index(request.ticket)
                self._raised.add(slot)
                raise_in(self._threads[slot])
                return True
        return False

    # ------------------------------------------------------------ threads of tasks

    def enter(self, slot: int) -> None:
        """This thread runs the tasks of `slot` from now on."""
        self._threads[slot] = get_ident()

    def limit(self, context: TaskContext, task: ReadyTask) -> None:
        """The call of `task` begins, in the thread of `context`: interrupt it when its time is over."""
        timeout_s = task.options.timeout_s
        due = time.monotonic() + timeout_s
        context.deadline = due
        self._slots.limit(context.slot, due)
        self.wanted[task.ticket] = _Request(task.ticket, due, timeout_s)
        if due < self._look_at and self._loop is not None:
            self._look_at = due  # those that come before the loop has looked need not wake it, too
            with contextlib.suppress(RuntimeError):  # the loop has ended: the process does, too
                self._loop.call_soon_threadsafe(self._look)

    def check(self, ticket: int) -> None:
        """A call begins, and something is wanted.

        Raises:
            TaskInterrupted: it was cancelled just before.
        """
        request = self.wanted.get(ticket)
        if request is not None and request.is_cancelled:
            raise TaskInterrupted

    def leave(self, slot: int, outer: int) -> None:
        """A call has ended: from now on it is not interrupted. `outer` is what its thread ran before.

        A child that was forked in the call ends here.
        """
        while True:
            try:
                if self._is_child:
                    _end_child()
                self._calm(slot, outer)
                return
            except TaskInterrupted:  # it came before it could be caught there
                continue

    def _calm(self, slot: int, ticket: int) -> bool:
        """This thread runs `ticket` from now on; whether something was raised in it before, which is over now."""
        is_raised = False
        while True:
            try:
                self.running[slot] = ticket
                with self._lock:  # written in C: no exception comes between having and holding it
                    is_raised = slot in self._raised or is_raised
                    self._raised.discard(slot)
                if is_raised:
                    let_come()
                return is_raised
            except TaskInterrupted:  # that was it
                is_raised = True

    def shelter(self, slot: int) -> int:
        """From now on nothing is raised in this thread, which runs a call in `slot`; returns what `unshelter` needs.

        Shelters may lie within each other, and cost nothing to those that do not run a call of this slot.

        Raises:
            TaskInterrupted: it was on its way.
        """
        ticket = self.running[slot]
        if not ticket or self._threads[slot] != get_ident():
            return 0
        try:
            self.running[slot] = 0
            is_raised = bool(self.wanted) and self._calm(slot, 0)
        except TaskInterrupted:
            is_raised = True
            self._calm(slot, 0)
        if is_raised:
            self.running[slot] = ticket
            raise TaskInterrupted
        return ticket

    def unshelter(self, slot: int, ticket: int) -> None:
        """The call goes on in code of the user.

        Raises:
            TaskInterrupted: somebody wanted that meanwhile.
        """
        if ticket:
            self.running[slot] = ticket
            if self.wanted:
                self.look(ticket)

    def look(self, ticket: int) -> None:
        """For waits in a shelter.

        Raises:
            TaskInterrupted: the call of `ticket` is to be interrupted.
        """
        request = self.wanted.get(ticket)
        if request is not None and request.is_noted:
            request.is_noted = False
            request.count += 1
            request.due = time.monotonic() + request.pause_s
            request.pause_s = min(PAUSE_S_MAX, 2 * request.pause_s)
            raise TaskInterrupted

    def error(self, task: ReadyTask) -> TaskTimeoutError | None:
        """The call of `task` has ended: what it fails with, however it ended; None: it was in time, or cancelled."""
        request = self.wanted.pop(task.ticket, None)
        if request is None or not request.count or not request.timeout_s or request.is_cancelled:
            return None
        return TaskTimeoutError(task.key, request.timeout_s)


class Sheltered:
    """For ``with``: `Interrupts.shelter` and `unshelter`. Cost: 0.5 us."""

    __slots__ = ("_interrupts", "_slot", "_ticket")

    def __init__(self, interrupts: Interrupts, slot: int) -> None:
        self._interrupts, self._slot, self._ticket = interrupts, slot, 0

    def __enter__(self) -> None:
        self._ticket = self._interrupts.shelter(self._slot)

    def __exit__(self, *error: object) -> None:
        self._interrupts.unshelter(self._slot, self._ticket)


_instances: weakref.WeakSet[Interrupts] = weakref.WeakSet()


def _after_fork() -> None:
    """Only the thread that forked goes on here: if it runs a task it ends with that."""
    for interrupts in _instances:
        if any(ticket and thread == get_ident() for ticket, thread in interrupts.calls()):
            interrupts._is_child = True
            interrupts.wanted[0] = _Request(0, 0.0)  # every call looks closely from now on


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _end_child() -> None:
    """Never returns."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def raise_in(thread: int) -> None:
    """Raise `TaskInterrupted` in a thread at its next line of Python."""
    import ctypes  # lazy: 3 ms that need not stand before the first task

    set_error: Any = ctypes.pythonapi.PyThreadState_SetAsyncExc
    set_error(ctypes.c_ulong(thread), ctypes.py_object(TaskInterrupted))


def let_come() -> None:
    """Let an exception that is on its way to this thread arrive here; see `distributed.worker.limits`.

    It could be taken back; but then CPython 3.11 goes on looking for it all the time, and hangs under a profiler.
    """
    for _ in range(3):
        continue
