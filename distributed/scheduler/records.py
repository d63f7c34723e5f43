"""The records of tasks, workers, clients and functions, their states, and the relations between them.

A relation (task-task, task-worker, task-client) is changed on both sides by one function of this file and nowhere
else, with one exception that says so: the batch loops of `answers`, `placement` and `graph`.
Not here: when to change what (`lifecycle`, `placement`, `failures`), nor the tables that hold the records (`state`).

A task's states, and the only ways between them (`TRANSITIONS`)::

    RELEASED ──▶ WAITING ──▶ READY ──▶ PROCESSING ──▶ MEMORY      any but FORGOTTEN ──▶ FORGOTTEN
        ▲           ▲          │           │            │
        │           └──────────┴───────────┘            │         also: READY, PROCESSING ──▶ WAITING (a dependency
        └── WAITING, READY, PROCESSING, MEMORY ◀────────┘               lost its data), PROCESSING ──▶ READY (again),
    RELEASED, WAITING, PROCESSING, MEMORY ──▶ ERRED                     RELEASED, ERRED ──▶ MEMORY (scattered)
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Any, TypeVar

from distributed.dataclass import dataclass, field
from distributed.messages import Failure, Payload, TaskSpec

__all__ = [
    "MEMORY",
    "TRANSITIONS",
    "ClientRecord",
    "FunctionRecord",
    "Room",
    "Second",
    "TaskRecord",
    "TaskState",
    "WorkerRecord",
    "add_replica",
    "add_want",
    "amounts_of",
    "begin_processing",
    "end_processing",
    "forget_lent",
    "lend_slot",
    "link_dependencies",
    "rejoin_slot",
    "remove_replica",
    "remove_want",
    "unlink_dependencies",
]

SMALL_MAX = 8  # members a relation keeps in a tuple; from there on a dict: a tuple of one costs 48 bytes, a dict 232
MEMORY = "memory"  # the resource that every worker with a memory limit has
ESTIMATE_MIN_S = 1e-6  # a clock that did not move measures 0; nothing runs faster than a Python call


class TaskState(IntEnum):
    """Where a task is. An integer, because enum members of another kind hash in Python and cost 0.2 us each."""

    RELEASED = 0  # known recipe, no data and nobody computes it; it can be computed again
    WAITING = 1  # somebody wants or needs it; some dependency has no data yet
    READY = 2  # every dependency is in MEMORY; it is in a ready queue
    PROCESSING = 3  # sent to a worker
    MEMORY = 4  # some worker holds the result
    ERRED = 5  # it raised, or depends on one that did; `failure` says what
    FORGOTTEN = 6  # in no table any more


_RELEASED, _WAITING, _READY, _PROCESSING, _MEMORY, _ERRED, _FORGOTTEN = TaskState

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    _RELEASED: frozenset({_WAITING, _READY, _MEMORY, _ERRED, _FORGOTTEN}),
    _WAITING: frozenset({_READY, _RELEASED, _ERRED, _FORGOTTEN}),
    _READY: frozenset({_PROCESSING, _WAITING, _RELEASED, _FORGOTTEN}),
    _PROCESSING: frozenset({_MEMORY, _READY, _WAITING, _RELEASED, _ERRED, _FORGOTTEN}),
    _MEMORY: frozenset({_RELEASED, _ERRED, _FORGOTTEN}),
    _ERRED: frozenset({_MEMORY, _RELEASED, _FORGOTTEN}),
    _FORGOTTEN: frozenset(),
}


class Room(IntEnum):
    """How willing a worker is to take one more unrestricted task."""

    CLOSED = 0  # full, lost, or kept free for a suspect
    IDLE = 1  # a thread has nothing to do
    OPEN = 2  # every thread is busy, but the queue behind them is short


@dataclass(slots=True, eq=False, repr=False)
class FunctionRecord:
    """A function: opaque payload, who has it, how long it takes.

    It stays while a task uses it or a client that sent it is connected (a client sends each digest once). So the
    number of functions is bounded by what connected clients send; if one ever sends too many, evict here by last use
    and let the client send the digest again (needs a message for that).
    """

    digest: bytes
    payload: Payload
    ntasks: int = 0
    clients: dict[ClientRecord, None] = field(default_factory=dict)
    workers: dict[WorkerRecord, None] = field(default_factory=dict)
    duration_total_s: float = 0.0
    duration_count: float = 0.0
    usual_total_s: float = 0.0
    nbytes_total: float = 0.0
    estimate_s: float | None = None  # how long it usually takes; None until the first answer
    mean_s: float = 0.0  # how long it takes, outliers included
    mean_nbytes: float = 0.0  # of its results

    def observe(self, total_s: float, count: int, nbytes: int, long_s: float) -> None:
        """Take `count` measured runs of together `total_s` seconds and `nbytes` bytes into the running means.

        Old runs fade out. In the estimate a run counts `long_s` at most: one long run among hundreds of short ones says
        little about the next, and what does queue behind a long one is asked back (`stealing`).
        """
        if self.duration_count > 10_000:  # an estimate that follows the last few thousand runs
            self.duration_total_s *= 0.5
            self.duration_count *= 0.5
            self.usual_total_s *= 0.5
            self.nbytes_total *= 0.5
        self.duration_total_s += total_s
        self.usual_total_s += min(total_s, long_s * count)
        self.nbytes_total += nbytes
        self.duration_count += count
        self.estimate_s = max(self.usual_total_s / self.duration_count, ESTIMATE_MIN_S)
        self.mean_s = self.duration_total_s / self.duration_count
        self.mean_nbytes = self.nbytes_total / self.duration_count


@dataclass(slots=True, eq=False, repr=False)
class ClientRecord:
    """A connected client and what it holds.

    ``process`` is that of the worker whose tasks use it, '' for one of a program. ``orphaned_at`` is when that worker's
    death became final: its session has ended, and what it holds is let go soon.
    """

    client: str
    process: str = ""
    orphaned_at: float | None = None
    wanted: dict[str, TaskRecord] = field(default_factory=dict)
    functions: dict[bytes, FunctionRecord] = field(default_factory=dict)
    alone: tuple[ClientRecord, ...] = ()  # (self,): the `wanted_by` of most tasks, shared by all of them

    def __post_init__(self) -> None:
        self.alone = (self,)

    @property
    def is_told(self) -> bool:
        """Whether somebody can be told: an orphan's session has ended, and the holder of `coordination` has none."""
        return self.client != "" and self.orphaned_at is None


