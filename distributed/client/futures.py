"""Future: a handle on one result; FutureSequence: what `Client.map` returns, many at the price of their keys."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, overload

from distributed.client.records import KeyRecord, Status
from distributed.client.session import Session
from distributed.errors import UnpicklableError
from distributed.protocol.tracebacks import traceback_from_text

__all__ = ["Future", "FutureSequence"]


class Future:
    """A result that exists or will: it stays on the cluster as long as a future refers to it.

    Made by `Client.submit`, `map` and `scatter`. Pass it as an argument to another call (alone, or inside lists,
    tuples, dicts and sets) and the worker gets its result. ``await future`` gives the result too.

    With ``Client(asynchronous=True)`` the methods that wait return awaitables.
    """

    __slots__ = ("__weakref__", "_held", "_record", "_session", "key")

    def __init__(self, session: Session, record: KeyRecord) -> None:
        # The caller has counted this holder already (Session.hold).
        self._session = session
        self._record = record
        self._held = True
        self.key = record.key

    @property
    def status(self) -> str:
        """``'pending'``, ``'finished'``, ``'error'``, ``'cancelled'`` or ``'lost'``."""
        return self._record.status.value

    @property
    def client(self) -> Any:
        """The client it belongs to."""
        return self._session.client

    def done(self) -> bool:
        """Whether it is decided: finished, failed, cancelled or lost."""
        return self._record.status is not Status.PENDING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._record.status is Status.CANCELLED

    def result(self, timeout: float | None = None) -> Any:
        """The result, waiting for it.

        Args:
            timeout: seconds >= 0; None: as long as it takes. Ctrl-C returns control at once.
        Raises:
            TimeoutError: not decided in time; the task goes on.
            CancelledError: it was cancelled.
            CommClosedError: the scheduler is gone.
            Whatever the task raised, with its type; the remote traceback is the ``__cause__``.
        """
        return self._session.run_or_await(lambda: self._result_now(timeout), lambda: self._result_async(timeout))

    def exception(self, timeout: float | None = None) -> Any:
        """The exception the task raised, None if it returned; waits and raises as `result` for the rest."""
        return self._session.run_or_await(lambda: self._error_now(timeout), lambda: self._error_async(timeout))

    def traceback(self, timeout: float | None = None) -> Any:
        """The frames in which the task raised, as a traceback object, None if it returned; waits as `result`.

        For ``traceback.print_tb`` and debuggers; frames have file, line and function, but no variables.
        """

        def frames(error: BaseException | None) -> TracebackType | None:
            return None if error is None else traceback_from_text(str(error.__cause__ or ""))

        async def later() -> TracebackType | None:
            return frames(await self._error_async(timeout))

        return self._session.run_or_await(lambda: frames(self._error_now(timeout)), later)

    def cancel(self, force: bool = False, reason: str | None = None) -> Any:
        """Stop it and all that depends on it, for every client; see `Client.cancel`."""
        return self._session.client.cancel([self], force=force, reason=reason)

    def retry(self) -> Any:
        """Run it once more if it failed; see `Client.retry`."""
        return self._session.client.retry([self])

    def add_done_callback(self, callback: Callable[[Future], object]) -> None:
        """Call ``callback(future)`` once it is decided, in a thread of its own kind, never on the loop.

        What it raises is logged with this future's key.
        """
        self._session.table.add_waiter(self._record, lambda record: self._session.call_back(callback, self))

    def release(self) -> None:
        """Let go of the result now instead of when the last reference goes."""
        if self._held:
            self._held = False
            self._session.release([self.key])

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result_async(None).__await__()

    def __del__(self) -> None:
        if getattr(self, "_held", False):  # a constructor that raised has not set it
            self._session.release([self.key])

    def __eq__(self, other: object) -> bool:
        # A sequence makes its futures anew whenever one is touched: they must be found again in sets and dicts.
        return type(other) is Future and other._record is self._record

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<Future: {self.status}, key: {self.key}>"

    def _repr_html_(self) -> str:
        from distributed.client.html import future_html

        return future_html(self.key, self.status)

    def __reduce__(self) -> Any:
        reason = "it is hidden inside another object; pass futures as arguments, or in list, tuple, dict, set"
        raise UnpicklableError("a future", "Future", reason)

    # ------------------------------------------------------------ the two ways to wait

    def _result_now(self, timeout: float | None) -> Any:
        self._session.wait_settled([self._record], timeout)
        return self._session.value_now(self._record, timeout)

    async def _result_async(self, timeout: float | None) -> Any:
        await self._session.wait_settled_async([self._record], timeout)
        return await self._session.value_async(self._record)

    def _error_now(self, timeout: float | None) -> BaseException | None:
        self._session.wait_settled([self._record], timeout)
        return self._error()

    async def _error_async(self, timeout: float | None) -> BaseException | None:
        await self._session.wait_settled_async([self._record], timeout)
        return self._error()

    def _error(self) -> BaseException | None:
        if self._record.status in (Status.CANCELLED, Status.LOST):
            self._session.raise_error(self._record)
        return self._session.error_of(self._record)


class FutureSequence(Sequence[Future]):
    """The futures of one `Client.map`, in order: indexed, sliced and iterated like a tuple.

    It holds keys; a `Future` is made only where one is touched. The results stay as long as the sequence or one of its
    futures lives.
    """

    __slots__ = ("__weakref__", "_keys", "_session")

    def __init__(self, session: Session, keys: list[str]) -> None:
        # The caller has counted this holder for every key already.
        self._session = session
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Future: ...

    @overload
    def __getitem__(self, index: slice) -> FutureSequence: ...

    def __getitem__(self, index: int | slice) -> Future | FutureSequence:
        if isinstance(index, slice):
            keys = self._keys[index]
            for key in keys:
                self._session.table.hold(key)
            return FutureSequence(self._session, keys)
        return Future(self._session, self._session.table.hold(self._keys[index]))

    def __iter__(self) -> Iterator[Future]:
        for key in self._keys:
            yield Future(self._session, self._session.table.hold(key))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all futures, in order."""
        return tuple(self._keys)

    def __del__(self) -> None:
        keys = getattr(self, "_keys", None)
        if keys:
            self._session.release(keys)

    def __reduce__(self) -> Any:
        raise UnpicklableError("a sequence of futures", "FutureSequence", "pass it as an argument of submit instead")

    def __repr__(self) -> str:
        first = self._keys[0] if self._keys else ""
        return f"<FutureSequence: {len(self._keys):,} futures, first key: {first}>"
