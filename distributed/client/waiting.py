"""wait and as_completed: for many futures at once, in threads and in coroutines."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from typing import Any, NamedTuple

from distributed.client.futures import Future
from distributed.client.lent import get_lent, refuse_own
from distributed.client.records import KeyRecord, Status
from distributed.client.session import Session, call_on
from distributed.worker.context import await_lent

__all__ = ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "DoneAndNotDone", "as_completed", "wait"]

ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION = "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"


class DoneAndNotDone(NamedTuple):
    """What `wait` returns: two sets of futures. Awaiting it gives itself: without futures nobody knows who waits."""

    done: set[Future]
    not_done: set[Future]

    def __await__(self) -> Generator[Any, None, DoneAndNotDone]:
        yield from ()
        return self


def wait(futures: Future | Iterable[Future], timeout: float | None = None, return_when: str = ALL_COMPLETED) -> Any:
    """Wait until futures are decided, without fetching results.

    Args:
        futures: any number of them, or one.
        timeout: seconds; None: as long as it takes.
        return_when: ``'ALL_COMPLETED'``, ``'FIRST_COMPLETED'``, or ``'FIRST_EXCEPTION'`` (all, or the first to fail).
    Returns:
        ``(done, not_done)``; an awaitable of it for futures of an asynchronous client.
    Raises:
        TimeoutError: not reached in time.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(f"return_when={return_when!r}: use 'ALL_COMPLETED', 'FIRST_COMPLETED' or 'FIRST_EXCEPTION'")
    waited = [futures] if isinstance(futures, Future) else list(futures)
    if not waited:
        return DoneAndNotDone(set(), set())
    session = waited[0]._session
    waiter = _Waiter(waited, return_when)

    async def later() -> DoneAndNotDone:
        await waiter.wait_async(timeout)
        return waiter.split()

    def now() -> DoneAndNotDone:
        waiter.wait(timeout)
        return waiter.split()

    return session.run_or_await(now, later)


class _Waiter:
    """Counts down decided records; for a thread or for a coroutine."""

    def __init__(self, futures: list[Future], return_when: str) -> None:
        self._futures = futures
        self._until_error = return_when == FIRST_EXCEPTION
        self._missing = 1 if return_when == FIRST_COMPLETED else len(set(futures))

    def wait(self, timeout: float | None) -> None:
        self._futures[0]._session.refuse_on_loop()
        refuse_own([future._record for future in self._futures])
        arrivals: queue.SimpleQueue[KeyRecord] = queue.SimpleQueue()
        deadline = None if timeout is None else time.monotonic() + timeout
        self._subscribe(arrivals.put)
        try:
            while self._missing > 0:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                self._count(get_lent(arrivals, left))
        except queue.Empty:
            raise self._overdue(timeout) from None
        finally:
            self._unsubscribe(arrivals.put)

    async def wait_async(self, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        arrivals: asyncio.Queue[KeyRecord] = asyncio.Queue()

        def arrive(record: KeyRecord) -> None:
            call_on(loop, arrivals.put_nowait, record)

        self._subscribe(arrive)
        try:
            async with asyncio.timeout(timeout):
                while self._missing > 0:
                    self._count(await await_lent(arrivals.get()))
        except TimeoutError:
            raise self._overdue(timeout) from None
        finally:
            self._unsubscribe(arrive)

    def split(self) -> DoneAndNotDone:
        done = {future for future in self._futures if future.done()}
        return DoneAndNotDone(done, set(self._futures) - done)

    def _subscribe(self, waiter: Any) -> None:
        for future in dict.fromkeys(self._futures):
            if future.done():
                self._count(future._record)
            else:
                future._session.table.add_waiter(future._record, waiter)

    def _unsubscribe(self, waiter: Any) -> None:
        """A program that looks again and again must not leave something behind each time."""
        for future in self._futures:
            if not future.done():
                future._session.table.forget_waiter([future._record], waiter)

    def _count(self, record: KeyRecord) -> None:
        self._missing -= 1
        if self._until_error and record.status is not Status.FINISHED:
            self._missing = 0

    def _overdue(self, timeout: float | None) -> TimeoutError:
        left = sum(not future.done() for future in self._futures)
        return TimeoutError(f"{left:,} of {len(self._futures):,} futures not decided within {timeout:g} s")


class as_completed:
    """Iterate over futures in the order in which they are decided; `async for` works too.

    Args:
        futures: to begin with; more can be given while iterating, see `add` and `update`.
        with_results: give ``(future, result)`` instead; a failed future raises its error.
        timeout: seconds from now for all; then TimeoutError.
    """

    def __init__(
        self, futures: Iterable[Future] = (), *, with_results: bool = False, timeout: float | None = None
    ) -> None:
        self._with_results = with_results
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._arrived: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._wakers: list[Any] = []  # futures of coroutines that wait in __anext__
        self._open = 0
        self._session: Session | None = None  # of the future added last
        self.update(futures)

    def add(self, future: Future) -> None:
        """Wait for this one too; the same future may be added again."""
        self._open += 1
        self._session = future._session
        future._session.table.add_waiter(future._record, lambda record: self._arrive(future))

    def update(self, futures: Iterable[Future]) -> None:
        """Wait for these too."""
        for future in futures:
            self.add(future)

    def count(self) -> int:
        """How many are still to come."""
        return self._open

    def is_empty(self) -> bool:
        """Whether nothing is to come."""
        return self._open == 0

    def has_ready(self) -> bool:
        """Whether the next one is there already."""
        return not self._arrived.empty()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._open:
            raise StopIteration
        if self._arrived.empty() and self._session is not None:
            self._session.refuse_on_loop()
        try:
            future = get_lent(self._arrived, self._left())
        except queue.Empty:
            raise self._overdue() from None
        self._open -= 1
        return (future, future.result()) if self._with_results else future

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not self._open:
            raise StopAsyncIteration
        while True:
            loop = asyncio.get_running_loop()
            waker = loop.create_future()
            self._wakers.append((loop, waker))  # before looking, so that an arrival in between wakes us
            try:
                future = self._arrived.get_nowait()
                break
            except queue.Empty:
                try:
                    await await_lent(asyncio.wait_for(waker, self._left()))
                except TimeoutError:
                    raise self._overdue() from None
            finally:
                self._wakers = [entry for entry in self._wakers if entry[1] is not waker]
        self._open -= 1
        return (future, await future) if self._with_results else future

    def _arrive(self, future: Future) -> None:
        self._arrived.put(future)
        for loop, waker in self._wakers:
            call_on(loop, _wake, waker)

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _overdue(self) -> TimeoutError:
        return TimeoutError(f"{self._open:,} futures not decided within {self._timeout:g} s")


def _wake(waker: asyncio.Future[None]) -> None:
    if not waker.done():
        waker.set_result(None)
