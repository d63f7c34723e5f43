"""Call: one call of a Main, from the moment it is made, also while the crew that will run it is still being opened."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from distributed.client.futures import Future
from distributed.client.session import call_on
from distributed.errors import CancelledError

__all__ = ["Call"]


class Call:
    """See the module. Made by `Main.submit` only.

    Attributes:
        key: of the task.
        crew: that runs it.
        is_given: False while it waits for values of other crews; other calls then cannot name it.
    """

    __slots__ = ("__weakref__", "_callbacks", "_error", "_future", "_gate", "crew", "is_given", "key")

    def __init__(self, crew: Any, key: str, gate: threading.Event) -> None:
        self.crew = crew
        self.key = key
        self.is_given = True
        self._gate = gate  # opens when `_future` or `_error` is set; shared by all that wait for the same crew
        self._future: Future | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Call], object]] | None = None

    # ------------------------------------------------------------ for the crew

    def place(self, future: Future) -> None:
        """The scheduler has it from now on, as `future`. Who has given away its handle holds the crew's lock."""
        self._future = future
        if self._callbacks is not None:
            for callback in self._take_callbacks():
                future.add_done_callback(lambda done, callback=callback: callback(self))  # type: ignore[misc]

    def fail(self, error: BaseException) -> None:
        """It will never be given to a scheduler."""
        if self._future is None and self._error is None:
            self._error = error
            for callback in self._take_callbacks():
                callback(self)

    def move(self, crew: Any, gate: threading.Event) -> None:
        """Another crew has it from now on; who holds the lock of the one before calls this."""
        before, self.crew, self._gate = self._gate, crew, gate
        before.set()

    def open_gate(self) -> None:
        """Let those go on who wait for it, if the gate is its own: it is placed, or has failed."""
        self._gate.set()

    async def wait_decided(self) -> None:
        """Until it has a result or an error."""
        loop = asyncio.get_running_loop()
        decided = loop.create_future()
        self.add_done_callback(lambda call: call_on(loop, _settle, decided))
        await decided

    @property
    def is_placed(self) -> bool:
        """Whether the scheduler has it, or it failed before."""
        return self._future is not None or self._error is not None

    # ------------------------------------------------------------ for users' handles

    def done(self) -> bool:
        """Whether it is decided."""
        future = self._future
        return self._error is not None or (future is not None and future.done())

    def future(self, timeout: float | None = None) -> Future:
        """The engine's future, when there is one.

        Raises:
            TimeoutError: its crew was not open in time.
            Whatever kept the crew from opening.
        """
        future = self._future
        if future is not None:
            return future
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_placed:  # a crew may hand it on to a newer one, which has another gate
            if not self._gate.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                break
        if not self.is_placed:
            raise TimeoutError(f"{self.key} is not given to a worker within {timeout:g} s: {self.crew.why_waiting()}")
        if self._error is not None:
            raise self._error
        assert self._future is not None
        return self._future

    def result(self, timeout: float | None = None) -> Any:
        """The value, waiting for it; raises as `Future.result`, and as `future`."""
        future = self._future
        if future is not None:
            return future.result(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        future = self.future(timeout)
        return future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What it raised, or what kept it from running; None: it has a value. TimeoutError, as `result`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            future = self.future(timeout)
        except TimeoutError:
            if self._error is None:
                raise
            return self._error
        except Exception as error:  # what kept the crew from opening is the answer
            return error
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            raised: BaseException | None = future.exception(left_s)
        except CancelledError as cancelled:
            return cancelled
        return raised

    def cancel(self) -> None:
        """Stop it, or take it back before it begins."""
        if self._future is not None:
            self._future.cancel()
        else:
            self.fail(CancelledError(f"{self.key}: cancelled"))

    def retry(self) -> None:
        """Run it once more if it failed on a worker; its state is pending again."""
        if self._future is not None:
            self._future.retry()

    def add_done_callback(self, callback: Callable[[Call], object]) -> None:
        """Call ``callback(call)`` once it is decided, in a thread of the client's, or at once if it is."""
        future = self._future
        if future is None and self._error is None:
            with self.crew.lock:
                if self._future is None and self._error is None:
                    self._callbacks = [*(self._callbacks or ()), callback]
                    return
            future = self._future
        if future is None:
            callback(self)
        else:
            future.add_done_callback(lambda done: callback(self))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result_async().__await__()

    def __repr__(self) -> str:
        future = self._future
        status = "failed" if self._error is not None else "waiting" if future is None else future.status
        return f"<Call: {status}, key: {self.key}>"

    # ------------------------------------------------------------ private

    async def _result_async(self) -> Any:
        while not self.is_placed:
            await asyncio.get_running_loop().run_in_executor(None, self._gate.wait)
        return await self.future(0)

    def _take_callbacks(self) -> list[Callable[[Call], object]]:
        with self.crew.lock:
            callbacks, self._callbacks = self._callbacks, None
        return callbacks or []


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
