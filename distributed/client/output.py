"""Shows what tasks print: in a thread of its own, since a terminal, a pipe or a function of yours may make it wait."""

from __future__ import annotations

import builtins
import contextlib
import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.errors import ConfigError
from distributed.messages import KeysPrinted

__all__ = ["Printer"]

logger = logging.getLogger(__name__)

WAITING_NBYTES_MAX = 16 * 2**20  # of what comes faster than it can be shown; more is left out
CLOSE_S = 2.0  # for the last lines to be shown

Show = Callable[[str, str, str], object]


class Printer:
    """What becomes of the output of tasks.

    Args:
        output: ``'print'``: to stdout and stderr here, each line with its key; ``'ignore'``: nothing; or a function,
            called as ``output(key, stream, text)``: stream is ``'stdout'``, ``'stderr'`` or ``'warning'``, and text is
            one or more whole lines.
    Raises:
        ConfigError: something else.
    """

    def __init__(self, output: str | Show) -> None:
        if output not in ("print", "ignore") and not callable(output):
            raise ConfigError("output", output, "it is 'print', 'ignore', or a function of key, stream and text")
        self._show: Show | None = None if output == "ignore" else output if callable(output) else show
        self._waiting: deque[tuple[str, str, str]] = deque()
        self._nbytes = self._omitted = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def is_used(self) -> bool:
        """Whether anything was ever shown, so that `close` may have to wait."""
        return self._thread is not None

    def take(self, message: KeysPrinted) -> None:
        """Show this soon; on the loop."""
        if self._show is None:
            return
        with self._changed:
            for entry in zip(message.keys, message.streams, message.texts, strict=True):
                if self._nbytes > WAITING_NBYTES_MAX:
                    self._omitted += entry[2].count("\n")
                    continue
                self._waiting.append(entry)
                self._nbytes += len(entry[2])
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._main, name="distributed-output", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Show what is there, and end; blocks for 2 s at most, while a slow function or terminal takes it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    def _main(self) -> None:
        assert self._show is not None
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                entries, omitted = list(self._waiting), self._omitted
                self._waiting.clear()
                self._nbytes = self._omitted = 0
            if omitted:
                text = f"... {omitted:,} lines left out, which came faster than they could be shown\n"
                entries.append((entries[-1][0], "stderr", text))
            for entry in entries:
                try:
                    self._show(*entry)
                except Exception:  # a user's function, or a stdout that is gone: there is nobody above to tell
                    logger.exception("output of %s could not be shown", entry[0])


def show(key: str, stream: str, text: str) -> None:
    """Print every line with its key; a warning is warned of."""
    if stream == "warning":
        for line in text.splitlines():
            name, _, message = line.partition(": ")
            warnings.warn_explicit(message, _category(name), f"[{key}]", 0)
        return
    file: Any = sys.stderr if stream == "stderr" else sys.stdout
    if file is None:  # a program without a terminal
        return
    with contextlib.suppress(BrokenPipeError):  # whoever read it has left
        file.write("".join([f"[{key}] {line}\n" for line in text.splitlines()]))
        file.flush()


def _category(name: str) -> type[Warning]:
    category = getattr(builtins, name, None)
    return category if isinstance(category, type) and issubclass(category, Warning) else UserWarning
