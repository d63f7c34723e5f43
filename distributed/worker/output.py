"""What tasks write to stdout, stderr, warnings and logs: taken where it is written, and sent with the task's key.

In a process with a worker `sys.stdout` and `sys.stderr` are streams of ours. What a task writes goes to the scheduler,
and on to the clients that want it; what any other thread writes goes on untouched. A task that writes nothing costs
nothing. What is written below Python (by C code, by other programs) stays in the process's own files.

With a nanny what goes to stderr is written there too, marked: so it is in the death certificate of a process that ends
before it could send anything. Not here: bounds and lines (`printing`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from distributed.messages import Message, TasksPrinted
from distributed.worker.context import TaskContext, current, sheltered
from distributed.worker.printing import Lines

__all__ = ["FORWARDED", "STDERR", "STDOUT", "WARNING", "TaskOutput", "output_of"]

STDOUT, STDERR, WARNING = "stdout", "stderr", "warning"
FORWARDED = "\x1e"  # begins a line of stderr that has been sent already: the nanny keeps it and shows it to nobody
FLUSH_S = 0.1  # after the first line that waits, if no task ends before


class TaskOutput:
    """What the tasks of one worker write.

    Args:
        send: sends a message to the scheduler, on the running loop.

    Attributes:
        has_any: whether `flush` has something to do.
    """

    def __init__(self, send: Callable[[Message], object]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._lines = Lines()
        self._lock = threading.RLock()  # an object that prints when it is collected may do so while we hold it
        self._is_inside = False
        self._is_planned = False  # a flush is coming, or somebody is about to ask for one
        self._timer: asyncio.TimerHandle | None = None
        self._echo = False
        self._is_open = False
        self.has_any = False

    def open(self, is_guarded: bool) -> None:
        """Take what tasks write from now on.

        Args:
            is_guarded: a nanny reads this process's stderr.
        """
        self._is_open, self._echo = True, is_guarded
        _streams.install()

    def close(self) -> None:
        """Send what is there, and take nothing any more. May be called again."""
        if not self._is_open:
            return
        self.flush(is_last=True)
        self._is_open = False
        _streams.remove()
        if self._timer is not None:
            self._timer.cancel()

    def write(self, context: TaskContext, stream: str, text: str) -> bool:
        """The task of `context` writes `text`; any thread. False: it is to be written where everybody else writes."""
        task = context.task
        if task is None or task.ticket < 0 or not self._is_open or _streams.is_forked:
            return False
        with sheltered():  # a task that prints without end is cancelled in here, as likely as not
            with self._lock:
                if self._is_inside:
                    return False
                self._is_inside = True
                try:
                    kept = self._lines.write(task.key, stream, text, time.monotonic())
                finally:
                    self._is_inside = False
            if kept and self._echo and stream == STDERR:
                _streams.echo(kept)
            if not text.endswith("\n"):
                self._end_with(context, task.key)
            self._wake()
            return True

    def _end_with(self, context: TaskContext, key: str) -> None:
        """When the call ends, so does the line that it has begun."""
        if context.at_end is None:
            context.at_end = []
        if not any(type(wish) is _EndLines for wish in context.at_end):
            context.at_end.append(_EndLines(self, key))

    def end_lines(self, key: str) -> None:
        """Task `key` has ended; any thread."""
        with self._lock:
            self._lines.end([key], time.monotonic())
        self._wake()  # what else it wrote may have left before

    def _wake(self) -> None:
        """Something was added; any thread. In this order: a flush clears both flags before it takes what is there."""
        self.has_any = True
        if self._is_planned:
            return
        self._is_planned = True
        try:
            self._loop.call_soon_threadsafe(self._plan)
        except RuntimeError:  # the loop has ended while a task was running: nobody is left to tell
            return

    # ------------------------------------------------------------ loop

    def _plan(self) -> None:
        if self._timer is None and self._is_open:
            self._timer = self._loop.call_later(FLUSH_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def flush(self, is_last: bool = False) -> None:
        """Send what has been written; before the results of tasks that have ended."""
        self.has_any = self._is_planned = False
        with self._lock:
            printed = self._lines.take(time.monotonic(), is_last)
            is_more = bool(self._lines.omitted)
        if printed:
            keys, streams, texts = zip(*printed, strict=True)
            self._send(TasksPrinted(list(keys), list(streams), list(texts)))
        if is_more and not is_last:
            self._wake()


class _EndLines:
    __slots__ = ("_key", "_output")

    def __init__(self, output: TaskOutput, key: str) -> None:
        self._output, self._key = output, key

    def __call__(self) -> None:
        self._output.end_lines(self._key)


def output_of(context: TaskContext | None) -> TaskOutput | None:
    """Where what is written in `context` goes; None: where everybody writes."""
    return None if context is None else getattr(context.owner, "output", None)


# ---------------------------------------------------------------- the streams of the process


class _TaskStream:
    """In the place of `sys.stdout` or `sys.stderr`; in all but writing it is the stream that was there."""

    def __init__(self, original: Any, name: str) -> None:
        self._original = original
        self._name = name

    def write(self, text: str) -> int:
        """Write `text`: the task that runs in this thread, or the thread itself."""
        context = current()
        output = output_of(context)
        if output is None or context is None or not isinstance(text, str):
            return int(self._original.write(text))  # which knows what to say of what is no text
        if not output.write(context, self._name, text):
            return int(self._original.write(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __iter__(self) -> Any:
        return iter(self._original)

    def __repr__(self) -> str:
        return f"<{self._name} of tasks, else {self._original!r}>"


class _LastResort(logging.Handler):
    """Where log records go that no handler takes: of a task, with level and logger, to its stderr."""

    def __init__(self, original: logging.Handler | None) -> None:
        super().__init__(logging.WARNING if original is None else original.level)
        self._original = original
        self.setFormatter(logging.Formatter("%(levelname)s:%(name)s: %(message)s"))

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand it on."""
        context = current()
        output = output_of(context)
        if context is not None and output is not None:
            try:
                text = self.format(record)
            except Exception:  # arguments that do not fit their format: `logging` says so, and goes on
                self.handleError(record)
                return False
            if output.write(context, STDERR, f"{text}\n"):
                return True
        return bool(self._original is not None and self._original.handle(record))


