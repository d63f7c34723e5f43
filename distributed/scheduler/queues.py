"""Ready queues: tasks that could start now, by restriction and priority.

Entries are skipped lazily: a task that left READY in another way than `ReadyQueue.pop` (cancelled, released) leaves its
entry behind, and `leave` counts it. Not here: who gets the tasks (`placement`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from distributed.messages import TaskSpec
from distributed.scheduler.records import MEMORY, TaskRecord, TaskState, WorkerRecord, amounts_of

__all__ = ["UNRESTRICTED", "ReadyQueue", "Restriction", "level_of", "restriction_of"]

ANYWHERE = "any worker"  # the token of restrictions that name neither workers nor resources
DEPTH_BITS = 20
DEPTH_MAX = (1 << DEPTH_BITS) - 1  # deeper ones go with those of this depth
STALE_MAX = 1000  # left-behind entries a queue may hold beside as many as it has live ones

_READY = TaskState.READY


def level_of(task: TaskRecord) -> int:
    """In which level of its queue a READY task waits: of higher priority first, then the deeper, then lost results.

    Deeper ones first: of tasks that submit tasks few have begun and wait, and the children of those come before others.
    What was computed before (it has a size) is computed again because something that began long ago needs it. Behind
    tasks that have just become ready it would sink deeper with every one that ends, and while workers die all the time
    nothing would get ahead.
    """
    spec = task.spec
    return (((spec.priority << DEPTH_BITS) + min(spec.depth, DEPTH_MAX)) << 1) + (task.nbytes > 0)


class Restriction(NamedTuple):
    """Which workers may run a task; a suspect (it ran when a worker died) only runs on a worker of its own.

    `platform` is a pattern that a tag of the worker matches, or several with ``|`` between; `is_loose`: others than
    `workers` if those cannot. One of several `threads` takes so many at once.
    """

    workers: tuple[str, ...] | None = None
    resources: tuple[tuple[str, float], ...] | None = None
    is_suspect: bool = False
    platform: str | None = None
    is_loose: bool = False
    threads: int = 1

    @classmethod
    def of_spec(cls, spec: TaskSpec, is_suspect: bool) -> Restriction:
        """The restriction that tasks of `spec` have."""
        is_loose = spec.allow_other_workers and spec.workers is not None
        return cls(spec.workers, amounts_of(spec), is_suspect, spec.platform, is_loose, spec.threads)

    def loosened(self) -> Restriction:
        """The same when the workers it names are only a wish that cannot be met."""
        return self._replace(workers=None, is_loose=False) if self.is_loose else self

    def matches(self, worker: WorkerRecord) -> bool:
        """Whether `worker` could ever run such a task, all of its threads and resources being free."""
        if self.threads > worker.nthreads:
            return False
        if self.workers is not None and not (
            worker.address in self.workers or worker.name in self.workers or worker.host in self.workers
        ):
            return False
        if self.platform is not None and not _matches(worker.tags, self.platform):
            return False
        amounts = worker.amounts
        return self.resources is None or all(
            amounts.get(name, inf if name == MEMORY else 0.0) >= amount for name, amount in self.resources
        )

    def tokens(self) -> tuple[str, ...]:
        """Under which texts a worker finds this restriction, see `worker_tokens`; suspects are found otherwise."""
        if self.is_suspect:
            return ()
        if self.workers is not None:
            return (*self.workers, ANYWHERE) if self.is_loose else self.workers
        if self.resources and self.resources[0][0] != MEMORY:
            return (f"resource {self.resources[0][0]}",)
        return (ANYWHERE,) if self.resources or self.platform is not None or self.threads > 1 else ()


UNRESTRICTED = Restriction()


def restriction_of(task: TaskRecord) -> Restriction:
    """The restriction of `task` as things stand."""
    spec = task.spec
    if (
        not task.deaths
        and spec.workers is None
        and spec.resources is None
        and spec.platform is None
        and spec.memory_limit_nbytes is None
        and spec.threads == 1
    ):
        return UNRESTRICTED
    return Restriction.of_spec(spec, task.deaths > 0)


def _matches(tags: Sequence[str], patterns: str) -> bool:
    return any(fnmatchcase(tag, pattern) for pattern in patterns.split("|") for tag in tags)


def worker_tokens(worker: WorkerRecord) -> list[str]:
    """The texts under which restrictions that `worker` may match are filed."""
    return [worker.address, worker.name, worker.host, ANYWHERE, *(f"resource {name}" for name in worker.resources)]


class ReadyQueue:
    """The READY tasks of one restriction, by level (see `level_of`), higher ones first.

    Attributes:
        live: how many READY tasks are in it.
        entries: how many entries, left-behind ones included.
        reserved: the worker that runs empty for a suspect or a task of several threads of this queue, or None.
        news: while nobody can run its tasks: those that no client has been told of, see `stuck`; else None.
        open_at: of a loose queue: from when on any worker will do; moved on whenever a wished-for worker takes a task.
    """

    __slots__ = ("_heap", "entries", "levels", "live", "news", "open_at", "reserved", "restriction")

    def __init__(self, restriction: Restriction) -> None:
        self.restriction = restriction
        self.levels: dict[int, deque[TaskRecord]] = {}
        self._heap: list[int] = []  # of -level, one for every level
        self.live = 0
        self.entries = 0
        self.reserved: WorkerRecord | None = None
        self.open_at: float | None = None
        self.news: list[TaskRecord] | None = None

    def push(self, level: int, tasks: Sequence[TaskRecord], is_front: bool) -> None:
        """Queue READY `tasks` of one level in their order, behind or before those that are there."""
        queued = self.levels.get(level)
        if queued is None:
            queued = self.levels[level] = deque()
            heappush(self._heap, -level)
        if is_front:
            queued.extendleft(reversed(tasks))
        else:
            queued.extend(tasks)
        self.live += len(tasks)
        self.entries += len(tasks)
        if self.news is not None:
            self.news.extend(tasks)

    def top(self) -> int:
        """The highest level; there must be an entry."""
        while not self.levels[-self._heap[0]]:
            del self.levels[-heappop(self._heap)]
        return -self._heap[0]

    def pop(self, level: int) -> TaskRecord | None:
        """The next live task of this level, which no longer counts as queued; None if there is none."""
        queued = self.levels.get(level)
        while queued:
            task = queued.popleft()
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
            for level, queued in self.levels.items():
                self.levels[level] = deque(dict.fromkeys(task for task in queued if self.has(task)))
            self.entries = sum(map(len, self.levels.values()))

    def clear(self) -> None:
        """Drop every entry: none is live."""
        self.levels.clear()
        self._heap.clear()
        self.live = self.entries = 0