@dataclass(slots=True, eq=False, repr=False)
class WorkerRecord:
    """One life of a worker: what it runs, holds and may take."""

    address: str
    incarnation: str
    name: str
    nthreads: int
    memory_limit_nbytes: int | None
    nanny: str | None
    resources: dict[str, float]
    host: str
    serial: int  # joining order
    process: str = ""  # its process, over all lives
    room: Room = Room.CLOSED
    is_alive: bool = True
    processing: dict[str, TaskRecord] = field(default_factory=dict)  # in the order sent
    holds: dict[str, TaskRecord] = field(default_factory=dict)
    functions: dict[bytes, FunctionRecord] = field(default_factory=dict)
    rejected: dict[str, None] = field(default_factory=dict)  # data it should not hold, of tasks it processes
    occupancy_s: float = 0.0
    extras: dict[str, tuple[tuple[str, float], ...]] = field(
        default_factory=dict
    )  # suspects, users of resources, wide ones
    resources_free: dict[str, float] = field(default_factory=dict)
    has_suspect: bool = False  # the one task here that never lent is a suspect: nothing may be placed behind it
    is_reserved: bool = False  # it runs empty: a suspect is to have it alone, or a task several of its threads
    is_paused: bool = False  # it has no memory left for more
    is_retiring: bool = False  # it is on its way out, see `retirement`
    is_hung: bool = False  # it works and says nothing, see `silence`
    spoke_at: float = 0.0  # when it said something itself
    metrics: dict[str, float] = field(default_factory=dict)
    lost_deadline: float | None = None  # while its death certificate is awaited
    lost_reason: str = ""  # likewise: what is said of its death if none comes
    alone: tuple[WorkerRecord, ...] = ()  # (self,): the `who_has` of most results here
    reported_s: float = 0.0  # when a task last ended here, or came while none was here
    sent_s: float = 0.0  # when it was last sent one
    is_loaded: bool = False  # more tasks are here than threads: some wait
    is_relieved: bool = False  # nothing is queued behind its threads until a task ends: others have, or had, too many
    asked: dict[str, int] = field(default_factory=dict)  # attempt by key of tasks asked back, see `stealing`
    asked_until: float | None = None  # when the question under way counts as lost
    tags: tuple[str, ...] = ()  # what ``spec.platform`` may match
    nactors: int = 0  # that live here
    amounts: dict[str, float] = field(default_factory=dict)  # its resources, and its memory limit as one of them
    stopping: dict[tuple[str, int], int] = field(
        default_factory=dict
    )  # cancelled attempts that may run on: part of `wide`
    rescued: dict[str, None] = field(default_factory=dict)  # what its nanny has taken out before it ends the process
    lent: dict[str, bool] = field(default_factory=dict)  # tasks here that ever lent their slot; whether they do now
    lent_count: int = 0  # of those that do now: they take no room
    seconds: dict[str, Second] = field(default_factory=dict)  # attempts here beside the first one elsewhere
    wide: int = 0  # threads beside one each that tasks of several have, those in `stopping` too
    near: dict[int, deque[TaskRecord]] = field(default_factory=dict)  # queued near it, by level, see `nearness`

    def __post_init__(self) -> None:
        self.amounts = dict(self.resources)
        if self.memory_limit_nbytes:
            self.amounts.setdefault(MEMORY, self.memory_limit_nbytes)
        self.resources_free = dict(self.amounts)
        self.alone = (self,)

    @property
    def ntaken(self) -> int:
        """Its threads that `processing` does not count: of what was cancelled and runs on, of second attempts, and
        those beside one each of tasks that take several.
        """
        return len(self.stopping) + len(self.seconds) + self.wide

    @property
    def has_waiting(self) -> bool:
        """Whether some of its tasks wait for a thread: those that were cancelled have one, those that lent it none."""
        return len(self.processing) - self.lent_count > max(0, self.nthreads - self.ntaken)

    @property
    def is_serving(self) -> bool:
        """Whether it may be given anything at all."""
        return self.is_alive and not self.is_paused and not self.is_retiring and not self.is_hung


