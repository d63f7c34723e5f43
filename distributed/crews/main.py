"""Main: what a program that calls `@distributed` functions is, one per process; any thread may use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from distributed.crews.call import Call
from distributed.crews.crew import Crew
from distributed.crews.options import CallOptions, MainSettings
from distributed.errors import CommClosedError

__all__ = ["Main"]

ANYTHING = CallOptions()


class Main:
    """Gives calls to the crew of the workspace as it is now, and opens that crew at the first call.

    Args:
        settings: what `setup` was told.
    """

    def __init__(self, settings: MainSettings | None = None) -> None:
        self.settings = settings or MainSettings()
        self._lock = threading.Lock()
        self._crew: Crew | None = None
        self._is_closed = False

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        options: CallOptions = ANYTHING,
    ) -> Call:
        """Call ``function(*args, **kwargs)`` in a room; returns at once, unless very many calls wait already.

        Args:
            function: a `Reference`, or a callable that travels by value.
            args, kwargs: as for `Client.submit`; a `Call` in them stands for its result.
        Raises:
            UnpicklableError, CommClosedError: an argument cannot be sent; this Main is closed.
        """
        return self._current().submit(function, args, kwargs or {}, options)

    def map(
        self,
        function: Callable[..., Any],
        arguments: Iterable[tuple[Any, ...]],
        kwargs: dict[str, Any] | None = None,
        options: CallOptions = ANYTHING,
    ) -> list[Call]:
        """`submit` for many calls, one per tuple of arguments, in order."""
        crew, given = self._current(), kwargs or {}
        return [crew.submit(function, args, given, options) for args in arguments]

    def close(self) -> None:
        """End every crew, room and process of this Main. May be called twice."""
        with self._lock:
            crew, self._crew, self._is_closed = self._crew, None, True
        if crew is not None:
            crew.close()

    def _current(self) -> Crew:
        crew = self._crew
        if crew is None:
            with self._lock:
                if self._is_closed:
                    raise CommClosedError("this Main", "it was closed; call setup() to begin anew")
                if self._crew is None:
                    self._crew = Crew(self.settings)
                crew = self._crew
        return crew
