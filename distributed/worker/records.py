"""The records of the worker's machine: tasks, copies and peers, and the only functions that change their relations.

Both tables of states are literal; a pair that is not in them is a bug of ours (`InvariantError`).

    task:  NEW ──▶ WAITING ──▶ READY ──▶ MEMORY        WAITING: a dependency is not here yet
            └───────────────────▲  │                   READY: handed to the executor, which may be running it
                       WAITING, READY ──▶ FORGOTTEN    MEMORY, FORGOTTEN: its record is no longer in the table

    copy:  NEW ──▶ WANTED ⇄ FETCHING ──▶ HELD          WANTED: in the queue of one peer, its holder of choice; it may
                     └───────┴───────▶ FORGOTTEN       change queues. HELD: arrived, by this fetch or another way
"""

from __future__ import annotations

from enum import IntEnum

from distributed.dataclass import dataclass, field
from distributed.errors import InvariantError
from distributed.messages import Payload, RunOptions
from distributed.worker.effects import ReadyTask

__all__ = [
    "COPY_TRANSITIONS",
    "TASK_TRANSITIONS",
    "CopyRecord",
    "CopyState",
    "PeerRecord",
    "TaskRecord",
    "TaskState",
    "WorkerState",
    "add_waiter",
    "move_copy",
    "move_task",
    "queue_copy",
    "rank_of",
    "remove_waiter",
    "rest_peer",
    "unqueue_copy",
    "update_peer",
]


DEPTH_BITS = 20
DEPTH_MAX = (1 << DEPTH_BITS) - 1  # deeper ones go with those of this depth


class TaskState(IntEnum):
    """Where a task is; an int because its hash is then computed in C."""

    NEW = 0
    WAITING = 1
    READY = 2
    MEMORY = 3
    FORGOTTEN = 4


class CopyState(IntEnum):
    """Where the copy of a result of another worker is."""

    NEW = 0
    WANTED = 1
    FETCHING = 2
    HELD = 3
    FORGOTTEN = 4


TASK_TRANSITIONS: dict[TaskState, tuple[TaskState, ...]] = {
    TaskState.NEW: (TaskState.WAITING, TaskState.READY),
    TaskState.WAITING: (TaskState.READY, TaskState.FORGOTTEN),
    TaskState.READY: (TaskState.MEMORY, TaskState.FORGOTTEN),
    TaskState.MEMORY: (),
    TaskState.FORGOTTEN: (),
}

COPY_TRANSITIONS: dict[CopyState, tuple[CopyState, ...]] = {
    CopyState.NEW: (CopyState.WANTED, CopyState.FORGOTTEN),
    CopyState.WANTED: (CopyState.WANTED, CopyState.FETCHING, CopyState.HELD, CopyState.FORGOTTEN),
    CopyState.FETCHING: (CopyState.WANTED, CopyState.HELD, CopyState.FORGOTTEN),
    CopyState.HELD: (),
    CopyState.FORGOTTEN: (),
}


@dataclass(slots=True, eq=False)
class TaskRecord:
    """One task the scheduler gave us and has not heard of since.

    Attributes:
        task: what the executor gets.
        attempt: the scheduler's number of this try, sent back with the answer.
        is_lent: whether the scheduler was told last that it has lent its slot; only in READY.
        missing: in WAITING ``{key: copy}`` of the dependencies that are not here, never empty; else None.
    """

    task: ReadyTask
    attempt: int
    state: TaskState = TaskState.NEW
    missing: dict[str, CopyRecord] | None = None
    is_lent: bool = False


