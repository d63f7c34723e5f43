"""Tasks that submit tasks: the client that a worker's tasks share, and what a parent does with its children.

A parent runs half of its time, submits its children, lends its slot until all of them are decided, however, and runs
the other half. Its value does not depend on theirs, so it can be checked as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from distributed.client.outbox import Outbox
from distributed.client.records import KeyRecord, Status
from distributed.client.table import KeyTable
from distributed.testing.simulation.chance import Stream
from distributed.testing.simulation.client import ClientProcess
from distributed.testing.simulation.clock import MS
from distributed.testing.simulation.work import Recipe

__all__ = ["WorkerClient", "give_children"]

PERCENT = 35  # of the seeds have tasks with children
PARENTS_MAX = 6


class WorkerClient(ClientProcess):
    """The client in a worker's process: made when a task first asks, gone with its worker.

    Tasks that wait for a session that is lost are told so; nobody submits anything again for them.
    """

    def __init__(self, world: Any, worker: Any) -> None:
        super().__init__(world, f"tasks of {worker.name}", worker.host)
        self.worker = worker

    def run(self, children: Iterable[Recipe], on_end: Callable[[], None]) -> None:
        """Submit these, call `on_end` when all are decided, and let go of them then."""
        if not self.is_alive:
            self.process = self.worker.process
            self.start()
        recipes = list(children)
        session = self.client
        self.submit(recipes)
        records = {recipe.key: self.table.records[recipe.key] for recipe in recipes if recipe.key in self.held}
        waiting = {key for key, record in records.items() if record.status is Status.PENDING}  # counted down only

        def end() -> None:
            if session == self.client:
                self.release([key for key in records if key in self.held and self.table.records.get(key) is not None])
            on_end()

        def settle(record: KeyRecord) -> None:
            waiting.discard(record.key)
            if not waiting:
                self.later(0, end)

        for key in list(waiting):
            self.table.add_waiter(records[key], settle)
        if not waiting:
            self.later(0, end)

    def release(self, keys: Iterable[str]) -> None:
        """Each of two parents may hold the same child: one hold goes with each."""
        names = [key for key in keys if key in self.held]
        for key in names:
            self.held[key] -= 1
            if not self.held[key]:
                del self.held[key]
        self._let_go(names)

    def submit_again(self, keys: Iterable[str]) -> None:
        """Nobody does: the parents are told, or run again elsewhere."""

    def died(self) -> None:
        """It went with its worker."""
        self.held = {}
        self.table, self.outbox, self.gatherings = KeyTable(), Outbox(), {}
        self.endpoint.end = None


def give_children(draws: Stream, parents: list[Recipe]) -> None:
    """Some of these recipes get children, and some of the children too."""
    if not draws.percent(PERCENT):
        return
    for parent in draws.some([recipe for recipe in parents if not recipe.kills], PARENTS_MAX):
        parent.children = _children(draws, parent, 1)


def _children(draws: Stream, parent: Recipe, depth: int) -> tuple[Recipe, ...]:
    children = []
    for number in range(draws.between(1, 3)):
        spec = parent.spec._replace(parent=parent.key, depth=depth, resources=None, retries=draws.pick((0, 2)))
        recipe = Recipe(
            f"{parent.key}.{number}", spec, (), draws.skewed(1, 100) * MS, draws.pick((8, 8, 12_000, 100_000))
        )
        fate = draws.below(100)
        recipe.raises = 1 if fate < 10 else 0
        recipe.kills = 1 if fate >= 97 else 0
        if depth < 3 and not recipe.kills and draws.percent(40):
            recipe.children = _children(draws, recipe, depth + 1)
        children.append(recipe)
    return tuple(children)
