"""Plugins of a scheduler: code of its operator (``dscheduler --preload``) that hears what happens, after it happened.

They get copies, texts and plain data, never a record; so what they do cannot break the machine. They run on the
scheduler's loop: one that takes long delays everybody. Nothing of this costs anything while there is no plugin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from distributed.scheduler.state import SchedulerState

__all__ = ["Plugins", "SchedulerPlugin"]

logger = logging.getLogger(__name__)

FAILURES_MAX = 10  # of one plugin; then it is dropped


class SchedulerPlugin:
    """Base of scheduler plugins: override what you want to hear of.

    What a method raises is logged; a plugin that has raised ten times is dropped.
    """

    is_for_scheduler = True  # so that a client can refuse it without knowing this class

    def transition(self, key: str, start: str, finish: str, because: str) -> None:
        """A task went from one state to another: ``waiting``, ``ready``, ``processing``, ``memory``, ``erred``, ..."""

    def add_worker(self, worker: dict[str, Any]) -> None:
        """A worker joined: ``address``, ``name``, ``host``, ``nthreads``, ``memory_limit_nbytes``, ``resources``."""

    def remove_worker(self, address: str, reason: str) -> None:
        """A worker is gone."""

    def add_client(self, client: str) -> None:
        """A client connected."""

    def remove_client(self, client: str) -> None:
        """A client is gone, and not only cut off for a while."""


class Plugins:
    """Those of one scheduler.

    Args:
        state: of the machine; its log is watched from the first plugin on.
        call_soon: has a function called on the loop, in its next turn.
    """

    def __init__(self, state: SchedulerState, call_soon: Callable[[Callable[[], object]], object]) -> None:
        self._state = state
        self._call_soon = call_soon
        self._plugins: dict[str, SchedulerPlugin] = {}
        self._failures: dict[str, int] = {}
        self._notices: list[tuple[str, tuple[Any, ...]]] = []
        self._is_due = False

    def add(self, plugin: SchedulerPlugin, name: str | None = None) -> str:
        """Let it hear everything from now on; its name. One of the same name is replaced."""
        name = name or str(getattr(plugin, "name", None) or f"{type(plugin).__name__}-{len(self._plugins)}")
        self._plugins[name] = plugin
        self._failures[name] = 0
        self._state.log.watch(self._due)
        return name

    def remove(self, name: str) -> None:
        """Let it hear nothing more. KeyError: no such plugin."""
        del self._plugins[name]

    def note(self, method: str, *about: Any) -> None:
        """`method` of every plugin is to be called, after the transitions until now."""
        if self._plugins:
            self._take_log()
            self._notices.append((method, about))
            self._due()

    def note_worker(self, address: str) -> None:
        """A worker joined."""
        worker = self._state.workers.get(address) if self._plugins else None
        if worker is not None:
            self.note("add_worker", {
                "address": worker.address,
                "name": worker.name,
                "host": worker.host,
                "nthreads": worker.nthreads,
                "memory_limit_nbytes": worker.memory_limit_nbytes,
                "resources": dict(worker.resources),
            })  # fmt: skip

    def _due(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._call_soon(self.deliver)

    def _take_log(self) -> None:
        for key, origin, to, because, _ in self._state.log.take_news():
            self._notices.append(("transition", (key, origin.name.lower(), to.name.lower(), because)))

    def deliver(self) -> None:
        """Tell all plugins what has happened; on the loop, between two events."""
        self._is_due = False
        self._take_log()
        notices, self._notices = self._notices, []
        for name, plugin in list(self._plugins.items()):
            for method, about in notices:
                if not self._tell(name, plugin, method, about):
                    break

    def _tell(self, name: str, plugin: SchedulerPlugin, method: str, about: tuple[Any, ...]) -> bool:
        """False: it hears nothing more."""
        try:
            getattr(plugin, method)(*[dict(part) if isinstance(part, dict) else part for part in about])
        except Exception:  # an operator's fault must not stop the scheduler
            self._failures[name] += 1
            logger.exception("plugin %s: %s raised", name, method)
            if self._failures[name] >= FAILURES_MAX:
                logger.error("plugin %s is dropped: it has raised %d times", name, FAILURES_MAX)
                self._plugins.pop(name, None)
                return False
        return name in self._plugins
