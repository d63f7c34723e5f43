"""Workers that fall silent: a hung process, a stopped one, a host or a cable that is gone without a word.

Whatever a worker sends is a sign of life, and so is its nanny's word (`WorkerAlive`). One timer looks at the worker
heard of longest ago; it is set anew only when it fires, so a message costs no more than a move within a dict.

A worker that is vouched for but has long said nothing itself is *hung*: a function holds its interpreter, and nothing
that it is told or asked has an effect. It gets nothing more, and what has not begun there, as far as its nanny sees,
runs elsewhere; attempts tell late answers apart. With its next own message it serves again.
Not here: what becomes of those that are given up (`failures`).
"""

from __future__ import annotations

from distributed.ids import cut_key
from distributed.scheduler import redundant
from distributed.scheduler.events import WorkerAlive
from distributed.scheduler.lifecycle import run_again
from distributed.scheduler.placement import refresh_room, touch
from distributed.scheduler.records import TaskRecord, WorkerRecord
from distributed.scheduler.reserving import unreserve
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.withdrawal import withdraw

__all__ = ["bypass_hung", "heard", "spoke", "take_silent", "worker_alive"]

LATE_S = 1.0  # a timer that fires so late: we slept ourselves, and what workers said meanwhile has not been read yet

UNREAD_S = 0.05  # had we slept ourselves, a worker's words might lie unread behind those of its nanny


def heard(state: SchedulerState, worker: WorkerRecord, now: float) -> None:
    """`worker` lives."""
    state.heard[worker] = now
    state.heard.move_to_end(worker)
    if state.silence_at is None and state.settings.worker_timeout_s is not None:
        state.silence_at = now + state.settings.worker_timeout_s


def spoke(state: SchedulerState, worker: WorkerRecord, now: float) -> None:
    """`worker` itself says something, and so it is not hung."""
    heard(state, worker, now)
    worker.spoke_at = now
    if state.mute:
        state.mute.pop(worker, None)
    if worker.is_hung:
        worker.is_hung = False
        touch(state, worker)


def worker_alive(state: SchedulerState, event: WorkerAlive, now: float) -> None:
    """Its nanny says that it lives; of an ended life that is late news."""
    worker = state.workers.get(event.address)
    if worker is not None and worker.incarnation == event.incarnation:
        heard(state, worker, now)
        if now - worker.spoke_at >= state.settings.hung_patience_s and worker not in state.mute:
            state.mute[worker] = (now + UNREAD_S, event.running)


def bypass_hung(state: SchedulerState, now: float) -> None:
    """Those that have still said nothing, though what lay unread has been read, are hung."""
    for worker, (due, running) in list(state.mute.items()):  # in the order in which they are due
        if due > now:
            return
        del state.mute[worker]
        _bypass(state, worker, running)


def _bypass(state: SchedulerState, worker: WorkerRecord, running: list[str] | None) -> None:
    """`worker` is hung: what it has not begun runs elsewhere. Cost: O(its tasks)."""
    if not worker.is_hung:
        worker.is_hung = True
        unreserve(state, worker)
        redundant.leave(state, worker)
        refresh_room(state, worker)  # at once: who idles is asked below, in the same event
    if running is None:
        return
    begun = frozenset(running)
    moved = [
        task
        for key, task in worker.processing.items()
        if key not in worker.lent and cut_key(key) not in begun and _is_portable(task)
    ]
    for task in moved:
        worker.asked.pop(task.key, None)
        withdraw(state, task)
    if not worker.asked:
        worker.asked_until = None
    run_again(state, moved, f"{worker.address} is hung")


def _is_portable(task: TaskRecord) -> bool:
    """Whether others can fetch what `task` needs: from a hung worker nobody can."""
    return all(any(not holder.is_hung for holder in needed.who_has or ()) for needed in task.dependencies or ())


def take_silent(state: SchedulerState, now: float) -> list[tuple[WorkerRecord, float]]:
    """If a look is due: the workers that were silent for too long, and for how many seconds. Cost: O(those)."""
    due, timeout_s = state.silence_at, state.settings.worker_timeout_s
    if due is None or timeout_s is None or due > now:
        return []
    if now - due > LATE_S:
        state.silence_at = now + min(timeout_s, LATE_S)
        return []
    state.silence_at = None
    found: list[tuple[WorkerRecord, float]] = []
    for worker, last in state.heard.items():
        if last + timeout_s > now:
            state.silence_at = last + timeout_s
            break
        found.append((worker, now - last))
    return found
