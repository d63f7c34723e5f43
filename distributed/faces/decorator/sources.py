"""What handles can stand for besides a `Call` of the Main: an outcome, and what becomes another one later."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

from distributed.errors import CancelledError
from distributed.ids import counter
from distributed.worker.context import await_lent, wait_lent

__all__ = ["Late", "Made", "Outcome", "Running", "Source", "error_of", "ran"]


class Source(Protocol):
    """What a handle stands for; a `distributed.crews.call.Call` is one, and so is a `Future` of the engine."""

    @property
    def key(self) -> str:
        """The name of its result."""

    def done(self) -> bool:
        """Whether it is decided."""

    def result(self, timeout: float | None = None) -> Any:
        """The value, waiting for it; TimeoutError, or what was raised."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What was raised, None if there is a value; TimeoutError if neither came in time."""

    def cancel(self) -> Any:
        """Stop it."""

    def retry(self) -> Any:
        """Run it once more if it failed."""

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` once it is decided, in some thread."""

    def __await__(self) -> Generator[Any, None, Any]:
        """The value, in a coroutine."""


def error_of(source: Source, timeout_s: float | None) -> BaseException | None:
    """Why a source has no value, None if it has one, however it tells. TimeoutError: it is not decided in time."""
    try:
        return source.exception(timeout_s)
    except TimeoutError:
        raise
    except Exception as error:  # cancelled, or lost: the engine raises these, for us they are outcomes
        return error


class Outcome:
    """A value, or an error, that is there already.

    Args:
        again: what makes it anew, for `retry`; None: it stays.
    """

    __slots__ = ("_again", "_error", "_value", "key")

    def __init__(
        self,
        key: str,
        value: Any = None,
        error: BaseException | None = None,
        again: Callable[[], Outcome] | None = None,
    ) -> None:
        self.key = key
        self._value = value
        self._error = error
        self._again = again

    def done(self) -> bool:
        """True."""
        return True

    def result(self, timeout: float | None = None) -> Any:
        """The value; or the error is raised."""
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error."""
        return self._error

    def cancel(self) -> None:
        """Drop the value."""
        self._value, self._error, self._again = None, CancelledError(f"{self.key}: cancelled"), self._again

    def retry(self) -> None:
        """Here and now, if it failed."""
        if self._error is not None and self._again is not None:
            made = self._again()
            self._value, self._error = made._value, made._error

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call it, here and now."""
        callback(self)

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        return self.result()


def ran(name: str, run: Callable[[], Any]) -> Outcome:
    """What became of `run`, which is called here and now. What ends a task, such as its cancellation, goes on up."""
    key = f"{name}-{counter()}"

    def again() -> Outcome:
        return ran(name, run)

    try:
        return Outcome(key, value=run(), again=again)
    except Exception as error:  # whatever the user's function raises is its outcome, until somebody unwraps it
        return Outcome(key, error=error, again=again)


_lock = threading.Lock()  # of all `Late`s: held for some stores, and one for each of a million would weigh more


class Late:
    """Stands for a source that does not exist yet; from `become` on it is that source."""

    __slots__ = ("__weakref__", "_callbacks", "_event", "_key", "source")

    def __init__(self, key: str) -> None:
        self._key = key
        self._event: threading.Event | None = None  # made by who waits first
        self._callbacks: list[Callable[[Any], object]] | None = None
        self.source: Source | None = None

    @property
    def key(self) -> str:
        """That of its source, when there is one."""
        return self._key if self.source is None else self.source.key

    def become(self, source: Source) -> bool:
        """It is `source` from now on; False: it was another one already, cancelled perhaps."""
        with _lock:
            if self.source is not None:
                return False
            self.source = source
            callbacks, self._callbacks = self._callbacks, None
            if self._event is not None:
                self._event.set()
        for callback in callbacks or ():
            source.add_done_callback(lambda done, callback=callback: callback(self))  # type: ignore[misc]
        return True

    def done(self) -> bool:
        """Whether its source is there and decided."""
        return self.source is not None and self.source.done()

    def result(self, timeout: float | None = None) -> Any:
        """The value of its source."""
        end = None if timeout is None else time.monotonic() + timeout
        return self._found(end).result(_left(end))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error of its source."""
        end = None if timeout is None else time.monotonic() + timeout
        return error_of(self._found(end), _left(end))

    def cancel(self) -> None:
        """That of its source; before there is one, it never will be."""
        if not self.become(Outcome(self._key, error=CancelledError(f"{self._key}: cancelled"))):
            assert self.source is not None
            self.source.cancel()

    def retry(self) -> None:
        """That of its source."""
        if self.source is not None:
            self.source.retry()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` when its source is decided."""
        with _lock:
            if self.source is None:
                self._callbacks = [*(self._callbacks or ()), callback]
                return
        self.source.add_done_callback(lambda done: callback(self))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result_async().__await__()

    async def _result_async(self) -> Any:
        loop = asyncio.get_running_loop()
        decided = loop.create_future()
        self.add_done_callback(lambda done: _open_soon(loop, decided))
        await await_lent(decided)
        return await self._found(time.monotonic())

    def _found(self, end: float | None) -> Source:
        if self.source is None:
            self._hurry(_left(end))
        with _lock:
            if self.source is None and self._event is None:
                self._event = threading.Event()
            event = self._event
        if self.source is None and event is not None and not wait_lent(event.wait, _left(end)):
            raise TimeoutError(f"{self._key} has not begun in time")
        assert self.source is not None
        return self.source

    def _hurry(self, timeout_s: float | None) -> None:
        """Somebody waits for it, and it is not there."""


class Running(Late):
    """A coroutine that runs on the loop of the one who called it, as a nested call does."""

    __slots__ = ("_task",)

    def __init__(self, key: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        super().__init__(key)
        self._task = asyncio.get_running_loop().create_task(coroutine)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """End the coroutine."""
        self._task.cancel()

    def _end(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.become(Outcome(self._key, error=CancelledError(f"{self._key}: cancelled")))
        elif error := task.exception():
            self.become(Outcome(self._key, error=error))
        else:
            self.become(Outcome(self._key, value=task.result()))

    def _hurry(self, timeout_s: float | None) -> None:
        if timeout_s == 0:
            raise TimeoutError(f"{self._key} is not decided")
        raise RuntimeError(f"{self._key} runs on the loop of whoever called it: await its handle")


class Made(Late):
    """What `make` makes of another source, once that is decided.

    It is called once: in a thread of the client's, or in that of whoever asks for the outcome first, so that nobody
    waits for a thread that waits for him.

    Args:
        make: called with the source, decided; gives the one to become. What it raises becomes the outcome.
    """

    __slots__ = ("_is_claimed", "_make", "_of")

    def __init__(self, key: str, source: Source, make: Callable[[Source], Source]) -> None:
        super().__init__(key)
        self._of = source
        self._make = make
        self._is_claimed = False
        source.add_done_callback(lambda done: self._run())

    def retry(self) -> None:
        """Make it again if it failed; what it is made of first, if that did."""
        if not self.done() or self.exception(0) is None:
            return
        self._of.retry()
        with _lock:
            self.source, self._event, self._is_claimed = None, None, False
        self._of.add_done_callback(lambda done: self._run())

    def _hurry(self, timeout_s: float | None) -> None:
        if self.source is None:
            error_of(self._of, timeout_s)  # TimeoutError: it is not decided
            self._run()

    def _run(self) -> None:
        with _lock:
            if self._is_claimed or self.source is not None:
                return
            self._is_claimed = True
        try:
            source = self._make(self._of)
        except Exception as error:  # of the user's function: it is what became of it
            source = Outcome(self._key, error=error)
        except BaseException as error:  # Ctrl-C in the thread that asked: so it ends for all who wait
            self.become(Outcome(self._key, error=error))
            raise
        self.become(source)


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def _open_soon(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits there any more
        loop.call_soon_threadsafe(_open, future)


def _open(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
