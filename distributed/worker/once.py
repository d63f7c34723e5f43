"""Work that several threads ask for at the same time, done by one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Once"]

Result = TypeVar("Result")


class Once(Generic[Result]):
    """Who asks for a key that another thread is making waits for that one's result, or error.

    Nothing is kept: who asks later makes it again. Making a key must not ask for the same key.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._underway: dict[str, Future[Result]] = {}

    def get(self, key: str, make: Callable[[str], Result]) -> Result:
        """``make(key)``, by this thread or by one that was here first. Raises what `make` raises."""
        with self._lock:
            underway = self._underway.get(key)
            if underway is None:
                mine = self._underway[key] = Future()
        if underway is not None:
            return underway.result()
        try:
            result = make(key)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(result)
            return result
        finally:
            with self._lock:
                del self._underway[key]
