"""What a pool's methods return: results of one call, of a map, and an iterator over results as they come.

The standard library's names and promises. All of them are filled in by the thread that brings results, and read by any.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from distributed.client.session import Session
from distributed.errors import CancelledError
from distributed.worker.context import wait_lent

__all__ = ["AsyncResult", "IMapIterator", "MapResult"]

logger = logging.getLogger(__name__)

Callback = Callable[[Any], object] | None
OnEnd = Callable[[Any], object]  # told once, when nothing of the job is under way any more


class AsyncResult:
    """The result of one call.

    ``get wait ready successful`` as in the standard library; callbacks have run when it is ready.
    """

    def __init__(self, session: Session, callback: Callback, error_callback: Callback, on_end: OnEnd) -> None:
        self._session = session
        self._callback = callback
        self._error_callback = error_callback
        self._on_end = on_end
        self._ready = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._deciding = threading.Lock()  # whoever gets it decides: a result that comes, or the end of the pool

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._ready.is_set()

    def successful(self) -> bool:
        """Whether it ended without an error. Raises ValueError: it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        if not self._ready.is_set():
            self._session.refuse_on_loop()
            wait_lent(self._ready.wait, timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result, waiting for it.

        Raises:
            multiprocessing.TimeoutError: it has not come within `timeout` seconds.
            CancelledError: the pool was terminated before.
            Whatever the call raised.
        """
        self.wait(timeout)
        if not self._ready.is_set():
            raise multiprocessing.TimeoutError(f"no result within {timeout:g} s")
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # or the error's traceback and this would hold each other until the next gc
        return self._value

    def decide(self, value: Any, error: BaseException | None) -> None:
        """It has ended; the first one to say so is right."""
        if not self._deciding.acquire(blocking=False):
            return
        self._value, self._error = value, error
        callback = self._callback if error is None else self._error_callback
        self._callback = self._error_callback = None
        if callback is not None:
            _call_back(callback, value if error is None else error)
        self._ready.set()
        on_end, self._on_end = self._on_end, _nobody  # a result does not keep its pool
        on_end(self)

    def cancel(self) -> None:
        """The pool was terminated."""
        self.decide(None, CancelledError("the pool was terminated before this had ended"))


class MapResult(AsyncResult):
    """The results of a map: a list in order, or the error that came first, once all calls have ended."""

    def __init__(self, session: Session, callback: Callback, error_callback: Callback, on_end: OnEnd) -> None:
        super().__init__(session, callback, error_callback, on_end)
        self._chunks: dict[int, list[Any]] = {}
        self._first_error: BaseException | None = None
        self._arrived = 0
        self._total: int | None = None
        self._counting = threading.Lock()

    def arrive(self, number: int, results: list[Any] | None, error: BaseException | None) -> None:
        """Chunk `number` has ended."""
        with self._counting:
            self._arrived += 1
            if error is not None:
                self._first_error = self._first_error or error
                self._chunks.clear()
            elif results is not None and self._first_error is None:
                self._chunks[number] = results
        self._look()

    def end(self, total: int) -> None:
        """There are so many chunks in all."""
        self._total = total
        if not total:  # as in the standard library: nothing was called, so nobody is told
            self._callback = None
        self._look()

    def _look(self) -> None:
        if self._arrived != self._total:
            return
        chunks, self._chunks = self._chunks, {}
        if self._first_error is not None:
            self.decide(None, self._first_error)
        else:
            self.decide(list(chain.from_iterable(chunks[number] for number in range(len(chunks)))), None)


class Arrivals:
    """The chunks of one `imap` that have arrived and were not read.

    Args:
        is_ordered: they are read in the order of the elements, not as they come.
        goes_on: after an error; else it ends the iteration, as in the standard library where chunks are bigger than 1.
    """

    def __init__(self, session: Session, is_ordered: bool, goes_on: bool, on_end: OnEnd) -> None:
        self.on_taken: Callable[[], object] = lambda: None  # told after each chunk that was read
        self._session = session
        self._is_ordered = is_ordered
        self._goes_on = goes_on
        self._on_end = on_end
        self._changed = threading.Condition()
        self._chunks: dict[int, _Chunk] = {}  # by number; of unordered ones in order of arrival
        self._arrived = self._read = 0
        self._total: int | None = None
        self._is_cancelled = self._is_abandoned = self._is_over = False
        self._current: deque[Any] = deque()  # of the chunk that is being read; guarded by the condition too

    def arrive(self, number: int, results: list[Any] | None, error: BaseException | None) -> None:
        """Chunk `number` has ended."""
        with self._changed:
            self._arrived += 1
            if not self._is_abandoned and not self._is_cancelled:
                self._chunks[number] = (results, error)
            self._changed.notify_all()
        self._look()

    def end(self, total: int) -> None:
        """There are so many chunks in all."""
        with self._changed:
            self._total = total
            self._changed.notify_all()
        self._look()

    def cancel(self) -> None:
        """The pool was terminated: what has arrived can be read, the rest is an error."""
        with self._changed:
            if self._arrived != self._total:
                self._is_cancelled = True
            self._changed.notify_all()
        self._end()

    def abandon(self) -> None:
        """Nobody will read: keep nothing."""
        with self._changed:
            self._is_abandoned = True
            self._chunks.clear()

    def next(self, timeout: float | None) -> Any:
        """See `IMapIterator.next`."""
        while True:
            with self._changed:
                if self._current:
                    return self._current.popleft()
                if self._is_over:
                    raise StopIteration
                is_there = self._is_readable()
            if not is_there:
                self._wait(timeout)
            with self._changed:
                taken = self._take()
            if taken is not None:
                try:
                    raise taken
                finally:
                    del taken

    def _is_readable(self) -> bool:
        if self._current or self._is_over or self._is_cancelled or self._read == self._total:
            return True
        return self._read in self._chunks if self._is_ordered else bool(self._chunks)

    def _wait(self, timeout: float | None) -> None:
        self._session.refuse_on_loop()

        def wait(timeout_s: float | None) -> bool:
            with self._changed:
                return self._changed.wait_for(self._is_readable, timeout_s)

        if not wait_lent(wait, timeout):
            raise multiprocessing.TimeoutError(f"no result within {timeout:g} s")

    def _take(self) -> BaseException | None:
        """Make the next chunk the current one; the error, if that is what there is."""
        if self._current or self._is_over:  # another reader was quicker
            return None
        number = self._read if self._is_ordered else next(iter(self._chunks), -1)
        chunk = self._chunks.pop(number, None)
        if chunk is None:
            self._is_over = self._read == self._total or self._is_cancelled
            if self._is_cancelled:
                return CancelledError("the pool was terminated before all results had come")
            return None
        self._read += 1
        self.on_taken()
        results, error = chunk
        self._current.extend(results or ())
        self._is_over = error is not None and not self._goes_on
        return error

    def _look(self) -> None:
        if self._arrived == self._total:
            self._end()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, _nobody
        on_end(self)


_Chunk = tuple[list[Any] | None, BaseException | None]  # results, or the error instead


class IMapIterator:
    """Iterates over the results of `Pool.imap` or `imap_unordered`.

    As many calls are under way as the cluster can use, and only so many that the reader is not left far behind. Who
    drops it wants no results: then all calls are made, and nothing is kept.
    """

    def __init__(self, arrivals: Arrivals, on_drop: Callable[[], object]) -> None:
        self._arrivals = arrivals
        self._on_drop = on_drop

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._arrivals.next(None)

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: it has not come within `timeout` seconds; ask again.
            CancelledError: the pool was terminated before.
            Whatever the call raised; if chunks are of one element, the iterator goes on after it.
        """
        return self._arrivals.next(timeout)

    def __del__(self) -> None:
        self._arrivals.abandon()
        self._on_drop()


def _nobody(job: Any) -> None:
    """Told of the end of a job whose pool has been told."""


def _call_back(callback: Callable[[Any], object], value: Any) -> None:
    try:
        callback(value)
    except Exception:  # a user's callback: there is nobody above to tell, so the log must
        logger.exception("callback %r of a pool raised", callback)
