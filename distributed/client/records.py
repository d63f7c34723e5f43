"""What a client knows of its keys: one record per key, and how others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

from distributed.messages import Failure, Payload

__all__ = ["KeyRecord", "Latch", "Status"]


class Status(Enum):
    """State of a key, with the name users know as its value."""

    PENDING = "pending"
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"
    LOST = "lost"


class KeyRecord:
    """One key that somebody here holds.

    Attributes:
        holders: futures and sequences that refer to it; at 0 it is released. Changed under the session's lock.
        payload: the small result, only when FINISHED and sent inline; None: ask the workers.
        failure: only when ERROR.
        reason: only when CANCELLED, and when LOST because the scheduler has forgotten us.
        is_cancelling: only when PENDING: somebody here asked to cancel it, so only the answer to that decides it.
        is_unsent: only when FINISHED or ERROR: the scheduler does not know it; it could not be sent, or
            was sent to another scheduler.
        data: keys of big arguments that this call holds until it is released, see `client.moving`; None: none.
        waiters: called with the record, once, on the loop, when it is no longer PENDING; None: nobody waits.
    """

    __slots__ = (
        "data",
        "failure",
        "holders",
        "is_cancelling",
        "is_unsent",
        "key",
        "payload",
        "reason",
        "status",
        "waiters",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.holders = 1
        self.status = Status.PENDING
        self.payload: Payload = None
        self.failure: Failure | None = None
        self.reason = ""
        self.is_cancelling = False
        self.is_unsent = False
        self.data: list[str] | None = None
        self.waiters: list[Callable[[KeyRecord], Any]] | None = None


class Latch:
    """Opens when `count` records have settled; may be waited for by a thread.

    Records settle on the loop while the thread that waits finds out how many had settled before: each has its count.
    """

    __slots__ = ("_event", "_settled", "_skipped", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        self._settled = self._skipped = 0
        self._event = threading.Event()
        if count <= 0:
            self._event.set()

    def settle(self, record: KeyRecord) -> None:
        """A waiter, on the loop: count one record."""
        self._settled += 1
        if self._settled + self._skipped >= self.count:
            self._event.set()

    def skip(self, count: int) -> None:
        """In the thread that waits, once: so many had settled before, and do not call `settle`."""
        self._skipped = count
        if self._settled + self._skipped >= self.count:
            self._event.set()

    def wait(self, timeout_s: float | None) -> bool:
        """Block this thread until open; False when time is up first. Ctrl-C gets through."""
        return self._event.wait(timeout_s)