@dataclass(slots=True, eq=False)
class CopyRecord:
    """A result of another worker that tasks here wait for, or that the scheduler ordered.

    Attributes:
        nbytes: how big it is, as the scheduler told; 0 if it did not.
        holders: addresses that may be asked next, in the order named; in WANTED and FETCHING without `peer`.
        gone: ``[key, address]`` pairs of the holders that did not give it.
        refused: holders that were too busy so often that they are not asked again.
        peer: in WANTED and FETCHING the address it is queued at or asked from; else None.
        ordered: whether the scheduler waits for it.
        waiters: ``{ticket: task}``; empty only if it is ordered, in HELD and in FORGOTTEN.
    """

    key: str
    nbytes: int
    holders: list[str]
    gone: list[list[str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    ordered: bool = False
    state: CopyState = CopyState.NEW
    peer: str | None = None
    waiters: dict[int, TaskRecord] = field(default_factory=dict)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for it."""
        return self.ordered or bool(self.waiters)


@dataclass(slots=True, eq=False)
class PeerRecord:
    """A worker we want copies from; exists while it has something queued or under way, or rests.

    Attributes:
        queue: ``{key: copy}`` in state WANTED, in the order to be asked.
        fetching: ``{key: copy}`` asked for and not yet answered. A copy in it may be HELD or FORGOTTEN meanwhile.
        nbytes: sum of the sizes in both.
        refusals: how often in a row it was too busy.
        resume_at: monotonic seconds; until then it rests, that is, nothing is asked of it. None: it does not rest.
    """

    address: str
    queue: dict[str, CopyRecord] = field(default_factory=dict)
    fetching: dict[str, CopyRecord] = field(default_factory=dict)
    nbytes: int = 0
    refusals: int = 0
    resume_at: float | None = None


@dataclass(slots=True)
class WorkerState:
    """All that the machine knows.

    Attributes:
        address: our own, canonical.
        functions: ``{digest: pickled function}`` as the scheduler sent them, until it says to forget them.
        tasks: ``{key: record}`` in WAITING or READY, in the order in which they came.
        memory: ``{key: nbytes}`` of all that is in the store.
        actors: the keys of those whose objects live here; all are in memory too, as proxies (values are None).
        copies: ``{key: record}`` in WANTED or FETCHING.
        peers: ``{address: record}``.
        waiting_peers: addresses with a queue, no fetch under way and no rest, the longest waiting first (values None).
        resting_peers: addresses of those that rest (values are None).
        fetches: number of peers with a fetch under way.
        tickets: how many tickets were given out.
        stopping: ``{ticket: (key, attempt)}`` of tasks that were cancelled and may still run.
        equipping: ``{ticket: serials}`` of equipment that is being taken in.
        equipment_serial: the highest that this scheduler has sent.
        held: ``{ticket: task}`` of READY tasks that wait for it; empty while nothing is being taken in.
    """

    address: str
    functions: dict[bytes, Payload] = field(default_factory=dict)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    actors: dict[str, None] = field(default_factory=dict)
    copies: dict[str, CopyRecord] = field(default_factory=dict)
    peers: dict[str, PeerRecord] = field(default_factory=dict)
    waiting_peers: dict[str, None] = field(default_factory=dict)
    resting_peers: dict[str, None] = field(default_factory=dict)
    fetches: int = 0
    tickets: int = 0
    stopping: dict[int, tuple[str, int]] = field(default_factory=dict)
    equipping: dict[int, list[int]] = field(default_factory=dict)
    equipment_serial: int = 0
    held: dict[int, ReadyTask] = field(default_factory=dict)


def rank_of(options: RunOptions) -> int:
    """The executor's rank of tasks without dependencies; those with some have one less. Less goes first."""
    return -2 * (options.priority << DEPTH_BITS) - 2 * min(options.depth, DEPTH_MAX)


def move_task(record: TaskRecord, state: TaskState) -> None:
    """Change the state of a task.

    Raises:
        InvariantError: the table does not allow it.
    """
    if state not in TASK_TRANSITIONS[record.state]:
        raise InvariantError(f"task {record.task.key}: {record.state.name} -> {state.name} is not in the table")
    record.state = state


def move_copy(record: CopyRecord, state: CopyState) -> None:
    """Change the state of a copy.

    Raises:
        InvariantError: the table does not allow it.
    """
    if state not in COPY_TRANSITIONS[record.state]:
        raise InvariantError(f"copy {record.key}: {record.state.name} -> {state.name} is not in the table")
    record.state = state


def add_waiter(record: TaskRecord, copy: CopyRecord) -> None:
    """Task `record` waits for `copy`."""
    if record.missing is None:
        record.missing = {}
    record.missing[copy.key] = copy
    copy.waiters[record.task.ticket] = record


def remove_waiter(record: TaskRecord, copy: CopyRecord) -> None:
    """Task `record` no longer waits for `copy`."""
    assert record.missing is not None
    del record.missing[copy.key]
    if not record.missing:
        record.missing = None
    del copy.waiters[record.task.ticket]


def queue_copy(state: WorkerState, copy: CopyRecord, address: str) -> None:
    """`copy` is to be fetched from the peer at `address`, one of its holders."""
    move_copy(copy, CopyState.WANTED)
    copy.holders.remove(address)
    copy.peer = address
    peer = state.peers.get(address)
    if peer is None:
        peer = state.peers[address] = PeerRecord(address)
    peer.queue[copy.key] = copy
    peer.nbytes += copy.nbytes
    update_peer(state, peer)


def unqueue_copy(state: WorkerState, copy: CopyRecord) -> None:
    """`copy` leaves the queue of its peer."""
    assert copy.peer is not None
    peer = state.peers[copy.peer]
    copy.peer = None
    del peer.queue[copy.key]
    peer.nbytes -= copy.nbytes
    update_peer(state, peer)


def rest_peer(state: WorkerState, peer: PeerRecord, until: float | None) -> None:
    """Ask nothing of `peer` until that time; None: from now on again."""
    peer.resume_at = until
    if until is None:
        state.resting_peers.pop(peer.address, None)
    else:
        state.resting_peers[peer.address] = None
    update_peer(state, peer)


def update_peer(state: WorkerState, peer: PeerRecord) -> None:
    """Its queue, fetch or rest has changed: it waits for its turn, or not, or is forgotten."""
    if peer.queue and not peer.fetching and peer.resume_at is None:
        state.waiting_peers[peer.address] = None
        return
    state.waiting_peers.pop(peer.address, None)
    if not peer.queue and not peer.fetching and peer.resume_at is None:
        del state.peers[peer.address]
