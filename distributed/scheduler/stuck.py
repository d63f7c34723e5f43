"""Tasks that no worker can ever run, and who is told of them.

A ready queue is *stuck* while it has tasks and no worker that stays matches its restriction, however free it were: none
is there, none has the name, the tag or the resource, or all that have it are about to leave. What is only busy, paused
or kept free for others is not stuck. Clients hear of it when it has been so for `Settings.stuck_patience_s`: each of
its tasks once, to whoever holds it or something that waits for it. What comes later is told at the next look.

`watch` finds queues that become stuck, after the events that can bring that about; one timer tells. A look goes through
a bounded number of tasks, so a million that are stuck do not hold up the others.
Not here: the sentences (`explain`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from distributed.scheduler.explain import why_stuck
from distributed.scheduler.placement import candidates
from distributed.scheduler.queues import UNRESTRICTED, ReadyQueue, restriction_of, worker_tokens
from distributed.scheduler.records import ClientRecord, TaskRecord, TaskState, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["KEYS_NAMED_MAX", "LOOK_S", "can_ever_run", "look", "watch", "worker_came", "worker_gone"]

LOOK_S = 1.0  # between two looks while anything is stuck: with the patience it makes less than 3 s
SOON_S = 0.01  # until the next look when one has come to its limit
LOOK_MAX = 5_000  # tasks looked at in one go: some 5 ms
KEYS_NAMED_MAX = 20  # to a client for each reason; it is told how many there are

_WAITING, _READY = TaskState.WAITING, TaskState.READY


@dataclass(slots=True)
class _Found:
    """What one client is to be told of one queue."""

    blocked: str
    keys: list[str] = field(default_factory=list)
    count: int = 0


_FoundByClient = dict[ClientRecord, _Found]


def can_ever_run(state: SchedulerState, queue: ReadyQueue) -> bool:
    """Whether a worker that stays matches `queue`, all of it being free. Cost: as `placement.candidates`."""
    if len(state.moving.retiring) == len(state.workers):
        return False
    if queue is state.ready:
        return True
    return any(not worker.is_retiring for worker in candidates(state, queue.restriction.loosened()))


def _queues_about(state: SchedulerState, worker: WorkerRecord) -> list[ReadyQueue]:
    """The restricted queues whose tasks `worker` may run. Cost: O(queues filed under its names, and suspects)."""
    found: dict[ReadyQueue, None] = dict.fromkeys(state.suspects)
    for token in worker_tokens(worker):
        found.update(state.queues_by_token.get(token, {}))
    return [queue for queue in found if queue.restriction.loosened().matches(worker)]


def watch(state: SchedulerState) -> None:
    """Mark what has become stuck among ``state.doubtful`` and the queue of unrestricted tasks."""
    for queue in (state.ready, *state.doubtful):
        if queue.live and queue.news is None and not can_ever_run(state, queue):
            queue.news = [task for level in queue.levels.values() for task in level]
            due = state.now + state.settings.stuck_patience_s
            state.stuck[queue] = due
            if state.stuck_at is None or state.stuck_at > due:
                state.stuck_at = due
    state.doubtful.clear()


def worker_gone(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` has left, or will: it may have been the last for some queues."""
    for queue in _queues_about(state, worker):
        state.doubtful[queue] = None


