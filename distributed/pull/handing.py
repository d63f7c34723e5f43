"""What a master does for a worker that asks for files, however it is asked: waits until there are some, and reads them.

Not here: which files these are, see `lending`; how they are sent, see `handlers` and `distributed.manager.server`.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from distributed.errors import HomeError
from distributed.pull.lending import Master
from distributed.recipes.home import Home
from distributed.recipes.leases import Lease
from distributed.recipes.reading import CHANGES, Source, read_whole

__all__ = ["PIECE_NBYTES", "WAIT_S_MAX", "cannot_read", "open_lease", "read_leases", "reading_threads", "wait_leases"]

PIECE_NBYTES = 1_048_576  # in memory per connection at once: two of them
THREADS = 8  # files that are read at the same time
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
        if leases or left_s <= 0 or master.leases.is_done:
            return leases
        await _wait_any([changed, gone], min(left_s, master.seconds_to_look()))
    return []


async def read_leases(master: Master, threads: ThreadPoolExecutor, leases: list[Lease]) -> list[tuple[Lease, bytes]]:
    """The contents of small files that could be read; the others are settled, or wait again."""
    paths, nbytes_max = [lease.path for lease in leases], master.config.BATCH_MAX_BYTES
    read = asyncio.get_running_loop().run_in_executor
    contents = await read(threads, _read_contents, master.home, paths, nbytes_max)
    files: list[tuple[Lease, bytes]] = []
    for lease, found in reversed(list(zip(leases, contents, strict=True))):
        if isinstance(found, bytes):
            files.append((lease, found))
        elif isinstance(found, int):  # it does not fit; being given back last, the first of them is the next in turn
            lease.nbytes = max(lease.nbytes, found)
            master.give_back(lease)
        else:
            cannot_read(master, lease, found)
    return files[::-1]


async def open_lease(master: Master, threads: ThreadPoolExecutor, lease: Lease) -> tuple[Source, bytes] | None:
    """A file that is sent piece by piece, and its first piece; None: it cannot be read, and is settled or waits again.

    A disk that is slow holds nobody else up: files are read in threads.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, _open_source, master.home, lease.path)
    except (OSError, HomeError) as error:
        cannot_read(master, lease, error)
        return None


def cannot_read(master: Master, lease: Lease, error: OSError | HomeError) -> str:
    """A file cannot be read, now (then it waits again) or ever; why."""
    if isinstance(error, HomeError) and error.reason == CHANGES:
        master.give_back(lease, CHANGES)
        return CHANGES
    reason = error.reason if isinstance(error, HomeError) else error.strerror or str(error)
    master.file_unreadable(lease.path, reason)
    return reason


def reading_threads() -> ThreadPoolExecutor:
    """Where files are read."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="reading")


def _open_source(home: Home, path: str) -> tuple[Source, bytes]:
    source = Source(home.open(path), PIECE_NBYTES)
    try:
        return source, source.next_piece()
    except BaseException:
        source.close()
        raise


def _read_contents(home: Home, paths: list[str], nbytes_max: int) -> list[bytes | int | OSError | HomeError]:
    """Of files in their order, as long as they fit together: the content; or how big it is; or why it is not read."""
    contents: list[bytes | int | OSError | HomeError] = []
    for path in paths:
        try:
            with home.open(path) as file:
                nbytes, content = read_whole(file, nbytes_max)
        except (OSError, HomeError) as error:
            contents.append(error)
            continue
        contents.append(nbytes if content is None else content)
        nbytes_max -= len(content or b"")
    return contents


async def _wait_any(events: list[asyncio.Event], seconds: float) -> None:
    """Until one of them is set, or so long."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
