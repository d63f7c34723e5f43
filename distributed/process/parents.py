"""Ending with whoever started this process, when it cannot say so itself: it was killed, or we do not listen."""

from __future__ import annotations

import os
import threading
import time

__all__ = ["end_with_parent"]

WATCH_S = 1.0  # between two looks at who our parent is


def end_with_parent(parent: int) -> None:
    """End this process at once when `parent` is its parent no more, whatever its other threads do by then.

    For processes that run users' code, which may never come back to see that nobody wants its result.
    """
    threading.Thread(target=_watch, args=(parent,), name="distributed-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)
