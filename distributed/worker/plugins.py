"""WorkerPlugin: what a plugin of workers may have. Registered by `Client.register_plugin`, which sends it to all."""

from __future__ import annotations

from typing import Any

__all__ = ["WorkerPlugin"]


class WorkerPlugin:
    """Base of plugins for those who like one; any object with some of these methods is a plugin.

    Each worker has its own copy of it. ``setup`` and ``teardown`` may be ``async def``.

        class Connection(WorkerPlugin):
            def setup(self, worker):
                worker.connection = connect()

            def teardown(self, worker):
                worker.connection.close()

    A plugin may also have ``transition(key, start, finish)``. It is called in a thread of its own, a moment later, for
    ``'waiting' -> 'ready'`` (all that the task needs is here) and ``'ready' -> 'memory'`` or ``'error'``; when tasks
    end faster than it can look, it hears of some.
    """

    name: str | None = None  # under which it is registered, and replaces another one; None: made from its content

    def setup(self, worker: Any) -> Any:
        """Called once on each worker, before the tasks that were submitted after it was registered.

        Args:
            worker: as `get_worker` gives it.
        What it raises is raised by `Client.register_plugin`; the worker goes on without the plugin.
        """

    def teardown(self, worker: Any) -> Any:
        """Called when the plugin is unregistered or replaced, or its worker ends in good order."""
