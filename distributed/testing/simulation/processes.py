"""A simulated process: it lives, is paused, dies, lives again; what was planned for an old life is forgotten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

__all__ = ["Process"]


class Process(ABC):
    """Base of scheduler, workers, nannies and clients.

    Attributes:
        name: for people and traces, the same over all lives.
        host: partitions separate hosts.
        life: counts its lives.
        is_frozen: it is paused because a function holds its interpreter: from outside it works.
        backlog: what came while it was paused, to be done when it goes on.
    """

    def __init__(self, world: Any, name: str, host: str) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.life = 0
        self.is_alive = False
        self.is_paused = False
        self.is_frozen = False
        self.backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def later(self, ticks: int, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action(*arguments)`` in `ticks`, if this life lasts so long, and not while it is paused."""
        self.world.clock.after(ticks, self._run, self.life, action, arguments)

    def post(self, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action(*arguments)`` now, or when the process is no longer paused."""
        self._run(self.life, action, arguments)

    def _run(self, life: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if life != self.life or not self.is_alive:
            return
        if self.is_paused:
            self.backlog.append((action, arguments))
        else:
            action(*arguments)

    def start(self) -> None:
        """Begin a life."""
        assert not self.is_alive
        self.life += 1
        self.is_alive = True
        self.is_paused = self.is_frozen = False
        self.backlog = []
        self.world.trace.note(self.name, "starts")
        self.begin()

    def crash(self, is_silent: bool = False) -> None:
        """``kill -9``, or (`is_silent`) the host is gone and nobody is told."""
        if not self.is_alive:
            return
        self.world.trace.note(self.name, "vanishes with its host" if is_silent else "is killed")
        self.is_alive = False
        self.backlog = []
        self.world.network.crash(self, is_silent)
        self.died()

    def pause(self) -> None:
        """SIGSTOP."""
        self.is_paused = self.is_alive

    def resume(self) -> None:
        """SIGCONT: everything that came meanwhile is taken in now, in order."""
        self.is_paused = self.is_frozen = False
        backlog, self.backlog = self.backlog, []
        for index, (action, arguments) in enumerate(backlog):
            if not self.is_alive:
                return
            if self.is_paused:
                self.backlog = backlog[index:] + self.backlog
                return
            action(*arguments)

    # ------------------------------------------------------------ of the roles

    @abstractmethod
    def begin(self) -> None:
        """What a life begins with."""

    @abstractmethod
    def died(self) -> None:
        """Called after a crash."""

    @abstractmethod
    def accept(self, end: Any) -> None:
        """A connection came."""