class _Streams:
    """Installed once in a process, for as long as it has workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before: tuple[Any, Any, Any] = (None, None, None)
        self._ours: tuple[Any, Any, Any] = (None, None, None)
        self.is_forked = False  # in a child that a task has forked: there nobody sends anything
        os.register_at_fork(after_in_child=self._after_fork)

    def install(self) -> None:
        with self._lock:
            self._count += 1
            if self._count > 1:
                return
            self.is_forked = False
            self._before = sys.stdout, sys.stderr, logging.lastResort
            self._ours = (
                _TaskStream(sys.stdout, STDOUT), _TaskStream(sys.stderr, STDERR), _LastResort(logging.lastResort)
            )  # fmt: skip
            sys.stdout, sys.stderr, logging.lastResort = self._ours

    def _after_fork(self) -> None:
        """The lock may be held by a thread that is not here; a child that starts workers itself installs anew."""
        self._lock = threading.Lock()
        if self._count:
            self._count, self.is_forked = 0, True
            self._put_back()

    def remove(self) -> None:
        """Put back what was there, unless somebody else has put something there meanwhile."""
        with self._lock:
            self._count -= 1
            if not self._count:
                self._put_back()

    def _put_back(self) -> None:
        if sys.stdout is self._ours[0]:
            sys.stdout = self._before[0]
        if sys.stderr is self._ours[1]:
            sys.stderr = self._before[1]
        if logging.lastResort is self._ours[2]:
            logging.lastResort = self._before[2]

    def echo(self, pieces: list[str]) -> None:
        """Write lines to the process's own stderr, marked, in one go."""
        lines = "".join(pieces).splitlines()
        try:
            self._before[1].write("".join([f"{FORWARDED}{line}\n" for line in lines]))
            self._before[1].flush()
        except (OSError, ValueError):  # the nanny is gone, or the stream was closed: it is only a copy
            return


_streams = _Streams()
