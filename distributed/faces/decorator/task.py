"""Task: the handle of one call of a `@distributed` function; TaskSequence: those of one `map`.

What a handle stands for is its *source*: a `Call` of the Main, what another handle became, an element of a chunk, or
an outcome that is there already. Not here: these sources (`sources`, `chunks`), and how calls begin (`function`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from distributed.errors import RemoteError, RemoteExecutionError, UnpicklableError
from distributed.faces.decorator.sources import Made, Outcome, Source, error_of
from distributed.ids import counter
from distributed.worker.context import wait_lent

__all__ = ["Remote", "RemoteExectionError", "Task", "TaskSequence"]

R = TypeVar("R")
S = TypeVar("S")
D = TypeVar("D")

RemoteExectionError = RemoteExecutionError  # as the first version spelled it


class Remote:
    """What is called with handles as they are, and gives another handle: a `Distributed`, or a method that is one."""

    __slots__ = ()


class Task(Generic[R]):
    """What a call of a `@distributed` function returns at once: its outcome exists, or will.

        task = function(3)
        task.unwrap()          # the value, or whatever the call raised is raised here
        task.unwrap_or(None)   # the value, or None if it failed
        await task             # unwrap, in a coroutine

    Pass it as an argument to another call (alone, or inside lists, tuples, dicts and sets): the worker gets its value,
    and the call runs when it is there. The value stays on the cluster as long as a handle refers to it.

    Whatever asks for the outcome waits for it: ``unwrap``, ``unwrap_or``, ``ok``, ``err``, ``is_ok``, ``is_err`` and
    ``wait``; `done` never waits. Each of them takes ``timeout=``, seconds. Ctrl-C returns control; the call goes on.
    """

    __slots__ = ("__weakref__", "_name", "_source")

    def __init__(self, source: Source, name: str) -> None:
        self._source = source
        self._name = name  # of the function, for people

    @property
    def key(self) -> str:
        """The name of its result on the cluster."""
        return self._source.key

    def unwrap(self, timeout: float | None = None) -> R:
        """The value, waiting for it.

        Raises:
            TimeoutError: it is not decided in time; the call goes on.
            CancelledError: it was cancelled.
            RemoteExecutionError: the call raised what cannot be rebuilt here.
            Whatever else it raised, with its own type; the traceback of the worker is the ``__cause__``.
        """
        try:
            value: R = self._source.result(timeout)
        except RemoteError as error:
            raise self._explained(error) from error.__cause__
        return value

    def unwrap_or(self, default: D, timeout: float | None = None) -> R | D:
        """The value, or `default` if the call failed or was cancelled. TimeoutError, as `unwrap`."""
        return default if self.err(timeout) is not None else self.unwrap(timeout)

    def ok(self, timeout: float | None = None) -> R | None:
        """The value, or None if the call failed (or returned None). TimeoutError, as `unwrap`."""
        return self.unwrap_or(None, timeout)

    def err(self, timeout: float | None = None) -> BaseException | None:
        """What `unwrap` would raise, or None if there is a value. TimeoutError, as `unwrap`."""
        error = error_of(self._source, timeout)
        return self._explained(error) if isinstance(error, RemoteError) else error

    def is_ok(self, timeout: float | None = None) -> bool:
        """Whether there is a value. TimeoutError, as `unwrap`."""
        return self.err(timeout) is None

    def is_err(self, timeout: float | None = None) -> bool:
        """Whether the call failed or was cancelled. TimeoutError, as `unwrap`."""
        return self.err(timeout) is not None

    def done(self) -> bool:
        """Whether the outcome is there; never waits."""
        return self._source.done()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the outcome is there, after waiting for it for up to so many seconds; raises nothing."""
        try:
            error_of(self._source, timeout)
        except TimeoutError:
            return False
        return True

    def then(self, function: Callable[[R], Any]) -> Task[Any]:
        """A handle of ``function(value)``; if this one fails so does that, with the same error.

        A `@distributed` function runs on a worker, which gets the value from where it is. Any other runs in this
        process, once: in a thread of ours as soon as the value is there, or in that of whoever waits for it first. If
        it returns a handle, that one's outcome is the outcome.
        """
        if isinstance(function, Remote):
            return _call(function, self)

        def make(source: Source) -> Source:
            error = error_of(source, 0)
            if error is not None:
                return Outcome(self._new_key("then"), error=error)
            return _source_of(function(source.result()), self._new_key("then"))

        return Task(Made(self._new_key("then"), self._source, make), self._name)

    def or_else(self, function: Callable[[BaseException], Any]) -> Task[Any]:
        """A handle of this value, or, if this one fails, of ``function(error)``, which runs as in `then`."""

        def make(source: Source) -> Source:
            error = error_of(source, 0)
            if error is None:
                return source
            error = self._explained(error) if isinstance(error, RemoteError) else error
            return _source_of(function(error), self._new_key("or_else"))

        return Task(Made(self._new_key("or_else"), self._source, make), self._name)

    def cancel(self) -> None:
        """Stop the call, and whatever depends on it; if it has ended its value is dropped."""
        self._source.cancel()

    def retry(self) -> Task[R]:
        """Run the call once more if it failed on a worker, with the same arguments; this handle, pending again.

        A call that never got to a worker stays as it is: call the function again.
        """
        self._source.retry()
        return self

    @staticmethod
    def as_completed(tasks: Iterable[Task[S]], timeout: float | None = None) -> Iterator[Task[S]]:
        """The handles in the order in which they are decided, each one once.

        Args:
            timeout: seconds for all together; then TimeoutError.
        """
        waiting = list(tasks)
        end = None if timeout is None else time.monotonic() + timeout
        decided: deque[Task[S]] = deque()
        count = threading.Semaphore(0)

        def note(task: Task[S]) -> None:
            decided.append(task)
            count.release()

        for task in waiting:
            task._source.add_done_callback(lambda done, task=task: note(task))  # type: ignore[misc]
        for number in range(len(waiting)):
            left_s = None if end is None else max(0.0, end - time.monotonic())
            if not wait_lent(lambda timeout_s: count.acquire(timeout=timeout_s), left_s):
                raise TimeoutError(
                    f"{len(waiting) - number:,} of {len(waiting):,} calls not decided within {timeout:g} s"
                )
            yield decided.popleft()

    def __await__(self) -> Generator[Any, None, R]:
        try:
            value: R = yield from self._source.__await__()
        except RemoteError as error:
            raise self._explained(error) from error.__cause__
        return value

    def __repr__(self) -> str:
        return f"<Task: {self._name}, {self._status()}, key: {self.key}>"

    def __reduce__(self) -> Any:
        reason = "it is hidden inside another object; pass handles as arguments, or in list, tuple, dict, set"
        raise UnpicklableError("the handle of a call", "Task", reason)

    # ------------------------------------------------------------ private

    def _new_key(self, what: str) -> str:
        return f"{self._name.rpartition('/')[2]}.{what}-{counter()}"

    def _status(self) -> str:
        if not self._source.done():
            return "pending"
        with contextlib.suppress(TimeoutError):  # it runs again, since we looked
            return "finished" if self.err(0) is None else "error"
        return "pending"

    def _explained(self, error: RemoteError) -> RemoteError:
        if isinstance(error, RemoteExecutionError):
            return error
        explained = RemoteExecutionError(error, self._name)
        explained.__cause__ = error.__cause__
        return explained


