"""Ready queues: tasks that could start now, by restriction and priority.

Entries are skipped lazily: a task that left READY in another way than `ReadyQueue.pop` (cancelled, released) leaves its
entry behind, and `leave` counts it. Not here: who gets the tasks (`placement`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from distributed.messages import TaskSpec
from distributed.scheduler.records import TaskRecord, TaskState, WorkerRecord

__all__ = ["UNRESTRICTED", "ReadyQueue", "Restriction", "restriction_of"]

STALE_MAX = 1000  # left-behind entries a queue may hold beside as many as it has live ones

_READY = TaskState.READY


class Restriction(NamedTuple):
    """Which workers may run a task; a suspect (it ran when a worker died) only runs on a worker of its own."""

    workers: tuple[str, ...] | None = None
    resources: tuple[tuple[str, float], ...] | None = None
    is_suspect: bool = False

    @classmethod
    def of_spec(cls, spec: TaskSpec, is_suspect: bool) -> Restriction:
        """The restriction that tasks of `spec` have."""
        return cls(spec.workers, spec.resources, is_suspect)

    def matches(self, worker: WorkerRecord) -> bool:
        """Whether `worker` could ever run such a task, all of its threads and resources being free."""
        if self.workers is not None and not (
            worker.address in self.workers or worker.name in self.workers or worker.host in self.workers
        ):
            return False
        return self.resources is None or all(worker.resources.get(n, 0.0) >= amount for n, amount in self.resources)

    def tokens(self) -> tuple[str, ...]:
        """Under which texts a worker finds this restriction, see `worker_tokens`; suspects are found otherwise."""
        if self.is_suspect:
            return ()
        if self.workers is not None:
            return self.workers
        return (f"resource {self.resources[0][0]}",) if self.resources else ()


UNRESTRICTED = Restriction()


def restriction_of(task: TaskRecord) -> Restriction:
    """The restriction of `task` as things stand."""
    spec = task.spec
    if spec.workers is None and spec.resources is None and not task.deaths:
        return UNRESTRICTED
    return Restriction.of_spec(spec, task.deaths > 0)


def worker_tokens(worker: WorkerRecord) -> list[str]:
    """The texts under which restrictions that `worker` may match are filed."""
    return [worker.address, worker.name, worker.host, *(f"resource {name}" for name in worker.resources)]


class ReadyQueue:
    """The READY tasks of one restriction, higher priority first.

    Attributes:
        live: how many READY tasks are in it.
        entries: how many entries, left-behind ones included.
        reserved: the worker that runs empty for a suspect of this queue, or None.
    """

    __slots__ = ("_priorities", "entries", "levels", "live", "reserved", "restriction")

    def __init__(self, restriction: Restriction) -> None:
        self.restriction = restriction
        self.levels: dict[int, deque[TaskRecord]] = {}
        self._priorities: list[int] = []  # a heap of -priority, one for every level
        self.live = 0
        self.entries = 0
        self.reserved: WorkerRecord | None = None

    def push(self, priority: int, tasks: Sequence[TaskRecord], is_front: bool) -> None:
        """Queue READY `tasks` of one priority in their order, behind or before those that are there."""
        level = self.levels.get(priority)
        if level is None:
            level = self.levels[priority] = deque()
            heappush(self._priorities, -priority)
        if is_front:
            level.extendleft(reversed(tasks))
        else:
            level.extend(tasks)
        self.live += len(tasks)
        self.entries += len(tasks)

    def top(self) -> int:
        """The highest priority; there must be an entry."""
        while not self.levels[-self._priorities[0]]:
            del self.levels[-heappop(self._priorities)]
        return -self._priorities[0]

    def pop(self, priority: int) -> TaskRecord | None:
        """The next live task of this priority, which no longer counts as queued; None if there is none."""
        level = self.levels.get(priority)
        while level:
            task = level.popleft()
            self.entries -= 1
            if self.has(task):
                self.live -= 1
                return task
        return None

    def has(self, task: TaskRecord) -> bool:
        """Whether an entry for `task` counts: it is READY and has not become a suspect since."""
        return task.state is _READY and (task.deaths > 0) is self.restriction.is_suspect

    def leave(self) -> None:
        """A task of this queue has just left READY without being popped. Cost: O(1), amortised."""
        self.live -= 1
        if not self.live:
            self.clear()
        elif self.entries > 2 * self.live + STALE_MAX:
            for priority, level in self.levels.items():
                self.levels[priority] = deque(dict.fromkeys(task for task in level if self.has(task)))
            self.entries = sum(map(len, self.levels.values()))

    def clear(self) -> None:
        """Drop every entry: none is live."""
        self.levels.clear()
        self._priorities.clear()
        self.live = self.entries = 0
