"""What a master does for a worker that asks for files, however it is asked: waits until there are some, and reads them.

Not here: which files these are, see `lending`; how they are sent, see `handlers` and `distributed.manager.server`.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from distributed.errors import HomeError
from distributed.pull.lending import Master
from distributed.pull.reading import CHANGES, read_contents
from distributed.recipes.leases import Lease

__all__ = ["WAIT_S_MAX", "cannot_read", "read_leases", "wait_leases"]

WAIT_S_MAX = 60.0  # that a worker may let us wait for files that others have


async def wait_leases(
    master: Master, name: str, files_max: int, until: float, gone: asyncio.Event | None = None
) -> list[Lease]:
    """Files for a worker, as soon as there are any; none: others have all until then, or nothing is left.

    Args:
        until: monotonic seconds.
        gone: set when the worker does not want them any more.
    """
    gone = gone or asyncio.Event()
    while not gone.is_set():
        changed = master.changed
        leases = master.take(name, files_max, master.config.BATCH_MAX_BYTES)
        left_s = until - time.monotonic()
        if leases or left_s <= 0 or not master.has_processing_files():
            return leases
        soon_s = master.seconds_to_timeout()
        await _wait_any([changed, gone], left_s if soon_s is None else min(left_s, soon_s + 0.001))
    return []


async def read_leases(master: Master, threads: ThreadPoolExecutor, leases: list[Lease]) -> list[tuple[Lease, bytes]]:
    """The contents of small files that could be read; the others are settled, or wait again."""
    read = asyncio.get_running_loop().run_in_executor
    paths, nbytes_max = [lease.path for lease in leases], master.config.BATCH_MAX_BYTES
    contents = await read(threads, read_contents, master.home, paths, nbytes_max)
    files: list[tuple[Lease, bytes]] = []
    for lease, found in reversed(list(zip(leases, contents, strict=True))):
        if found.content is not None:
            files.append((lease, found.content))
        elif found.error is not None:
            master.file_unreadable(found.path, found.error)
        else:  # what does not fit becomes the next in turn: being given back last, the first of them is the first
            lease.nbytes = max(lease.nbytes, found.nbytes)
            master.give_back(lease, CHANGES if found.is_changing else None)
    return files[::-1]


def cannot_read(master: Master, lease: Lease, error: OSError | HomeError) -> str:
    """A file cannot be read, now (then it waits again) or ever; why."""
    if isinstance(error, HomeError) and error.reason == CHANGES:
        master.give_back(lease, CHANGES)
        return CHANGES
    reason = error.reason if isinstance(error, HomeError) else error.strerror or str(error)
    master.file_unreadable(lease.path, reason)
    return reason


async def _wait_any(events: list[asyncio.Event], seconds: float) -> None:
    """Until one of them is set, or so long."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
