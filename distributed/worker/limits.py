"""Memory limits of single tasks: how they are measured, and what happens to a task that passes its own.

Memory belongs to a process, not to a thread. So a task with a limit runs alone in its worker's process (the gate sees
to that), and what the process grows by while the call lasts is what the task takes. What may have been for others
(copies of results that arrive, results that are pickled for a peer or for the disk) is taken off, in its favour.

    it is over the limit at two looks      MemoryLimitExceeded is raised in its thread, at the next line of Python
    it ended, and its peak was over        the same error, instead of its result
    2 s after being interrupted it runs    the worker's process is ended by its nanny, and the certificate names the
    (a long call into C, or code that      task and its limit
    catches everything)
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from distributed.errors import MemoryLimitExceeded

__all__ = ["LOOK_S", "TaskLimits", "Watch"]

LOOK_S = 0.02  # between two looks; 2 GB/s fill 40 MB meanwhile
LOOKS_OVER = 2  # in a row: what others take is counted an instant too late
STUBBORN_S = 2.0


class OverLimit(BaseException):
    """Raised in the thread of a task; not an `Exception`, so that code which handles errors lets it pass."""


class TaskLimits:
    """Watches the task that runs alone.

    Args:
        measure: memory of this process now. peak: the most since `reset_peak`.
        taken: bytes that results kept here ever took, by coming or by being pickled; it never falls.
        incoming: bytes that may be arriving now.
        on_stubborn: told about a task that goes on, for people; the process has to end.
    `begin` is called by executor threads, `look` by the loop.
    """

    def __init__(
        self,
        measure: Callable[[], int],
        peak: Callable[[], int],
        reset_peak: Callable[[], object],
        taken: Callable[[], int],
        incoming: Callable[[], int],
        on_stubborn: Callable[[str], object],
    ) -> None:
        self.measure, self.peak, self.reset_peak, self.taken, self.incoming = measure, peak, reset_peak, taken, incoming
        self.on_begin: Callable[[], object] = lambda: None  # called in the executor's thread: now is the time to look
        self._on_stubborn = on_stubborn
        self._watch: Watch | None = None

    def begin(self, key: str, limit_nbytes: int) -> Watch:
        """This thread begins the call of `key`, alone; whoever calls this ends the watch."""
        watch = Watch(self, key, limit_nbytes)
        self.watch(watch)
        return watch

    def watch(self, watch: Watch) -> None:
        """From now on it is this call that runs alone: it begins, or goes on after it has waited for others."""
        self._watch = watch
        self.on_begin()

    def look(self, now: float) -> bool:
        """Judge the task that runs; whether there is one, so that it is worth while to look again in `LOOK_S`."""
        watch = self._watch
        if watch is None or not watch.look(now):
            return False
        if watch.raised_at is not None and now - watch.raised_at >= STUBBORN_S and not watch.is_told:
            watch.is_told = True
            self._on_stubborn(str(watch.error()))
        return True


class Watch:
    """One call of a task, from its beginning to its end.

    Attributes:
        raised_at: when the exception was raised in its thread.
        is_over: whether it passed the limit.
    """

    def __init__(self, limits: TaskLimits, key: str, limit_nbytes: int) -> None:
        self.key = key
        self.limit_nbytes = limit_nbytes
        self.used_nbytes = 0
        self.is_over = False
        self.is_told = False
        self.raised_at: float | None = None
        self._limits = limits
        self._looks_over = 0
        self._has_ended = False
        self._is_suspended = False
        self._own_nbytes = self._peak_nbytes = 0  # of the parts of the call before it waited
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self._taken_before = limits.taken()
        limits.reset_peak()
        self._nbytes_before = limits.measure()

    def look(self, now: float) -> bool:
        """Whether it still runs; if it does and is over its limit, it is interrupted, once."""
        nbytes = self._own_part(self._limits.measure())
        with self._lock:
            if self._has_ended:
                return False
            if self._is_suspended:
                return True
            self._looks_over = self._looks_over + 1 if nbytes > self.limit_nbytes else 0
            self.used_nbytes = max(self.used_nbytes, nbytes)
            if self._looks_over >= LOOKS_OVER and self.raised_at is None:
                self.is_over = True
                self.raised_at = now
                _raise_in(self._thread, OverLimit)
        return True

    def suspend(self) -> None:
        """The task waits, and others run: what the process takes from now on is theirs."""
        with self._lock:
            self._is_suspended = True
            self._peak_nbytes = max(self._peak_nbytes, self._own_part(self._limits.peak()))
            self._own_nbytes = self._own_part(self._limits.measure())

    def resume(self) -> None:
        """The task goes on, alone again, with what it had."""
        with self._lock:
            self._taken_before = self._limits.taken()
            self._limits.reset_peak()
            self._nbytes_before = self._limits.measure() - self._own_nbytes
            self._looks_over = 0
            self._is_suspended = False
        self._limits.watch(self)

    def end(self) -> None:
        """The call has ended: from now on it is not interrupted. In its thread; may be called again.

        Raises:
            OverLimit: it was interrupted so late that the call did not notice.
        """
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
        if self.raised_at is not None:
            _let_come()
        if not self.is_over:
            self.used_nbytes = max(self._peak_nbytes, self._own_part(self._limits.peak()))
            self.is_over = self.used_nbytes > self.limit_nbytes

    def error(self) -> MemoryLimitExceeded:
        """What the task fails with."""
        return MemoryLimitExceeded(self.key, self.limit_nbytes, self.used_nbytes)

    def _own_part(self, nbytes: int) -> int:
        """Of the memory of the process."""
        others = self._limits.taken() - self._taken_before + self._limits.incoming()
        return max(0, nbytes - self._nbytes_before - others)


def _raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise `error` in a thread at its next line of Python."""
    import ctypes  # lazy: 3 ms that need not stand before the first task

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _let_come() -> None:
    """Let an exception that is on its way to this thread arrive here, as the interpreter looks at every turn of a loop.

    It could be taken back; but then CPython 3.11 goes on looking for it all the time, and hangs under a profiler.
    """
    for _ in range(3):
        continue