class TaskSequence(Sequence[Task[R]]):
    """The handles of one `map`, in order: indexed, sliced and iterated like a tuple.

    As an argument of a call it stands for the list of its values.
    """

    __slots__ = ("_name", "_sources")

    def __init__(self, sources: Sequence[Source], name: str) -> None:
        self._sources = sources
        self._name = name

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> Task[R]: ...

    @overload
    def __getitem__(self, index: slice) -> TaskSequence[R]: ...

    def __getitem__(self, index: int | slice) -> Task[R] | TaskSequence[R]:
        if isinstance(index, slice):
            return TaskSequence(self._sources[index], self._name)
        return Task(self._sources[index], self._name)

    def __iter__(self) -> Iterator[Task[R]]:
        return (Task(source, self._name) for source in self._sources)

    def unwrap(self, timeout: float | None = None) -> list[R]:
        """All values in order, waiting for them; the first one that failed raises, as `Task.unwrap`.

        Args:
            timeout: seconds for all together.
        """
        end = None if timeout is None else time.monotonic() + timeout
        return [task.unwrap(None if end is None else max(0.0, end - time.monotonic())) for task in self]

    def __repr__(self) -> str:
        return f"<TaskSequence: {len(self):,} calls of {self._name}>"

    def __reduce__(self) -> Any:
        raise UnpicklableError("handles of calls", "TaskSequence", "pass them as an argument of a call instead")


def _call(function: Any, task: Task[Any]) -> Task[Any]:
    made: Task[Any] = function(task)
    return made


def _source_of(value: Any, key: str) -> Source:
    """What stands for what a function gave: the source of a handle, or the value."""
    return value._source if isinstance(value, Task) else Outcome(key, value=value)
