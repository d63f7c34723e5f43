"""A manager with workers in threads of this process, for tests of both."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from distributed.errors import CommClosedError
from distributed.faces.manager.manager import DistributedManager
from distributed.faces.manager.remote import create_remote_worker_sync
from distributed.faces.manager.worker import DistributedWorker
from distributed.testing.processes import wait_until

__all__ = ["Echo", "Sitter", "Talker", "Team", "team_of"]


class Echo(DistributedWorker):
    """Sends back what it gets."""

    def handle_msg(self, msg: Any) -> None:
        """Send it back."""
        self.send(msg)


class Sitter(DistributedWorker):
    """Is in the middle of a long slice until it is let go."""

    def __init__(self, pipe: Any, let_go: threading.Event) -> None:
        super().__init__(pipe)
        self.let_go = let_go

    def loop(self) -> bool:
        """One long slice."""
        self.let_go.wait(20)
        return False


class Talker(Echo):
    """Sends a number of messages at once, then echoes."""

    def __init__(self, pipe: Any, count: int, size: int = 0) -> None:
        super().__init__(pipe)
        for number in range(count):
            self.send((number, bytes(size)))


class Team:
    """A manager, and workers in threads that end with it."""

    def __init__(self, manager: DistributedManager) -> None:
        self.manager = manager
        self.kept: dict[int, list[Any]] = {}
        self.let_go = threading.Event()
        self.threads: list[threading.Thread] = []

    def connect(self, wclass: Any = Echo, *args: Any) -> threading.Thread:
        """A worker that waits to be accepted."""
        args = (*args, self.let_go) if wclass is Sitter else args
        run = functools.partial(create_remote_worker_sync, wclass, self.manager.get_client_args(), *args)
        thread = threading.Thread(target=_end_well, args=(run,))
        thread.start()
        self.threads.append(thread)
        return thread

    def join(self, wclass: Any = Echo, *args: Any) -> int:
        """The id of a new worker that is active."""
        self.connect(wclass, *args)
        wait_until(self.manager.try_accept, "a worker")
        (id,) = self.manager.get_unconfirmed_workers()
        wait_until(lambda: self.keep() or id in self.manager.get_active_workers(), "its registration")
        return id

    def keep(self) -> bool:
        """Collect, and keep what came for `take`; False, for conditions."""
        for id, messages in self.manager.collect().items():
            self.kept.setdefault(id, []).extend(messages)
        return False

    def take(self, count: int) -> dict[int, list[Any]]:
        """As soon as so many messages have come."""
        wait_until(lambda: self.keep() or sum(map(len, self.kept.values())) >= count, f"{count} messages")
        kept, self.kept = self.kept, {}
        return {id: messages for id, messages in kept.items() if messages}

    def wait_dead(self, id: int) -> None:
        """Until that worker is dead."""
        wait_until(lambda: self.keep() or id in self.manager.get_dead_workers(), "its end")


def _end_well(run: Callable[[], None]) -> None:
    """A worker's thread: a manager that goes is no failure of it."""
    with contextlib.suppress(CommClosedError):
        run()


@contextlib.contextmanager
def team_of(**keywords: Any) -> Iterator[Team]:
    """A team whose manager has these keywords."""
    with DistributedManager(("localhost", 0), **keywords) as manager:
        team = Team(manager)
        try:
            yield team
        finally:
            team.let_go.set()
            manager.stop()
            for thread in team.threads:
                thread.join()
