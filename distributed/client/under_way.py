"""The calls of an executor that are under way, and the thread that brings their results.

A result is fetched as soon as it exists, so a future that is done has its value, and needs its cluster no more. One
thread per executor sets results and runs callbacks; it is there while a call is under way, and a moment longer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from functools import partial
from typing import Any

from distributed.client.records import KeyRecord, Status
from distributed.client.session import Session
from distributed.errors import (
    CancelledError,
    CommClosedError,
    ExecutorBrokenError,
    ExecutorClosedError,
    UnpicklableError,
)
from distributed.messages import CancelQueued

__all__ = ["ExecutorFuture", "UnderWay", "finish_all"]

CALLBACKS_S = 0.1  # for callbacks that run while the loop is blocked; they could need the loop themselves
LINGER_S = 1.0  # the thread waits so long for another call before it ends; starting one takes 0.1 ms
BATCH_COUNT_MAX = 1000  # results set in one go: a few ms, after which others see what is left
FETCHES_MAX = 32  # results that are fetched from workers at once

_alive: weakref.WeakSet[UnderWay] = weakref.WeakSet()


class ExecutorFuture(futures.Future[Any]):
    """A `concurrent.futures.Future` of a call on a cluster.

    Attributes:
        key: of the task.
    """

    def __init__(self, under_way: UnderWay, record: KeyRecord) -> None:
        super().__init__()
        self.key = record.key
        self._under_way = under_way
        self._record: KeyRecord | None = record  # until it is done; held as long

    def cancel(self) -> bool:
        """Stop the call, also one that runs, as far as it can be stopped; False: it was done."""
        self._under_way.cancel([self])
        return self.cancelled()

    def __reduce__(self) -> Any:
        raise UnpicklableError(
            "a future", type(self).__name__, "pass its result, or use Client.submit, whose futures can"
        )


_Arrival = tuple[ExecutorFuture, futures.Future[Any] | None]  # what is decided, and its result if it was fetched


class UnderWay:
    """See the module. Its methods are called from any thread.

    Args:
        is_awaited: a program that ends waits for these calls, see `finish_all`.
    """

    def __init__(self, session: Session, is_awaited: bool = True) -> None:
        self._session = session
        self._changed = threading.Condition()
        self._waiting: dict[ExecutorFuture, None] = {}  # not decided: whoever takes one out decides it
        self._open = 0  # those whose callbacks have not come to an end
        self._thread: threading.Thread | None = None
        self._arrivals: queue.SimpleQueue[_Arrival | None] = queue.SimpleQueue()
        self._fetches = asyncio.Semaphore(FETCHES_MAX)
        self._is_closed = False
        self._broken = ""
        self._at_end: Callable[[], object] | None = None
        if is_awaited:
            _alive.add(self)

    # ------------------------------------------------------------ calls

    def check_open(self) -> None:
        """Raises ExecutorClosedError after `close`, ExecutorBrokenError after an initializer raised."""
        if self._broken:
            raise ExecutorBrokenError(self._broken)
        if self._is_closed:
            raise ExecutorClosedError("cannot schedule new futures after shutdown: make a new executor")

    def add(self, records: Sequence[KeyRecord]) -> list[ExecutorFuture]:
        """A future for each of these, which have just been submitted and are held. Raises as `check_open`."""
        added = [ExecutorFuture(self, record) for record in records]
        with self._changed:
            self.check_open()
            if self._thread is None:
                thread = threading.Thread(target=self._deliver, name="distributed-executor", daemon=True)
                thread.start()  # which raises when the interpreter ends: then nothing has changed
                self._thread = thread
            self._waiting.update(dict.fromkeys(added))
            self._open += len(added)
        arrivals, add_waiter = self._arrivals, self._session.table.add_waiter
        for future, record in zip(added, records, strict=True):
            add_waiter(record, partial(_arrive, arrivals, future))
        return added

    def cancel(self, cancelled: Iterable[ExecutorFuture]) -> None:
        """Cancel those that are not done; the scheduler is told at once of all."""
        with self._changed:
            mine = [future for future in cancelled if self._waiting.pop(future, self) is None]
        if not mine:
            return
        records = [record for future in mine if (record := future._record) is not None]
        if self._session.link.end is None:
            self._session.cancel(records, False, None)
        self._session.release([record.key for record in records])
        for future in mine:
            _end_cancelled(future)
        self._ended(len(mine))
        self._arrivals.put(None)  # so that the thread sees whether something is left

    def cancel_all(self) -> None:
        """Cancel all that are not done."""
        with self._changed:
            waiting = list(self._waiting)
        self.cancel(waiting)

    def is_own_thread(self) -> bool:
        """Whether a callback of one of these calls asks."""
        return self._thread is threading.current_thread()

    def count(self) -> int:
        """How many are not done."""
        return len(self._waiting)

    # ------------------------------------------------------------ the end

    def close(self, cancel_queued: bool) -> None:
        """Take no more calls; cancel those that no worker has, if wanted."""
        with self._changed:
            self._is_closed = True
            self._arrivals.put(None)  # so that the thread sees it
            queued = [future.key for future in self._waiting] if cancel_queued else []
        if queued:
            link = self._session.link
            with self._session.table.lock:  # it guards the order of what is sent
                if link.end is None:
                    link.outbox.append(CancelQueued(queued))
            link.wake()

    def wait_idle(self) -> None:
        """Until all calls are done and their callbacks have run.

        Raises:
            RuntimeError: in such a callback, or on the client's own loop.
        """
        if self.is_own_thread():
            raise RuntimeError("a callback cannot wait for the end of its own executor: use shutdown(wait=False)")
        with self._changed:
            if not self._waiting:  # what was awaited on the loop is done a moment before its callbacks are
                self._changed.wait_for(lambda: not self._open, CALLBACKS_S)
            is_idle = not self._open
        if not is_idle:
            self._session.refuse_on_loop()
        with self._changed:
            self._changed.wait_for(lambda: not self._open)

    def when_idle(self, function: Callable[[], object]) -> None:
        """Call `function` once all calls are done, in a thread; returns at once."""
        with self._changed:
            if self._open:
                self._at_end = function
                return
        _run_aside(function)

    # ------------------------------------------------------------ results

    def _deliver(self) -> None:
        while True:
            try:
                patience_s = None if self._waiting else 0.0 if self._is_closed else LINGER_S
                arrived = [self._arrivals.get(timeout=patience_s)]
            except queue.Empty:
                with self._changed:
                    if not self._waiting:
                        self._thread = None
                        return
                continue
            while len(arrived) < BATCH_COUNT_MAX and not self._arrivals.empty():
                arrived.append(self._arrivals.get())
            self._settle([arrival for arrival in arrived if arrival is not None])
            del arrived  # or the last results would live as long as this thread

    def _settle(self, arrived: list[_Arrival]) -> None:
        """These calls are decided: set results that are here, have others fetched."""
        ready: list[tuple[ExecutorFuture, KeyRecord, futures.Future[Any] | None]] = []
        for future, fetched in arrived:
            record = future._record
            if record is None:  # cancelled meanwhile
                continue
            # PENDING: lost since, and computed again.
            is_elsewhere = record.status in (Status.FINISHED, Status.PENDING) and record.payload is None
            if is_elsewhere and fetched is None and self._begin_fetching(future, record):
                continue
            ready.append((future, record, fetched))
        with self._changed:  # those that are left were cancelled meanwhile
            ready = [entry for entry in ready if self._waiting.pop(entry[0], self) is None]
        try:
            for future, record, fetched in ready:
                self._decide(future, record, fetched)
        finally:
            self._session.release([record.key for _, record, _ in ready])
            self._ended(len(ready))

    def _begin_fetching(self, future: ExecutorFuture, record: KeyRecord) -> bool:
        """Whether the result is on its way; False: the client has ended."""
        fetching = self._fetch(record)
        try:
            self._session.check_open()
            fetched = asyncio.run_coroutine_threadsafe(fetching, self._session.loop)
        except (CommClosedError, RuntimeError):  # closed, the loop too perhaps
            fetching.close()
            return False
        fetched.add_done_callback(lambda done: self._arrivals.put((future, done)))
        return True

    async def _fetch(self, record: KeyRecord) -> Any:
        async with self._fetches:
            return (await self._session.fetch([record]))[record.key]

    def _decide(self, future: ExecutorFuture, record: KeyRecord, fetched: futures.Future[Any] | None) -> None:
        value, error = self._outcome(record, fetched)
        if isinstance(error, CancelledError):  # by somebody else
            _end_cancelled(future)
            return
        _end(future, value, error)
        if isinstance(error, ExecutorBrokenError):
            self._break(error)

    def _outcome(self, record: KeyRecord, fetched: futures.Future[Any] | None) -> tuple[Any, BaseException | None]:
        # Without raising what the call raised: its traceback would hold this thread's frames, and their futures.
        if fetched is not None:
            error = CancelledError() if fetched.cancelled() else fetched.exception()
            return (None, error) if error is not None else (fetched.result(), None)
        error = self._session.error_of(record)
        if error is not None:
            return None, error
        try:
            return self._session.value_now(record, None), None
        except BaseException as failure:  # whatever loading a user's object raises; or the client is closed
            return None, failure

    def _break(self, error: ExecutorBrokenError) -> None:
        """The initializer raised: no call of this executor can run."""
        with self._changed:
            self._broken = error.reason
            left, self._waiting = list(self._waiting), {}
        self._session.release([future.key for future in left])
        for future in left:
            _end(future, None, ExecutorBrokenError(error.reason))
        self._ended(len(left))

    def _ended(self, count: int) -> None:
        if not count:
            return
        at_end = None
        with self._changed:
            self._open -= count
            if not self._open:
                at_end, self._at_end = self._at_end, None
                self._changed.notify_all()
        if at_end is not None:
            _run_aside(at_end)


def _end(future: ExecutorFuture, value: Any, error: BaseException | None) -> None:
    future._record = None
    future.set_running_or_notify_cancel()
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def _end_cancelled(future: ExecutorFuture) -> None:
    future._record = None
    futures.Future.cancel(future)
    future.set_running_or_notify_cancel()


def _arrive(arrivals: queue.SimpleQueue[_Arrival | None], future: ExecutorFuture, record: KeyRecord) -> None:
    arrivals.put((future, None))


def _run_aside(function: Callable[[], object]) -> None:
    threading.Thread(target=function, name="distributed-executor-end").start()


def finish_all() -> None:
    """Wait for the calls of all executors, as a program that ends does; registered with `atexit`."""
    for under_way in list(_alive):
        if under_way._session.loop.is_running():  # else nobody will ever bring them
            under_way.wait_idle()
