"""Several calls of one function in one task: what runs on the worker, and one call's part of the outcome.

Each call has an outcome of its own; what ends the worker, or cannot be sent back, is that of the whole chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from time import perf_counter
from typing import Any

from distributed.faces.decorator.sources import Source, error_of
from distributed.protocol.failure import exception_from_failure, failure_from_exception

__all__ = ["Chunk", "Chunked", "Element", "picked"]

Part = tuple[bool, Any]  # True and a value, or False and a failure
Answer = tuple[float, list[Part]]  # seconds that the calls took, and their outcomes


class Chunked:
    """Calls a function once per tuple of arguments, on the worker.

    Args:
        function: as it is submitted alone.
        retries: how often a call is tried again when it raises.
        finish: what a worker makes of an unfinished value, such as a generator.
    """

    def __init__(self, function: Callable[..., Any], retries: int, finish: Callable[[Any], Any]) -> None:
        self.function = function
        self.retries = retries
        self.finish = finish
        self.__name__ = getattr(function, "__name__", "chunk")

    def __call__(self, calls: Sequence[tuple[Any, ...]]) -> Answer:
        start = perf_counter()
        parts = [self._part(args) for args in calls]
        return perf_counter() - start, parts

    def _part(self, args: tuple[Any, ...]) -> Part:
        for left in range(self.retries, -1, -1):
            try:
                return True, self.finish(self.function(*args))
            except Exception as error:  # the outcome of this call; the others go on
                if not left:
                    return False, failure_from_exception(error)
        raise AssertionError("a call is tried at least once")


def picked(answer: Answer, index: int) -> Any:
    """The value of one call of a chunk, on a worker that another call runs on; or what it raised is raised."""
    return _value(answer[1][index], "another worker")


class Chunk:
    """The calls of one task, on the Main.

    Args:
        source: of the task.
        calls: their arguments.
        start: begins one call by itself.
    """

    def __init__(self, source: Source, calls: Sequence[tuple[Any, ...]], start: Callable[..., Source]) -> None:
        self.source = source
        self.calls = calls
        self.start = start
        self._lock = threading.Lock()
        self._answer: Answer | None = None

    def answer(self, timeout_s: float | None) -> Answer:
        """What the task returned, loaded once; raises what kept it from running."""
        if self._answer is None:
            answer = self.source.result(timeout_s)
            with self._lock:
                self._answer = self._answer or answer
        assert self._answer is not None
        return self._answer

    def keep(self, answer: Answer) -> None:
        """It was loaded by a coroutine."""
        with self._lock:
            self._answer = self._answer or answer

    @property
    def is_loaded(self) -> bool:
        """Whether `answer` need not wait."""
        return self._answer is not None


class Element:
    """One call of a chunk."""

    __slots__ = ("_as_call", "_chunk", "_index", "_own")

    def __init__(self, chunk: Chunk, index: int) -> None:
        self._chunk = chunk
        self._index = index
        self._own: Source | None = None  # once it was tried again, it is a call by itself
        self._as_call: Source | None = None

    @property
    def key(self) -> str:
        """Of the chunk's task, and its place in there."""
        return self._own.key if self._own is not None else f"{self._chunk.source.key}[{self._index}]"

    def done(self) -> bool:
        """Whether the chunk is decided."""
        return (self._own or self._chunk.source).done()

    def result(self, timeout: float | None = None) -> Any:
        """Its value, or what it raised is raised."""
        if self._own is not None:
            return self._own.result(timeout)
        return _value(self._chunk.answer(timeout)[1][self._index], self.key)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What it raised, or what became of the whole chunk."""
        if self._own is not None:
            return self._own.exception(timeout)
        if not self._chunk.is_loaded and (error := error_of(self._chunk.source, timeout)) is not None:
            return error
        is_value, content = self._chunk.answer(None)[1][self._index]  # it is decided, and only to be fetched
        return None if is_value else exception_from_failure(content, f"the worker that ran {self.key}")

    def cancel(self) -> None:
        """Stop it, with the whole chunk."""
        (self._own or self._chunk.source).cancel()

    def retry(self) -> None:
        """If it failed, by itself."""
        if self._own is not None:
            self._own.retry()
        elif self.done() and self.exception(0) is not None:
            self._own, self._as_call = self._chunk.start(self._chunk.calls[self._index], {}), None

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(self)`` when the chunk is decided."""
        (self._own or self._chunk.source).add_done_callback(lambda done: callback(self))

    def as_call(self, submit: Callable[..., Source]) -> Source:
        """A call whose value is this one's, for the arguments of another call."""
        if self._own is not None:
            return self._own
        if self._as_call is None:
            self._as_call = submit(picked, (self._chunk.source, self._index), {})
        return self._as_call

    def __await__(self) -> Generator[Any, None, Any]:
        if self._own is None and not self._chunk.is_loaded:
            self._chunk.keep((yield from self._chunk.source.__await__()))
        return self.result(0) if self._own is None else (yield from self._own.__await__())


def _value(part: Part, where: str) -> Any:
    is_value, content = part
    if is_value:
        return content
    raise exception_from_failure(content, f"the worker that ran {where}")
