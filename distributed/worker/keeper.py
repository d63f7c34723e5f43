"""The hands of the memory machine: measures, writes results to disk off the loop, pauses the executor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from distributed.config import settings
from distributed.driver import Driver
from distributed.units import format_nbytes
from distributed.worker.limits import LOOK_S, TaskLimits
from distributed.worker.measure import collect_and_trim, peak_nbytes, process_nbytes, reset_peak
from distributed.worker.memory import Levels, Look, Measure, Measured, MemoryMachine, Pause, Spill, SpillEnded, Trim
from distributed.worker.rescue import RescueLog
from distributed.worker.spill import Disk, Spilled
from distributed.worker.store import Lent, Store, payload_of

__all__ = ["MemoryKeeper", "memory_levels"]

logger = logging.getLogger(__name__)

KEPT_SHARE = 0.01  # of the limit: so much more kept since the last look, and it is time for the next
CLOSE_TIMEOUT_S = 5.0  # for a write that is under way, and for the files to be removed


def memory_levels(limit_nbytes: int | None) -> Levels | None:
    """Thresholds for a process with this limit, as the settings of this process have them; None: it has no limit."""
    if not limit_nbytes:
        return None
    given = settings()
    return Levels.of(
        limit_nbytes,
        given.memory_target_fraction,
        given.memory_spill_fraction,
        given.memory_pause_fraction,
        given.memory_terminate_fraction,
    )


class MemoryKeeper:
    """Keeps the results of one worker, in memory and on disk.

    Args:
        disk: where results go that memory has no room for.
        levels: what to do at which size; None: the worker has no limit, and nothing is ever written.
        owns_process: whether the memory of this process is the worker's. Else only results are counted, and limits of
            single tasks are not watched.
    Attributes:
        store: the results.
        rescue: told what of them cannot be computed again.
        limits: watches tasks with a limit of their own; None if the process is not ours.
        on_stubborn: told about a task over its limit that cannot be interrupted, for people; the process should end.
    """

    def __init__(self, disk: Disk, levels: Levels | None, owns_process: bool = True) -> None:
        self.store = Store(self._remove)
        self.store.on_spilled = lambda key, spilled: self.rescue.spilled(key, spilled)
        self.rescue = RescueLog(None)
        self.on_stubborn: Callable[[str], object] = lambda text: logger.error("%s; it cannot be interrupted", text)
        self.limits: TaskLimits | None = None
        if owns_process:
            self.limits = TaskLimits(
                process_nbytes,
                peak_nbytes,
                reset_peak,
                lambda: self.store.taken_nbytes,
                lambda: self._incoming(),
                lambda text: self.on_stubborn(text),
            )
        self._incoming: Callable[[], int] = lambda: 0
        self._disk = disk
        self._levels = levels
        self._owns_process = owns_process
        self._pool = ThreadPoolExecutor(1, "distributed-spill")  # one thread: disks do not like more
        self._writing: dict[int, Future[Spilled]] = {}  # {ticket: its write}
        self._disk_works = True
        self._added_before = 0
        self._is_closed = False
        self._driver: Driver | None = None
        self._limit_timer: asyncio.TimerHandle | None = None

    def start(
        self,
        set_paused: Callable[[bool], object],
        on_pause: Callable[[bool], object],
        incoming: Callable[[], int],
        on_failure: Callable[[BaseException], object],
    ) -> None:
        """Begin to look, on the running loop.

        Args:
            set_paused: holds the executor's threads back, or not; any thread.
            on_pause: tells the scheduler.
            incoming: bytes of copies that may be arriving; any thread.
            on_failure: told of faults of ours.
        """
        self._loop = asyncio.get_running_loop()
        self._set_paused, self._on_pause, self._incoming = set_paused, on_pause, incoming
        if self.limits is not None:
            self.limits.on_begin = lambda: self._call_soon(self._watch_task)
        if self._levels is None:
            return
        self._machine = MemoryMachine(self._levels)
        self._driver = Driver(self._machine, {
            Measure: lambda effect: self._measure(),
            Spill: lambda effect: self._spill(effect.nbytes),
            Trim: lambda effect: self._trim(),
            Pause: self._pause,
        }, Look, on_failure)  # fmt: skip
        self._driver.handle(Look())

    @property
    def is_paused(self) -> bool:
        """Whether memory is short, so that no task begins."""
        return self._driver is not None and self._machine.is_paused

    def keep(self, keys: list[str], values: list[Any], nbytes: list[int]) -> None:
        """Put these into the store, and look at once if it was much. Loop thread."""
        self.rescue.drop(keys)
        self.store.put_columns(keys, values, nbytes)
        if self._driver is not None and self._levels is not None:
            added = self.store.added_nbytes - self._added_before
            if added > KEPT_SHARE * self._levels.limit_nbytes:
                self._driver.handle(Look())

    def drop(self, keys: list[str]) -> None:
        """Take these out of the store. Loop thread."""
        self.rescue.drop(keys)
        self.store.drop(keys)

    def after_big(self) -> None:
        """A task made much: hold its thread back right now if there is no room, and look. Executor threads."""
        levels = self._levels
        if levels is None or not levels.pause_nbytes or not self._owns_process or self._driver is None:
            return
        if process_nbytes() > levels.pause_nbytes:
            self._set_paused(True)  # the machine has the last word, see _measure
            self._call_soon(self._driver.handle, Look())

    def metrics(self) -> dict[str, float]:
        """Numbers for heartbeats: bytes managed in memory, spilled to disk, of the process; whether it is paused."""
        return {
            "memory_nbytes": float(process_nbytes()),
            "managed_nbytes": float(self.store.managed_nbytes),
            "spilled_nbytes": float(self.store.spilled_nbytes),
            "is_paused": float(self.is_paused),
        }

    async def close(self) -> None:
        """Write nothing more, and remove all files."""
        self._is_closed = True
        self.rescue.close()
        if self._driver is not None:
            self._driver.stop()
        if self._limit_timer is not None:
            self._limit_timer.cancel()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.get_running_loop().run_in_executor(None, self._close)
        except TimeoutError:
            logger.error("the disk with spilled results does not answer; its files may stay")

    # ------------------------------------------------------------ performing

    def _measure(self) -> None:
        assert self._driver is not None
        store = self.store
        self._added_before = store.added_nbytes
        managed = store.managed_nbytes
        process = process_nbytes() if self._owns_process else managed
        self._driver.handle(Measured(process, managed, store.spilling_nbytes, store.spillable_nbytes))
        self._loop.call_soon(self._settle_pause)

    def _settle_pause(self) -> None:
        """After the machine has decided: threads that `after_big` held back may go on unless it agrees."""
        if not self._is_closed:
            self._set_paused(self._machine.is_paused)

    def _pause(self, effect: Pause) -> None:
        size = format_nbytes(effect.process_nbytes)
        if effect.paused:
            logger.info("paused: %s of memory used; no task begins until some is free", size)
        elif effect.is_stuck:
            logger.warning("going on with %s of memory used: nothing more can be written to disk or freed", size)
        else:
            logger.info("going on: %s of memory used", size)
        self._set_paused(effect.paused)
        self._on_pause(effect.paused)

    def _trim(self) -> None:
        self.store.forget_payloads()
        self._pool.submit(collect_and_trim)

    def _spill(self, nbytes: int) -> None:
        for lent in self.store.choose(nbytes):
            writing = self._writing[lent.ticket] = self._pool.submit(self._write, lent)
            writing.add_done_callback(partial(self._call_soon, self._on_written, lent.key, lent.ticket))

    def _write(self, lent: Lent) -> Spilled:
        """In the thread of the disk."""
        return self._disk.write(lent.key, payload_of(lent))

    def _on_written(self, key: str, ticket: int, writing: Future[Spilled]) -> None:
        del self._writing[ticket]
        if writing.cancelled():
            self.store.take_back(key, ticket, False)
        elif (error := writing.exception()) is None:
            self.store.settle(key, ticket, writing.result())
            if not self._disk_works:
                self._disk_works = True
                logger.info("results are written to disk again")
        elif isinstance(error, OSError):
            self.store.take_back(key, ticket, False)
            self._on_disk_full(error)
        else:
            logger.info("the result of %s stays in memory: %s", key, error)
            self.store.take_back(key, ticket, True)
        if not self._writing and self._driver is not None:
            self._driver.handle(SpillEnded(not self._disk_works))
            self._driver.handle(Look())

    def _on_disk_full(self, error: OSError) -> None:
        if self._disk_works:
            self._disk_works = False
            logger.error("results cannot be written to disk, so they stay in memory for now: %s", error)
        for writing in list(self._writing.values()):
            writing.cancel()  # what has not begun would fare no better

    def _remove(self, spilled: Spilled) -> None:
        """Any thread, also with the lock of the store. After closing, the whole folder goes."""
        if not self._is_closed:
            self._pool.submit(self._disk.remove, spilled)

    def _close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._disk.close()

    # ------------------------------------------------------------ limits of tasks

    def _watch_task(self) -> None:
        if self._limit_timer is not None:
            self._limit_timer.cancel()
            self._limit_timer = None
        if self.limits is not None and not self._is_closed and self.limits.look(self._loop.time()):
            self._limit_timer = self._loop.call_later(LOOK_S, self._watch_task)

    def _call_soon(self, call: Callable[..., object], *args: Any) -> None:
        if self._is_closed:
            return
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop has ended while a thread was at work: nobody is left to tell
            return
