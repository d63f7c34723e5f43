"""How many calls of a Main may wait to be decided, and how many bytes of arguments; then whoever calls waits, too."""

from __future__ import annotations

import logging
import threading

from distributed.units import format_nbytes

__all__ = ["Backlog"]

logger = logging.getLogger(__name__)

LOOK_S = 0.1  # between two looks for Ctrl-C of a thread that waits


class Backlog:
    """See the module; any thread may use it.

    Args:
        calls_max, nbytes_max: bounds; one call is always let in.

    Attributes:
        calls, nbytes: that are not decided.
        waiting: threads that wait to get in.
    """

    def __init__(self, calls_max: int, nbytes_max: int) -> None:
        self.calls = 0
        self.nbytes = 0
        self._calls_max = calls_max
        self._nbytes_max = nbytes_max
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.waiting = 0
        self._was_said = False

    def enter(self, nbytes: int) -> None:
        """One call more; waits until there is room for it. Ctrl-C gets through, and then it was not let in."""
        with self._lock:
            if self._is_full(nbytes):
                self._say()
                self.waiting += 1
                try:
                    while self._is_full(nbytes):
                        self._changed.wait(LOOK_S)
                finally:
                    self.waiting -= 1
            self.calls += 1
            self.nbytes += nbytes

    def leave(self, nbytes: int) -> None:
        """One call less."""
        with self._lock:
            self.calls -= 1
            self.nbytes -= nbytes
            if self.waiting:
                self._changed.notify_all()

    def _is_full(self, nbytes: int) -> bool:
        return self.calls > 0 and (self.calls >= self._calls_max or self.nbytes + nbytes > self._nbytes_max)

    def _say(self) -> None:
        if not self._was_said:
            self._was_said = True
            logger.warning(
                "%s calls with %s of arguments wait for workers, as many as may: this call waits until some are done "
                "(setup(queued_calls_max=, queued_nbytes_max=) allows more)",
                f"{self.calls:,}",
                format_nbytes(self.nbytes),
            )