def worker_came(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` has joined: what it may run is stuck no more."""
    if state.stuck:
        for queue in (state.ready, *_queues_about(state, worker)):
            _unmark(state, queue)


def look(state: SchedulerState) -> None:
    """If it is time: tell clients what is stuck for long enough. Cost: O(LOOK_MAX) and O(stuck queues)."""
    if state.stuck_at is None or state.stuck_at > state.now:
        return
    left = LOOK_MAX
    seen: set[TaskRecord] = set()  # asked only for membership, as all sets here
    for queue, due in list(state.stuck.items()):
        if not queue.live:
            _unmark(state, queue)
        elif due <= state.now and queue.news:
            left = _tell_news(state, queue, left, seen)
            if left <= 0:
                break
    if left > 0:
        left = _tell_late(state, left, seen)
    if not state.stuck:
        state.stuck_at = None
        state.stuck_late.clear()
    elif left <= 0:
        state.stuck_at = state.now + SOON_S
    else:
        dues = [due for due in state.stuck.values() if due > state.now]
        state.stuck_at = min([state.now + LOOK_S, *dues])


def _unmark(state: SchedulerState, queue: ReadyQueue) -> None:
    queue.news = None
    state.stuck.pop(queue, None)


def _tell_news(state: SchedulerState, queue: ReadyQueue, left: int, seen_before: set[TaskRecord]) -> int:
    """Tell who holds the tasks that are new in `queue`, or what waits for them; answers what is left of the work.

    What was looked at is added to `seen_before`.
    """
    assert queue.news is not None
    part, queue.news = queue.news[:left], queue.news[left:]
    found: _FoundByClient = {}
    seen: set[TaskRecord] = set()
    left -= len(part)
    for task in part:
        if not queue.has(task):
            continue
        stack = [task]
        while stack:
            waiting = stack.pop()
            if waiting in seen:
                continue
            seen.add(waiting)
            left -= waiting is not task
            _note(found, waiting.wanted_by or (), waiting, task)
            stack.extend(other for other in waiting.dependents or () if other.state is _WAITING)
    _tell(state, queue, found)
    seen_before |= seen
    return left


def _tell_late(state: SchedulerState, left: int, seen: set[TaskRecord]) -> int:
    """Tell of those that came to wait for something stuck after that was told; answers what is left of the work.

    ``state.stuck_late`` has them, and tasks that a client came to want when others did already, with that client.
    """
    found: dict[ReadyQueue, _FoundByClient] = {}
    tasks = state.stuck_late
    number = 0
    while number < len(tasks) and left > 0:
        task, client = tasks[number]
        number += 1
        if task in seen:  # those who hold it have just been told
            continue
        if client is not None and client.wanted.get(task.key) is not task:  # it has let go since
            continue
        root, steps = _stuck_root(state, task, left)
        left -= steps
        if root is not None:
            queue = _queue_of(state, root)
            assert queue is not None
            _note(found.setdefault(queue, {}), (task.wanted_by or ()) if client is None else (client,), task, root)
    del tasks[:number]
    for queue, found_here in found.items():
        _tell(state, queue, found_here)
    return left


def _stuck_root(state: SchedulerState, task: TaskRecord, steps_max: int) -> tuple[TaskRecord | None, int]:
    """A task that cannot run, and has been told, and that `task` is or waits for; and how many were looked at."""
    stack, seen = [task], {task}
    steps = 0
    while stack and steps < steps_max:
        other = stack.pop()
        steps += 1
        if other.state is _READY:
            queue = _queue_of(state, other)
            if queue is not None and state.stuck.get(queue, state.now + 1) <= state.now:
                return other, steps
        elif other.state is _WAITING:
            fresh = [dependency for dependency in other.dependencies or () if dependency not in seen]
            seen.update(fresh)
            stack.extend(fresh)
    return None, steps


def _queue_of(state: SchedulerState, task: TaskRecord) -> ReadyQueue | None:
    restriction = restriction_of(task)
    return state.ready if restriction == UNRESTRICTED else state.queues.get(restriction)


def _note(found: _FoundByClient, clients: Iterable[ClientRecord], task: TaskRecord, blocked: TaskRecord) -> None:
    for client in clients:
        entry = found.get(client)
        if entry is None:
            entry = found[client] = _Found(blocked.key)
        entry.count += 1
        if len(entry.keys) < KEYS_NAMED_MAX:
            entry.keys.append(task.key)


def _tell(state: SchedulerState, queue: ReadyQueue, found: _FoundByClient) -> None:
    if found:
        reason = why_stuck(state, queue.restriction)
        for client, entry in found.items():
            state.outbox.tell_stuck(client, entry.keys, entry.count, entry.blocked, reason)
