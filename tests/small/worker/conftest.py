"""A worker's machine under test: every message goes through the real codec, every event is followed by a check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from distributed.messages import SCHEDULER, WORKER, Message, RunTasks
from distributed.wire import from_wire
from distributed.worker import invariants
from distributed.worker.effects import Effect, Execute, ToScheduler
from distributed.worker.events import Event, FromScheduler, Outcome, TasksExecuted, Tick
from distributed.worker.machine import WorkerMachine


class Harness:
    """Events in, effects out; what was not taken at the end of the test fails it."""

    def __init__(self) -> None:
        self.machine = WorkerMachine("tcp://me:1", nthreads=2)
        self.now = 0.0
        self.effects: list[Effect] = []
        self.tickets: dict[str, int] = {}  # of the newest run of each key that was handed to the executor

    def handle(self, event: Event) -> None:
        if isinstance(event, FromScheduler):
            event = FromScheduler(from_wire(event.message.to_wire(), SCHEDULER))
        self.machine.handle(event, self.now)
        invariants.check(self.machine)
        assert self.machine.next_wakeup is None or self.machine.next_wakeup >= self.now
        for effect in self.machine.take_effects():
            if isinstance(effect, ToScheduler):
                effect = ToScheduler(from_wire(effect.message.to_wire(), WORKER))
            if isinstance(effect, Execute):
                self.tickets.update((task.key, task.ticket) for task in effect.tasks)
            self.effects.append(effect)

    def sleep(self) -> float:
        """The clock jumps to when the machine asked to be woken; seconds since before."""
        assert self.machine.next_wakeup is not None
        slept = self.machine.next_wakeup - self.now
        self.now = self.machine.next_wakeup
        self.handle(Tick())
        return slept

    def receive(self, message: Message) -> None:
        """The scheduler sends `message`."""
        self.handle(FromScheduler(message))

    def run(self, *keys: str, attempt: int = 1, who_has: dict[str, list[str]] | None = None, **columns: Any) -> None:
        """The scheduler sends tasks that all call function ``b"f"`` and depend on all of `who_has`."""
        who_has = who_has or {}
        self.receive(
            RunTasks(
                functions=columns.get("functions", {b"f": b"blob"}),
                digests=columns.get("digests", [b"f"]),
                digest_of=columns.get("digest_of"),
                keys=list(keys),
                attempts=columns.get("attempts", [attempt] * len(keys)),
                arguments=[key.encode() for key in keys],
                wanted=columns.get("wanted"),
                dependencies=columns.get("dependencies", [list(who_has)] * len(keys) if who_has else None),
                who_has=who_has,
                nbytes=columns.get("nbytes", {}),
                options=columns.get("options"),
                option_of=columns.get("option_of"),
            )
        )

    def outcome(self, key: str, value: Any = "value", nbytes: int = 5, **fields: Any) -> Outcome:
        """The newest run of `key` returned `value`."""
        return Outcome(key, self.tickets[key], value, nbytes, b"payload", 0.25, **fields)

    def finish(self, *keys: str) -> None:
        """The executor finished these and the machine was told; its effects are dropped."""
        self.handle(TasksExecuted([self.outcome(key) for key in keys]))
        self.take()

    def take(self) -> list[Effect]:
        """The effects since the last call."""
        effects, self.effects = self.effects, []
        return effects

    def take_messages(self) -> list[Message]:
        """What is sent to the scheduler; there must be nothing else."""
        effects = self.take()
        assert all(isinstance(effect, ToScheduler) for effect in effects), effects
        return [effect.message for effect in effects if isinstance(effect, ToScheduler)]

    def take_executed(self) -> list[str]:
        """The keys handed to the executor; there must be nothing else."""
        effects = self.take()
        assert all(isinstance(effect, Execute) for effect in effects), effects
        return [task.key for effect in effects if isinstance(effect, Execute) for task in effect.tasks]


@pytest.fixture
def worker() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    assert harness.effects == [], "effects that the test did not take"
