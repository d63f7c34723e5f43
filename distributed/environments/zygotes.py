"""One forking process for each environment in use, so that a room in it starts in milliseconds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

from distributed.dataclass import dataclass, field
from distributed.environments.builder import Environment
from distributed.environments.interpreters import clean_environment
from distributed.process.fresh import FreshZygote

__all__ = ["Zygotes"]

IDLE_S = 120.0  # a zygote is kept for the next room; it holds some 40 MB, and starting one takes 0.3 s


@dataclass(slots=True, eq=False)
class _Entry:
    zygote: FreshZygote
    uses: int = 0
    end: asyncio.TimerHandle | None = field(default=None, repr=False)


class Zygotes:
    """Gives out the zygote of an environment; starts it when it is first wanted, ends it when it has long been idle.

    Args:
        mains: ``module:function`` by kind, see `FreshZygote`.
        preload: kinds that it imports at once, before a child is asked for.
        idle_s: how long it is kept without use.
    """

    def __init__(self, mains: Mapping[str, str], preload: Sequence[str] = (), idle_s: float = IDLE_S) -> None:
        self._mains = dict(mains)
        self._preload = tuple(preload)
        self._idle_s = idle_s
        self._entries: dict[str, _Entry] = {}  # by interpreter: that is what environments differ by

    def get(self, environment: Environment) -> FreshZygote:
        """The zygote of `environment`, attached to the running loop; it may still be starting, and takes orders.

        Give it back with `release`. One that has ended by itself is replaced.

        Raises:
            WorkerStartError: the interpreter cannot be started.
        """
        entry = self._entries.get(environment.python)
        if entry is None or entry.zygote.is_gone():
            self._end(environment.python)
            entry = self._entries[environment.python] = _Entry(self._start(environment))
        if entry.end is not None:
            entry.end.cancel()
            entry.end = None
        entry.uses += 1
        return entry.zygote

    def warm(self, environment: Environment) -> None:
        """Have its zygote import what rooms need, before one is wanted. Errors as `get`."""
        self.get(environment)
        self.release(environment)

    def release(self, environment: Environment, zygote: FreshZygote | None = None) -> None:
        """Say that one use has ended: once for each `get`. `zygote`: which one, if it may have been replaced since."""
        entry = self._entries.get(environment.python)
        if entry is None or not entry.uses or (zygote is not None and zygote is not entry.zygote):
            return
        entry.uses -= 1
        if not entry.uses:
            loop = asyncio.get_running_loop()
            entry.end = loop.call_later(self._idle_s, self._end, environment.python)

    def close(self) -> None:
        """End all of them, and with them what they have forked."""
        for python in list(self._entries):
            self._end(python)

    def _start(self, environment: Environment) -> FreshZygote:
        is_own = environment.python == sys.executable
        variables = None if is_own else clean_environment(environment.python)
        zygote = FreshZygote(self._mains, self._preload, environment.python, variables)
        zygote.attach()
        return zygote

    def _end(self, python: str) -> None:
        entry = self._entries.pop(python, None)
        if entry is not None:
            if entry.end is not None:
                entry.end.cancel()
            entry.zygote.close()
