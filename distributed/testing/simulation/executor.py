"""The simulated executor of a worker: tasks take virtual time, and do what their recipes say."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

from distributed.messages import TasksPrinted
from distributed.testing.simulation.clock import MS, SECOND, seconds
from distributed.testing.simulation.work import INLINE_MAX, Recipe, argument_of, code_of
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome

__all__ = ["Executor"]

INTERRUPT = 2 * MS  # for an exception to arrive
LATE = 500 * MS  # past its time: until then a nanny does not look
POLL = MS  # how often the loop looks for outcomes while there are some


class Executor:
    """Threads of one life of a worker: first in, first out.

    Attributes:
        queue: what has not begun.
        running: by ticket, ``(task, scheduler's life, attempt)``; the attempt is None if its machine has forgotten it.
        lent: tickets of those among them that wait for their children, or for a slot after that.
    """

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.world = worker.world
        self.queue: deque[ReadyTask] = deque()
        self.running: dict[int, tuple[ReadyTask, int, int | None]] = {}
        self.lent: dict[int, None] = {}
        self._rejoining: deque[tuple[ReadyTask, Callable[[], None]]] = deque()
        self._outcomes: list[Outcome] = []
        self._is_looking = False

    def running_keys(self) -> list[str]:
        """What runs now; who waits for children does not."""
        return [task.key for ticket, (task, _, _) in self.running.items() if ticket not in self.lent]

    def submit(self, tasks: list[ReadyTask]) -> None:
        """Run these after those submitted before."""
        self.queue.extend(tasks)
        self.worker.later(0, self.begin)

    def withdraw(self, keys: list[str]) -> list[str]:
        """Take the tasks of these keys out of the queue."""
        unwanted = frozenset(keys)  # asked only for membership
        taken = [task.key for task in self.queue if task.key in unwanted]
        self.queue = deque(task for task in self.queue if task.key not in unwanted)
        return taken

    def stop(self, tickets: dict[str, int]) -> list[int]:
        """Take these out of the queue, and interrupt those that run; the tickets of those that never will begin."""
        withdrawn = self.withdraw(list(tickets))
        for key, ticket in tickets.items():
            if ticket in self.running and not self.world.is_stubborn(key):
                self.worker.later(INTERRUPT, self._interrupt, ticket, "TaskInterrupted")
        return [tickets[key] for key in withdrawn]

    def _interrupt(self, ticket: int, kind: str) -> None:
        if ticket in self.running:
            task, _, _ = self.running.pop(ticket)
            if ticket in self.lent:  # it was raised in its wait, and no thread has to come back
                del self.lent[ticket]
                self.worker.lending(ticket, task.key, False)
            self._report(Outcome(task.key, ticket, None, 0, None, 0.001, [kind, f"{task.key} stopped", "", None]))
            self.begin()

    def _is_late(self, task: ReadyTask) -> None:
        """It has run for as long as it may; if it does not stop, its nanny looks a little later."""
        if not self.world.is_stubborn(task.key):
            self._interrupt(task.ticket, "TaskTimeoutError")
        elif self.worker.nanny is not None:
            self.worker.later(LATE, self._ask_nanny, task)

    def _ask_nanny(self, task: ReadyTask) -> None:
        if task.ticket in self.running:
            self.worker.nanny.replace(self.worker.incarnation, [task.key], is_late=True)

    def begin(self) -> None:
        """Give tasks to free threads."""
        worker, world = self.worker, self.world
        while self._rejoining and self._has_slots_for(self._rejoining[0][0]):
            self._rejoin(*self._rejoining.popleft())
        while self.queue and not self._rejoining and not worker.memory.is_paused:
            task = min(self.queue, key=_rank)
            if not self._has_slots_for(task):
                break
            self.queue.remove(task)
            record = worker.machine.state.tasks.get(task.key)
            attempt = record.attempt if record is not None and record.task is task else None
            recipe = world.work.recipes[task.key]
            world.check_begin(worker, task, attempt)
            found = {key: worker.memory.value(key) for key in task.dependencies or ()}
            missing = [key for key, value in found.items() if value is None]
            if missing:
                self._report(Outcome(task.key, task.ticket, None, 0, None, 0.0, None, missing))
                continue
            values = [value for value in found.values() if value is not None]
            run = world.work.runs[task.key] = world.work.runs.get(task.key, 0) + 1
            self.running[task.ticket] = (task, worker.scheduler_life, attempt)
            duration = recipe.duration * worker.plan.speed * worker.slowness
            if task.options.timeout_s:
                worker.later(int(task.options.timeout_s * SECOND), self._is_late, task)
            if run <= recipe.kills:
                worker.later(duration // 2, self._kill, task)
            elif recipe.children:
                worker.later(duration // 2, self._wait, task, recipe, run <= recipe.raises, values, duration)
            else:
                worker.later(duration, self._end, task, run <= recipe.raises, values, duration)

    def taken(self) -> int:
        """Slots that tasks have which run."""
        return sum(task.options.threads for ticket, (task, _, _) in self.running.items() if ticket not in self.lent)

    def _has_slots_for(self, task: ReadyTask) -> bool:
        return self.taken() + task.options.threads <= int(self.worker.plan.nthreads)

    def _wait(self, task: ReadyTask, recipe: Recipe, *rest: Any) -> None:
        """Submit its children, and lend its slot until they are decided."""
        if task.ticket not in self.running:  # interrupted before
            return
        self.lent[task.ticket] = None
        self.worker.lending(task.ticket, task.key, True)
        go_on = partial(self.worker.later, rest[2] // 2, self._end, task, *rest)

        def come_back() -> None:
            self._rejoining.append((task, go_on))
            self.begin()

        self.worker.client.run(recipe.children, lambda: self.worker.later(0, come_back))
        self.begin()

    def _rejoin(self, task: ReadyTask, go_on: Callable[[], None]) -> None:
        if task.ticket not in self.lent:  # interrupted in its wait
            return
        del self.lent[task.ticket]
        self.worker.lending(task.ticket, task.key, False)
        go_on()

    def _kill(self, task: ReadyTask) -> None:
        if task.ticket not in self.running:  # interrupted before
            return
        self.world.trace.note(self.worker.name, f"dies of {task.key}")
        self.worker.crash()

    def _end(self, task: ReadyTask, is_raised: bool, values: list[bytes], duration: int) -> None:
        if self.running.pop(task.ticket, None) is None:  # likewise
            return
        key = task.key
        if is_raised:
            failure = ["SimulatedError", f"{key} raised", "", None]
            self._report(Outcome(key, task.ticket, None, 0, None, seconds(duration), failure))
        else:
            value, nbytes = self.world.work.value_from(key, values), self.world.work.nbytes(key)
            if self.world.plan.prints and crc32(key.encode()) % 4 == 0:
                self.worker.tell(TasksPrinted([key], ["stdout"], [f"{key} says\n"]))
            payload = value if task.wanted and nbytes <= INLINE_MAX else None
            actor = f"object {task.ticket}" if task.options.actor else None
            self._report(Outcome(key, task.ticket, value, nbytes, payload, seconds(duration), actor=actor))
        self.begin()

    def _report(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if not self._is_looking:
            self._is_looking = True
            self.worker.later(POLL, self._look)

    def _look(self) -> None:
        self._is_looking = False
        outcomes, self._outcomes = self._outcomes, []
        self.worker.executed(outcomes)

    def ended_tickets(self) -> set[int]:
        """Of what has ended and the machine has not heard of."""
        return {outcome.ticket for outcome in self._outcomes}


def _rank(task: ReadyTask) -> int:
    return task.rank


def is_right(task: ReadyTask) -> bool:
    """Whether function and arguments are those that were submitted."""
    return bool(task.function == code_of(task.digest) and task.arguments == argument_of(task.key))
