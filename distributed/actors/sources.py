"""Source: the object that a worker makes for a stream; it has the generator and gives its items one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from distributed.errors import BadRequestError

__all__ = ["Source"]


class Source:
    """What ``function(*args, **kwargs)`` yields, for one reader.

    Raises:
        BadRequestError: the function returned something that cannot be iterated over.
    """

    def __init__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        items = function(*args, **kwargs)
        self._iterator: Iterator[Any] | None = None
        self._async_iterator: AsyncIterator[Any] | None = None
        self._lock: asyncio.Lock | None = None  # several calls of `take` may be under way, a generator runs once
        if hasattr(items, "__aiter__"):
            self._async_iterator = aiter(items)
            self._lock = asyncio.Lock()
        elif isinstance(items, Iterable):
            self._iterator = iter(items)
        else:
            raise BadRequestError(
                f"a stream needs a generator, or what can be iterated over, not {type(items).__name__}"
            )

    def take(self) -> Any:
        """``(True, item)``, or ``(False, None)`` after the last one; an awaitable of it for an async generator."""
        if self._iterator is None:
            return self._take_async()
        for item in self._iterator:
            return True, item
        return False, None

    def skip(self, count: int) -> Any:
        """Leave out so many items; awaitable as `take`."""
        if self._iterator is None:
            return self._skip_async(count)
        for _ in range(count):
            if not self.take()[0]:
                break
        return None

    async def _take_async(self) -> tuple[bool, Any]:
        assert self._async_iterator is not None and self._lock is not None
        async with self._lock:
            async for item in self._async_iterator:
                return True, item
            return False, None

    async def _skip_async(self, count: int) -> None:
        for _ in range(count):
            if not (await self._take_async())[0]:
                break
