"""`Client.stream`: what a generator on a worker yields, item by item, in constant memory.

The generator lives in an actor (`distributed.actors.sources`). The reader keeps `ahead` calls for the next item under
way, so the generator runs so many items before it and then rests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from distributed.actors.sources import Source
from distributed.client.futures import Future
from distributed.errors import ActorLostError, BadRequestError, CommClosedError
from distributed.ids import short_name, unique_id

__all__ = ["AHEAD_MAX", "ResultStream", "StreamMethods"]

AHEAD_MAX = 10_000  # what a worker takes from one caller before it answers

_LOST = (ActorLostError, CommClosedError)  # the generator is gone, or perhaps: then its next life skips what came


class StreamMethods:
    """A part of `Client`, see there."""

    submit: Callable[..., Future]

    def stream(self, function: Callable[..., Any], *args: Any, ahead: int = 8, **options: Any) -> ResultStream:
        """Iterate over what ``function(*args)``, a generator on a worker, yields, while it runs.

            for line in client.stream(read_log, '/var/log/syslog'):
                print(line)

        Nothing is kept: the generator rests when it is `ahead` items before the reader, and ends when the stream is
        closed or dropped. It runs beside the worker's tasks, in a thread of its own, see `Actor`.

        Args:
            function: a generator, an async generator, or a function that returns what can be iterated over.
            args: for the function, as with `submit`; futures become results.
            ahead: items that may be made before they are asked for, 1 to 10,000.
            options: keywords of `submit` (``workers=``, ``retries=``, ...), the rest is for the function. With retries
                a generator whose worker died runs again elsewhere, and what was read already is left out: it must yield
                the same again.
        Returns:
            An iterator; ``async for`` works too, and with an asynchronous client only that.
        Raises:
            ValueError: `ahead` out of its bounds.
            While iterating, whatever the generator raised; ActorLostError: it was lost with its worker.
        """
        if not 1 <= ahead <= AHEAD_MAX:
            raise ValueError(f"ahead={ahead!r} must be between 1 and {AHEAD_MAX:,}")
        if options.pop("actor", True) is not True:
            raise BadRequestError("stream: a generator always lives in an actor")
        return ResultStream(self.submit, function, args, ahead, options)


class ResultStream:
    """The items of one `Client.stream`: an iterator, and an async one. For one reader."""

    def __init__(
        self, submit: Callable[..., Future], function: Callable[..., Any], args: tuple[Any, ...], ahead: int,
        options: dict[str, Any],
    ) -> None:  # fmt: skip
        self._submit = submit
        self._function = function
        self._args = args
        self._ahead = ahead
        self._options = options
        self._retries_left: int = options.get("retries", 0)
        name = short_name(getattr(function, "__name__", "items"))
        self._name: str = options.pop("key", None) or unique_id(f"stream-{name}")
        self._window: deque[Any] = deque()  # calls for the next items
        self._actor: Any = None
        self._count = 0  # items that were read
        self._lives = 0
        self._is_over = False
        self._future = self._start()

    @property
    def key(self) -> str:
        """The key of the task that made the generator."""
        return self._future.key

    def close(self) -> None:
        """End the generator: at its next ``yield``, if it runs just now. Nothing more comes; may be called twice."""
        self._is_over = True
        self._let_go()
        self._window.clear()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self._is_over:
            try:
                if self._actor is None:
                    self._begin(self._future.result())
                is_item, item = self._next_call().result()
            except BaseException as error:
                self._restart_or_end(error)
                continue
            if is_item:
                self._fill()
                self._count += 1
                return item
            self.close()
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._is_over:
            try:
                if self._actor is None:
                    self._begin(await self._future)
                is_item, item = await self._next_call()
            except BaseException as error:
                self._restart_or_end(error)
                continue
            if is_item:
                self._fill()
                self._count += 1
                return item
            self.close()
        raise StopAsyncIteration

    def __enter__(self) -> ResultStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> ResultStream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_future"):
            self._let_go()

    def __repr__(self) -> str:
        state = "ended" if self._is_over else "open"
        return f"<ResultStream: {state}, key: {self._future.key}, {self._count:,} items read>"

    # ------------------------------------------------------------ private

    def _start(self) -> Future:
        """A new life of the generator."""
        self._lives += 1
        key = self._name if self._lives == 1 else f"{self._name}-{self._lives}"  # the old key has failed
        return self._submit(Source, self._function, *self._args, actor=True, key=key, **self._options)

    def _begin(self, actor: Any) -> None:
        self._actor = actor
        if self._count:
            self._window.append(actor.skip(self._count))
        self._fill()
        if self._count:
            self._window.popleft()  # what was skipped is nothing to read; if that fails, so does what follows

    def _fill(self) -> None:
        while len(self._window) < self._ahead:
            self._window.append(self._actor.take())

    def _next_call(self) -> Any:
        return self._window.popleft()

    def _restart_or_end(self, error: BaseException) -> None:
        """Go on with a new life if this one is gone and there are retries; else it is over, and `error` goes on."""
        self._let_go()
        self._window.clear()
        if not isinstance(error, _LOST) or not self._retries_left:
            self._is_over = True
            raise error
        self._retries_left -= 1
        self._actor = None
        self._future = self._start()

    def _let_go(self) -> None:
        """Nobody here holds the generator any more, also not the calls that are under way."""
        if self._actor is not None:
            self._actor._let_go()
        self._future.release()
