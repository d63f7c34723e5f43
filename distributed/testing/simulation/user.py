"""Whoever sits at a client: does the steps of the plan one after the other, and at the end looks at every result."""

from __future__ import annotations

from typing import Any

from distributed.client.records import Status
from distributed.messages import TaskSpec
from distributed.testing.simulation.clock import MS, SECOND
from distributed.testing.simulation.plan import NOWHERE, ClientPlan, Step
from distributed.testing.simulation.work import FUNCTIONS, Recipe

__all__ = ["User"]

LOOK = 100 * MS
SCATTER_PATIENCE = 15 * SECOND


class User:
    """One user.

    Attributes:
        is_satisfied: all steps are done, the faults are healed, and every result was there and right.
    """

    def __init__(self, world: Any, client: Any, plan: ClientPlan) -> None:
        self.world, self.client, self.plan = world, client, plan
        self.is_satisfied = False
        self._next = 0
        self._life = 0
        self._final_session = ""
        self._finals = 0
        client.on_ready = self._ready

    def _ready(self) -> None:
        if self._life != self.client.life:
            self._life = self.client.life
            self._plan_next()

    def _plan_next(self) -> None:
        if self._next < len(self.plan.steps):
            self.client.later(self.plan.steps[self._next].pause, self._do)
        else:
            self.client.later(LOOK, self._finish)

    def _do(self) -> None:
        step = self.plan.steps[self._next]
        self._next += 1
        self.world.trace.note(self.client.name, f"{step.kind} ({step.name})")
        getattr(self, f"_{step.kind}")(step)
        if self.client.is_alive:
            self._plan_next()

    def _some_held(self, step: Step) -> list[str]:
        draws = self.world.chance.stream(f"{step.name} chooses")
        return [key for key in self.client.held if draws.percent(step.share)]

    # ------------------------------------------------------------ steps

    def _submit(self, step: Step) -> None:
        self.client.submit(step.tasks)

    def _map(self, step: Step) -> None:
        self.client.submit(step.tasks)

    def _graph(self, step: Step) -> None:
        self.client.submit_graph(step.tasks)

    def _hopeless(self, step: Step) -> None:
        self.world.work.hopeless.update((task.key, None) for task in step.tasks if task.spec.workers == NOWHERE)
        self.client.submit_graph(step.tasks)

    def _want(self, step: Step) -> None:
        self.client.want(step.keys)

    def _release(self, step: Step) -> None:
        self.client.release(self._some_held(step))

    def _cancel(self, step: Step) -> None:
        keys = [key for key in self._some_held(step)[:5] if self.client.is_held(key)]
        self.client.cancel(keys, self.world.chance.stream(f"{step.name} forces").percent(60))

    def _cancel_queued(self, step: Step) -> None:
        self.client.cancel_queued([key for key in self._some_held(step) if self.client.is_held(key)])

    def _retry(self, step: Step) -> None:
        self.client.retry(self._some_held(step))

    def _gather(self, step: Step) -> None:
        keys = [key for key in self._some_held(step) if self.client.is_held(key)]
        self.client.gather(keys, lambda missing: None)

    def _scatter(self, step: Step) -> None:
        self.client.scatter(step.keys)
        self.client.later(SCATTER_PATIENCE, self._scattered, self.client.client, step.keys)

    def _scattered(self, session: str, keys: list[str]) -> None:
        """A scatter that is not done in time raises, and its futures go."""
        if session == self.client.client:
            pending = {record.key: None for record in self.client.undecided()}
            self.client.release([key for key in keys if key in pending and key in self.client.held])

    def _again(self, step: Step) -> None:
        """Release and submit at once under the same keys."""
        client, work = self.client, self.world.work
        keys = [key for key in self._some_held(step) if key in work.recipes and not work.dependencies(key)]
        client.release(keys)
        client.submit([work.recipes[key] for key in keys])

    def _leave(self, step: Step) -> None:
        if step.share >= 60:
            self.client.crash()
        else:
            self.client.leave()

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Look again until all is healed; then ask for something new, and for everything that is held."""
        client = self.client
        session = self._session()
        if self.world.is_healed and self._final_session != session and client.scheduler is not None:
            self._final_session = session
            self._finals += 1
            client.submit_graph(self._last_graph())
            keys = [key for key in client.held if key not in self.world.work.scattered]
            client.gather(keys, lambda missing: self._gathered(session, missing))
        client.later(LOOK, self._finish)

    def _session(self) -> str:
        return f"{self.client.client} with {self.client.scheduler_life}"

    def _last_graph(self) -> list[Recipe]:
        name = f"{self.plan.name[-1]}last{self._finals}."
        roots = [
            Recipe(f"{name}{index}", TaskSpec(FUNCTIONS[0], wanted=False), (), 5 * MS, 100_000) for index in range(4)
        ]
        needs = tuple(root.key for root in roots)
        return [*roots, Recipe(f"{name}sum", TaskSpec(FUNCTIONS[1]), needs, 5 * MS)]

    def _gathered(self, session: str, missing: list[str]) -> None:
        if session != self._session():
            return  # it was lost meanwhile, so `_finish` asks again
        for key in missing:
            record = self.client.table.records.get(key)
            if record is not None and record.status in (Status.FINISHED, Status.PENDING):
                self.world.fail("what is held can be fetched once all is healed", f"{self.client.name}: {key}")
        self.is_satisfied = True
