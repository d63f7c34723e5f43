"""How calls that block wait inside tasks: the slot is lent to others meanwhile, see `distributed.worker.context`.

Whatever a client waits for that other tasks have to do goes through here, or through `wait_lent` itself.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterable
from typing import Any

from distributed.client.records import KeyRecord, Status
from distributed.errors import SelfWaitError
from distributed.worker.context import current_key, wait_lent

__all__ = ["get_lent", "refuse_own", "run_lent"]


def refuse_own(records: Iterable[KeyRecord]) -> None:
    """SelfWaitError for a task that would wait for its own result."""
    key = current_key()
    if key is not None and any(record.key == key and record.status is Status.PENDING for record in records):
        raise SelfWaitError(key)


def get_lent(arrivals: queue.SimpleQueue[Any], timeout_s: float | None) -> Any:
    """The next entry. Raises `queue.Empty` when time is up first."""
    found: list[Any] = []

    def wait(part_s: float | None) -> bool:
        try:
            found.append(arrivals.get(timeout=part_s))
        except queue.Empty:
            return False
        return True

    if not wait_lent(wait, timeout_s):
        raise queue.Empty
    return found[0]


def run_lent(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], timeout_s: float | None = None
) -> Any:
    """Run a coroutine that waits for others, such as for a lock, on a client's loop, and wait for it in this thread.

    Raises:
        TimeoutError: it took longer; it is cancelled then, as it is by Ctrl-C.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    ended = threading.Event()
    future.add_done_callback(lambda future: ended.set())
    try:
        if not wait_lent(ended.wait, timeout_s):
            raise TimeoutError(f"not done within {timeout_s:g} s")
        return future.result()
    except BaseException:
        future.cancel()
        raise
    finally:
        del future  # it holds the exception, whose traceback holds this frame