@dataclass(slots=True, eq=False, repr=False)
class TaskRecord:
    """One task: recipe, state and relations; 184 bytes, so containers are None until they are used.

    ``function`` is None for scattered data (no recipe). ``processing_on`` and ``estimate_s`` belong to PROCESSING,
    ``who_has`` to MEMORY, ``failure`` to ERRED, ``waiting_on`` to WAITING. ``needed_by`` counts the dependents that
    are WAITING, READY or PROCESSING; ``waiting_on`` the dependencies that are not in MEMORY.
    """

    key: str
    spec: TaskSpec
    function: FunctionRecord | None
    arguments: Payload
    wanted_by: Many[ClientRecord]
    retries_left: int
    state: TaskState = _RELEASED
    attempt: int = 0
    deaths: int = 0
    misses: int = 0
    needed_by: int = 0
    waiting_on: int = 0
    nbytes: int = 0
    estimate_s: float = 0.0
    dependencies: tuple[TaskRecord, ...] | None = None
    dependents: Many[TaskRecord] = None
    who_has: Many[WorkerRecord] = None
    processing_on: WorkerRecord | None = None
    failure: Failure | None = None
    certificates: list[dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"<task {self.key} {self.state.name}>"


@dataclass(slots=True, eq=False, repr=False)
class Second:
    """The second attempt of a PROCESSING task, see `redundant`; ``worker`` is None when it has ended for nothing."""

    task: TaskRecord
    attempt: int
    worker: WorkerRecord | None


Record = TypeVar("Record", TaskRecord, WorkerRecord, ClientRecord)
Many = tuple[Record, ...] | dict[Record, None] | None


def link_dependencies(task: TaskRecord, dependencies: tuple[TaskRecord, ...]) -> None:
    """`task` depends on these, none twice."""
    task.dependencies = dependencies
    for dependency in dependencies:
        dependency.dependents = _with(dependency.dependents, task)


def unlink_dependencies(task: TaskRecord) -> tuple[TaskRecord, ...]:
    """`task` depends on nothing any more; answers what it depended on."""
    dependencies = task.dependencies or ()
    task.dependencies = None
    for dependency in dependencies:
        dependency.dependents = _without(dependency.dependents, task)
    return dependencies


def add_replica(task: TaskRecord, worker: WorkerRecord) -> None:
    """`worker` holds the result of `task`."""
    worker.holds[task.key] = task
    task.who_has = worker.alone if task.who_has is None else _with(task.who_has, worker)


def remove_replica(task: TaskRecord, worker: WorkerRecord) -> bool:
    """`worker` no longer holds the result of `task`; answers whether it did."""
    if worker.holds.pop(task.key, None) is None:
        return False
    task.who_has = _without(task.who_has, worker)
    return True


def add_want(task: TaskRecord, client: ClientRecord) -> None:
    """`client` holds `task`."""
    client.wanted[task.key] = task
    task.wanted_by = client.alone if task.wanted_by is None else _with(task.wanted_by, client)


def remove_want(task: TaskRecord, client: ClientRecord) -> None:
    """`client` no longer holds `task`."""
    client.wanted.pop(task.key, None)
    task.wanted_by = _without(task.wanted_by, client)


def amounts_of(spec: TaskSpec) -> tuple[tuple[str, float], ...] | None:
    """What a task of `spec` takes of its worker's resources, memory last; None: nothing."""
    if spec.memory_limit_nbytes is None or any(name == MEMORY for name, _ in spec.resources or ()):
        return spec.resources
    return (*(spec.resources or ()), (MEMORY, float(spec.memory_limit_nbytes)))


def begin_processing(task: TaskRecord, worker: WorkerRecord, estimate_s: float) -> None:
    """`task` is with `worker`, takes its resources there, and a suspect keeps it for itself."""
    worker.processing[task.key] = task
    worker.occupancy_s += estimate_s
    task.processing_on = worker
    task.estimate_s = estimate_s
    amounts = amounts_of(task.spec)
    if amounts is not None or task.deaths or task.spec.threads > 1:
        worker.extras[task.key] = amounts or ()
        worker.wide += task.spec.threads - 1
        worker.has_suspect = worker.has_suspect or task.deaths > 0
        for name, amount in amounts or ():
            if name in worker.resources_free:  # but for the memory of a worker without limit
                worker.resources_free[name] -= amount


def end_processing(task: TaskRecord) -> None:
    """`task` is with no worker any more; its worker has its share of time and resources back."""
    worker = task.processing_on
    assert worker is not None
    del worker.processing[task.key]
    task.processing_on = None
    worker.occupancy_s -= task.estimate_s
    task.estimate_s = 0.0
    if not worker.processing:
        worker.occupancy_s = 0.0  # exactly: thousands of small differences do not add up
    if task.key in worker.extras:
        give_back_extras(task, worker)
    if task.key in worker.lent:
        forget_lent(task.key, worker)


def forget_lent(key: str, worker: WorkerRecord) -> None:
    """The part of `end_processing` for a task that ever lent its slot."""
    worker.lent_count -= worker.lent.pop(key)


def lend_slot(task: TaskRecord, worker: WorkerRecord) -> None:
    """PROCESSING `task` waits: it takes no room and no time of its worker, nor keeps others away as a suspect."""
    if task.deaths and task.key not in worker.lent:
        worker.has_suspect = False
    if not worker.lent.get(task.key, False):
        worker.lent_count += 1
        worker.wide -= task.spec.threads - 1
    worker.lent[task.key] = True
    worker.occupancy_s = worker.occupancy_s - task.estimate_s if len(worker.processing) > worker.lent_count else 0.0
    task.estimate_s = 0.0


def rejoin_slot(task: TaskRecord, worker: WorkerRecord, estimate_s: float) -> None:
    """PROCESSING `task` goes on."""
    if worker.lent.get(task.key, False):
        worker.lent[task.key] = False
        worker.lent_count -= 1
        worker.wide += task.spec.threads - 1
        worker.occupancy_s += estimate_s
        task.estimate_s = estimate_s


def give_back_extras(task: TaskRecord, worker: WorkerRecord) -> None:
    """The part of `end_processing` that few tasks need: resources, threads, a suspect's time alone."""
    if task.deaths and task.key not in worker.lent:
        worker.has_suspect = False
    if not worker.lent.get(task.key, False):
        worker.wide -= task.spec.threads - 1
    for name, amount in worker.extras.pop(task.key):
        if name in worker.resources_free:
            worker.resources_free[name] += amount
    if not worker.extras:
        worker.resources_free = dict(worker.amounts)


def _with(members: Many[Record], member: Record) -> Many[Record]:
    if members is None:
        return (member,)
    if isinstance(members, dict):
        members[member] = None
        return members
    if member in members:
        return members
    grown: tuple[Record, ...] = members + (member,)  # noqa: RUF005 - mypy cannot follow the star here
    return grown if len(grown) <= SMALL_MAX else dict.fromkeys(grown)


def _without(members: Many[Record], member: Record) -> Many[Record]:
    assert members is not None  # whoever takes a member away has found it there
    if isinstance(members, dict):
        members.pop(member, None)
        return members or None
    return tuple(other for other in members if other is not member) or None
