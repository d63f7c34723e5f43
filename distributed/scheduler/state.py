"""The scheduler's whole state: settings, tables of records, queues, and the one door for state changes.

Not here: what to do about anything; module functions that take a `SchedulerState` do that.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat

from distributed.errors import InvariantError
from distributed.messages import TaskSpec
from distributed.scheduler.effects import Effect
from distributed.scheduler.kit import Kit, Printing
from distributed.scheduler.orders import Moving
from distributed.scheduler.outbox import Outbox
from distributed.scheduler.queues import UNRESTRICTED, ReadyQueue, Restriction
from distributed.scheduler.records import (
    TRANSITIONS,
    ClientRecord,
    FunctionRecord,
    TaskRecord,
    TaskState,
    WorkerRecord,
)

__all__ = ["NO_RECIPE", "SchedulerState", "Settings", "Transition", "booked", "story", "transition"]

LOG_LENGTH = 10_000  # transitions remembered for `story`: about 1.5 MB

NO_RECIPE = TaskSpec(b"")  # the spec of scattered data

Transition = tuple[str, TaskState, TaskState, str]  # key, from, to, because


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
        dismissal_patience_s: how long a worker that was let go may take to leave, >= 0.
        loose_patience_s: how long a task waits for the workers it prefers while they are busy, >= 0.
        orphan_patience_s: for how long what the client of a dead worker's tasks held is kept for their next run, >= 0.
        steal_patience_s: how long threads may idle while tasks queue elsewhere, > 0; queues shorter than it stay.
    """

    queue_target_s: float = 0.05  # hides a round trip of a few ms; more would only delay what comes later
    depth_max: int = 2048  # 50 ms of no-ops are 5000; two thousand keep a thread busy between two messages
    deaths_max: int = 3
    misses_max: int = 10  # a holder that is gone costs one or two; more means that workers do not reach each other
    certificate_patience_s: float = 0.25  # a nanny needs some 20 ms; a host that is gone with its nanny costs all of it
    worker_timeout_s: float | None = 30.0  # workers speak every second; a hung host must not hold its tasks for ever
    dismissal_patience_s: float = 10.0
    loose_patience_s: float = 0.5  # a preference is worth some idling, not much: its task is not the only one
    orphan_patience_s: float = 5.0  # a new process of a worker takes a second or two
    steal_patience_s: float = 0.005  # asking back takes a round trip and costs two messages; less is not worth them


@dataclass(slots=True)
class SchedulerState:
    """Everything the machine knows.

    ``idle`` and ``open`` are the workers with room (see `records.Room`) in the order in which they are served, and
    ``room_threads`` their threads together. ``by_name``, ``by_host`` and ``by_resource`` index living workers.
    ``lost`` are dead ones whose certificate is awaited, earliest deadline first. ``touched``, ``hot``, ``unneeded`` and
    ``outbox`` belong to the event at hand and are empty between events.
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
    ready: ReadyQueue = field(default_factory=lambda: ReadyQueue(UNRESTRICTED))
    queues: dict[Restriction, ReadyQueue] = field(default_factory=dict)  # restricted ones, none without live tasks
    queues_by_token: dict[str, dict[ReadyQueue, None]] = field(default_factory=dict)
    suspects: dict[ReadyQueue, None] = field(default_factory=dict)  # those of `queues` that hold suspects
    counts: list[int] = field(default_factory=lambda: [0] * len(TaskState))  # tasks by state
    log: deque[Transition] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    touched: dict[WorkerRecord, None] = field(default_factory=dict)  # their room may have grown
    hot: dict[ReadyQueue, None] = field(default_factory=dict)  # restricted queues with new tasks
    unneeded: list[TaskRecord] = field(default_factory=list)  # to be looked at by `lifecycle.sweep`
    outbox: Outbox = field(default_factory=Outbox)
    effects: list[Effect] = field(default_factory=list)
    now: float = 0.0  # of the event at hand
    heard: OrderedDict[WorkerRecord, float] = field(default_factory=OrderedDict)  # last sign of life, oldest first
    silence_at: float | None = None  # when `silence` looks next
    moving: Moving = field(default_factory=Moving)
    loose: OrderedDict[ReadyQueue, None] = field(default_factory=OrderedDict)  # loose ones, by `open_at`, not yet open
    orphans: dict[str, float] = field(default_factory=dict)  # clients of dead workers: when what they hold is let go
    loaded: OrderedDict[WorkerRecord, None] = field(default_factory=OrderedDict)  # living, with tasks that wait there
    steal_at: float | None = None  # when `stealing` looks next
    steal_pause_s: float = 0.0  # grows while it finds nothing
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
    state.log.append((task.key, origin, to, because))
    if origin is TaskState.MEMORY and task in state.moving.spreads:
        state.moving.left.append(task)


def booked(state: SchedulerState, tasks: Sequence[TaskRecord], origin: TaskState, to: TaskState, because: str) -> None:
    """Book a batch whose states the caller's loop has just changed from `origin` to `to`. Cost: 0.1 us per task.

    Raises:
        InvariantError: the table does not have this way.
    """
    if to not in TRANSITIONS[origin]:
        raise InvariantError(f"{len(tasks)} tasks: no way from {origin.name} to {to.name} ({because})")
    state.counts[origin] -= len(tasks)
    state.counts[to] += len(tasks)
    if origin is TaskState.MEMORY and state.moving.spreads:
        state.moving.left.extend(task for task in tasks if task in state.moving.spreads)
    state.log.extend(zip([task.key for task in tasks], repeat(origin), repeat(to), repeat(because)))


def story(state: SchedulerState, key: str) -> list[Transition]:
    """What happened to `key`, oldest first, as far as the log reaches back. Cost: O(LOG_LENGTH)."""
    return [entry for entry in state.log if entry[0] == key]
