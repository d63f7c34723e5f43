"""The tasks that ended last: where, when and how long each took. Bounded; for pages and `Client.get_task_stream`.

Workers tell how long each of their tasks took, and send many in one message. So an entry is a message: that costs the
scheduler nothing per task. When each began is worked out when somebody asks (`runs`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapreplace
from typing import NamedTuple

__all__ = ["TASKS_MAX", "EndedTasks", "Run"]

TASKS_MAX = 100_000  # remembered: about 10 MB when all of their keys are forgotten elsewhere
CLOCK_S = 0.002  # what our times may be off: tasks that end are told of once a millisecond
SLACK = 1_000  # more of them, so that old ones are dropped now and then


# Tasks that one message told of, in the order in which they ended: address and threads of the worker, when in monotonic
# seconds, keys, durations in seconds, status. No class: a tuple is made in a third of the time, for each message.
Batch = tuple[str, int, float, list[str], list[float], str]


class Run(NamedTuple):
    """One task's run; ``start`` and ``stop`` are monotonic seconds of the scheduler, ``thread`` counts from 0."""

    key: str
    worker: str
    thread: int
    start: float
    stop: float
    status: str


@dataclass(slots=True)
class EndedTasks:
    """See the module.

    Attributes:
        count: tasks that were ever added: the number of the next one.
        batches: of the newest, oldest first; whoever appends one adds to `count`, and calls `trim` when that comes to
            `trim_at`.
    """

    count: int = 0
    batches: deque[Batch] = field(default_factory=deque)
    trim_at: int = TASKS_MAX + SLACK
    _first: int = 0  # number of the first one that is remembered

    def trim(self) -> None:
        """Forget what is more than `TASKS_MAX`; to be called when ``count >= trim_at``. Cost: O(1), amortised."""
        while self.count - self._first > TASKS_MAX and len(self.batches) > 1:
            self._first += len(self.batches.popleft()[3])
        self.trim_at = self.count + SLACK

    def rate(self, now: float, window_s: float) -> float:
        """Tasks per second that ended in the last `window_s` seconds. Cost: O(messages in it)."""
        total = 0
        for batch in reversed(self.batches):
            if batch[2] < now - window_s:
                break
            total += len(batch[3])
        return total / window_s

    def first_since(self, since_s: float) -> int:
        """The number of the first remembered task that ended at `since_s` or later. Cost: O(messages since)."""
        number = self.count
        for batch in reversed(self.batches):
            if batch[2] < since_s:
                break
            number -= len(batch[3])
        return number

    def runs(self, first: int, count_max: int) -> tuple[int, list[Run]]:
        """Up to `count_max` runs from number `first` on, by the time they became known, whole messages each.

        A message is taken to have been sent when its last task ended, and its tasks to have followed each other
        without a pause on the worker's threads.

        Returns:
            The number to go on with, and the runs. Numbers that are forgotten are left out.
        """
        number = self._first
        found: list[Run] = []
        nthreads_of: dict[str, int] = {}
        for batch in self.batches:
            end = number + len(batch[3])
            if end > first:
                skip = max(0, first - number)
                found.extend(list(_runs_of(batch))[skip:])
                nthreads_of[batch[0]] = batch[1]
                if len(found) >= count_max:
                    return end, _on_threads(found, nthreads_of)
            number = end
        return self.count, _on_threads(found, nthreads_of)


def _runs_of(batch: Batch) -> Iterator[Run]:
    """Backwards from the end: each task goes to the thread that is free latest."""
    address, nthreads, now, keys, durations_s, status = batch
    free = [(-now, thread) for thread in range(min(nthreads, len(keys)))]  # a heap
    runs: list[Run] = []
    for key, duration_s in zip(reversed(keys), reversed(durations_s), strict=True):
        end, thread = free[0]
        runs.append(Run(key, address, thread, -end - duration_s, -end, status))
        heapreplace(free, (end + duration_s, thread))
    return reversed(runs)


def _on_threads(runs: list[Run], nthreads_of: dict[str, int]) -> list[Run]:
    """The same with threads that fit those of earlier messages: of those that were free, the one that was so last."""
    ends: dict[str, list[float]] = {}  # of each worker's threads
    placed = list(runs)
    for index in sorted(range(len(runs)), key=lambda index: runs[index].start):
        run = runs[index]
        threads = ends.setdefault(run.worker, [])
        free = [thread for thread, end in enumerate(threads) if end <= run.start + CLOCK_S]
        if free:
            thread = max(free, key=threads.__getitem__)
        elif len(threads) < nthreads_of[run.worker]:
            thread = len(threads)
            threads.append(run.stop)
        else:  # messages took their time
            thread = min(range(len(threads)), key=threads.__getitem__)
        threads[thread] = run.stop
        placed[index] = run._replace(thread=thread)
    return placed
