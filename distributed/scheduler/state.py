"""The scheduler's whole state: settings, tables of records, queues, and the one door for state changes.

Not here: what to do about anything; module functions that take a `SchedulerState` do that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from distributed.dataclass import dataclass, field
from distributed.errors import InvariantError
from distributed.messages import TaskSpec
from distributed.scheduler.coordination.records import Coordination
from distributed.scheduler.effects import Effect
from distributed.scheduler.ended import EndedTasks
from distributed.scheduler.history import History, Transition
from distributed.scheduler.kit import Kit, Printing
from distributed.scheduler.orders import Moving
from distributed.scheduler.outbox import Outbox
from distributed.scheduler.queues import UNRESTRICTED, ReadyQueue, Restriction
from distributed.scheduler.records import (
    TRANSITIONS,
    ClientRecord,
    FunctionRecord,
    Second,
    TaskRecord,
    TaskState,
    WorkerRecord,
)

__all__ = ["NO_RECIPE", "SchedulerState", "Settings", "Transition", "booked", "story", "transition"]

NO_RECIPE = TaskSpec(b"")  # the spec of scattered data


@dataclass(slots=True, frozen=True)
class Settings:
    """What an operator may change.

    Attributes:
        queue_target_s: seconds of work, per thread, that a worker may have waiting for it, > 0.
        depth_max: tasks, per thread, that a worker may have, > 0; bounds what is lost with it and its messages.
        deaths_max: a task that ran when so many workers died is given up, >= 0; 0: never.
        misses_max: a task whose dependencies could not be fetched so many times is given up, > 0.
        certificate_patience_s: how long to wait for a nanny to say what ran when its worker died, >= 0.
        worker_timeout_s: a worker that was silent for so long is given up, > 0; None: never.
        hung_patience_s: for how long a worker may say nothing while its nanny vouches for it, > 0; see `silence`.
        dismissal_patience_s: how long a worker that was let go may take to leave, >= 0.
        loose_patience_s: how long a task waits for the workers it prefers while they are busy, >= 0.
        orphan_patience_s: for how long what the client of a dead worker's tasks held is kept for their next run, >= 0.
        steal_patience_s: how long threads may idle while tasks queue elsewhere, > 0; queues shorter than it stay.
        force_patience_s: how long a task that was cancelled with force may run on before its process is replaced, >= 0.
        rescue_patience_s: how long data that a nanny has rescued may take to come back, > 0.
        long_wait_s: how long a request may wait for a lock or its like before its client is told for whom, > 0.
        coordination_nbytes_max: of all items in queues, variables and their like, > 0.
        redundant_factor: a task that takes so many times the mean of its function may run a second time, > 0.
        redundant_least_s: but none that has run for less than this, > 0.
        stuck_patience_s: for how long nobody could run a task when its clients are told, >= 0; see `stuck`.
    """

    queue_target_s: float = 0.05  # hides a round trip of a few ms; more would only delay what comes later
    depth_max: int = 2048  # 50 ms of no-ops are 5000; two thousand keep a thread busy between two messages
    deaths_max: int = 3
    misses_max: int = 10  # a holder that is gone costs one or two; more means that workers do not reach each other
    certificate_patience_s: float = 0.25  # a nanny needs some 20 ms; a host that is gone with its nanny costs all of it
    worker_timeout_s: float | None = 30.0  # workers speak every second; a hung host must not hold its tasks for ever
    hung_patience_s: float = 3.0  # two heartbeats may be late; what waits there could run elsewhere meanwhile
    dismissal_patience_s: float = 10.0
    loose_patience_s: float = 0.5  # a preference is worth some idling, not much: its task is not the only one
    orphan_patience_s: float = 5.0  # a new process of a worker takes a second or two
    long_wait_s: float = 10.0
    coordination_nbytes_max: int = 256 * 1024 * 1024  # they are in this process's memory, for ever if nobody gets them
    steal_patience_s: float = 0.005  # asking back takes a round trip and costs two messages; less is not worth them
    force_patience_s: float = 0.15  # Python code stops within 0.1 s; who asks for force wants it within a second
    redundant_factor: float = 2.0  # of durations around a mean few are twice as long
    redundant_least_s: float = 0.1  # starting elsewhere costs some ms and, where data has to move, more
    rescue_patience_s: float = 30.0  # a new process takes 0.1 s, and as much again per GB
    stuck_patience_s: float = 1.5  # workers that are started again are back by then; people hear of it within 3 s


@dataclass(slots=True)
class SchedulerState:
    """Everything the machine knows.

    ``idle`` and ``open`` are the workers with room (see `records.Room`) in the order in which they are served, and
    ``room_threads`` their threads together. ``by_name``, ``by_host`` and ``by_resource`` index living workers.
    ``lost`` are dead ones whose certificate is awaited, earliest deadline first. ``touched``, ``hot``, ``doubtful``,
    ``unneeded`` and ``outbox`` belong to the event at hand and are empty between events.
    """

    settings: Settings = field(default_factory=Settings)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    clients: dict[str, ClientRecord] = field(default_factory=dict)
    functions: dict[bytes, FunctionRecord] = field(default_factory=dict)
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    by_name: dict[str, WorkerRecord] = field(default_factory=dict)
    by_host: dict[str, dict[WorkerRecord, None]] = field(default_factory=dict)
    by_resource: dict[str, dict[WorkerRecord, None]] = field(default_factory=dict)
    lost: dict[tuple[str, str], WorkerRecord] = field(default_factory=dict)
    workers_seen: int = 0
    attempts_withdrawn: int = 0  # highest attempt that was taken back unanswered; records made later count on from it
    idle: OrderedDict[WorkerRecord, None] = field(default_factory=OrderedDict)
    open: OrderedDict[WorkerRecord, None] = field(default_factory=OrderedDict)
    room_threads: int = 0
    near: dict[WorkerRecord, None] = field(default_factory=dict)  # those near which tasks are filed, see `nearness`
    near_entries: int = 0  # of all of them together
    ready: ReadyQueue = field(default_factory=lambda: ReadyQueue(UNRESTRICTED))
    queues: dict[Restriction, ReadyQueue] = field(default_factory=dict)  # restricted ones, none without live tasks
    queues_by_token: dict[str, dict[ReadyQueue, None]] = field(default_factory=dict)
    suspects: dict[ReadyQueue, None] = field(default_factory=dict)  # those of `queues` that hold suspects
    wide: dict[ReadyQueue, None] = field(
        default_factory=dict
    )  # those of `queues` whose tasks take several threads each
    counts: list[int] = field(default_factory=lambda: [0] * len(TaskState))  # tasks by state
    log: History = field(default_factory=History)
    touched: dict[WorkerRecord, None] = field(default_factory=dict)  # their room may have grown
    hot: dict[ReadyQueue, None] = field(default_factory=dict)  # restricted queues with new tasks
    unneeded: list[TaskRecord] = field(default_factory=list)  # to be looked at by `lifecycle.sweep`
    outbox: Outbox = field(default_factory=Outbox)
    effects: list[Effect] = field(default_factory=list)
    now: float = 0.0  # of the event at hand
    heard: OrderedDict[WorkerRecord, float] = field(default_factory=OrderedDict)  # last sign of life, oldest first
    silence_at: float | None = None  # when `silence` looks next
    # Vouched for though it has long said nothing: when that counts, and what runs there; in order.
    mute: dict[WorkerRecord, tuple[float, list[str] | None]] = field(default_factory=dict)
    moving: Moving = field(default_factory=Moving)
    forced: dict[tuple[WorkerRecord, str, int], float] = field(default_factory=dict)  # deadline by attempt, in order
    children: dict[str, dict[TaskRecord, ClientRecord]] = field(default_factory=dict)  # who submitted it, by parent
    parents: dict[TaskRecord, dict[str, None]] = field(default_factory=dict)  # the same from the other side
    expected: dict[TaskRecord, float] = field(default_factory=dict)  # deadline of rescued data, in order
    coordination: Coordination = field(default_factory=Coordination)
    has_actors: bool = False  # since one was submitted; until then no batch is searched for them
    actors: dict[TaskRecord, WorkerRecord] = field(default_factory=dict)  # in MEMORY, and where they live
    loose: OrderedDict[ReadyQueue, None] = field(default_factory=OrderedDict)  # loose ones, by `open_at`, not yet open
    orphans: dict[str, float] = field(default_factory=dict)  # clients of dead workers: when what they hold is let go
    loaded: OrderedDict[WorkerRecord, None] = field(default_factory=OrderedDict)  # living, with tasks that wait there
    steal_at: float | None = None  # when `stealing` looks next
    steal_pause_s: float = 0.0  # grows while it finds nothing
    has_redundant: bool = False  # since one was submitted, likewise
    seconds: dict[TaskRecord, Second] = field(default_factory=dict)  # of PROCESSING tasks
    running_since: dict[TaskRecord, tuple[int, float]] = field(default_factory=dict)  # attempt, and when at the latest
    redundant_at: float | None = None  # when `redundant` looks next
    redundant_pause_s: float = 0.0  # grows while it finds nothing
    doubtful: dict[ReadyQueue, None] = field(default_factory=dict)  # perhaps nobody can run their tasks any more
    stuck: OrderedDict[ReadyQueue, float] = field(default_factory=OrderedDict)  # nobody can; when that is told
    stuck_late: list[tuple[TaskRecord, ClientRecord | None]] = field(default_factory=list)  # see `stuck`
    stuck_at: float | None = None  # when `stuck` looks next
    ended: EndedTasks = field(default_factory=EndedTasks)
    kit: Kit = field(default_factory=Kit)
    printing: Printing = field(default_factory=Printing)


def transition(state: SchedulerState, task: TaskRecord, to: TaskState, because: str) -> None:
    """Change the state of `task`; the only door, beside `booked` for batches.

    Raises:
        InvariantError: the table does not have this way.
    """
    origin = task.state
    if to not in TRANSITIONS[origin]:
        raise InvariantError(f"{task.key}: no way from {origin.name} to {to.name} ({because})")
    task.state = to
    state.counts[origin] -= 1
    state.counts[to] += 1
    state.log.append((task.key, origin, to, because, state.now))
    if origin is TaskState.MEMORY:
        if task in state.moving.spreads:
            state.moving.left.append(task)
        if state.actors:
            _leave_home(state, task)


def _leave_home(state: SchedulerState, task: TaskRecord) -> None:
    """An actor has left MEMORY, if it was one."""
    home = state.actors.pop(task, None)
    if home is not None:
        home.nactors -= 1


def booked(state: SchedulerState, tasks: Sequence[TaskRecord], origin: TaskState, to: TaskState, because: str) -> None:
    """Book a batch whose states the caller's loop has just changed from `origin` to `to`. Cost: 20 ns per task.

    Raises:
        InvariantError: the table does not have this way.
    """
    if to not in TRANSITIONS[origin]:
        raise InvariantError(f"{len(tasks)} tasks: no way from {origin.name} to {to.name} ({because})")
    state.counts[origin] -= len(tasks)
    state.counts[to] += len(tasks)
    if origin is TaskState.MEMORY and state.moving.spreads:
        state.moving.left.extend(task for task in tasks if task in state.moving.spreads)
    if origin is TaskState.MEMORY and state.actors:
        for task in tasks:
            _leave_home(state, task)
    state.log.append_batch([task.key for task in tasks], origin, to, because, state.now)


def story(state: SchedulerState, key: str) -> list[Transition]:
    """What happened to `key`, oldest first, as far as the log reaches back, see `History`."""
    return state.log.of(key)
