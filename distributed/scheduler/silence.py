"""Workers that fall silent: a hung process, a stopped one, a host or a cable that is gone without a word.

Whatever a worker sends is a sign of life, and so is its nanny's word (`WorkerAlive`). One timer looks at the worker
heard of longest ago; it is set anew only when it fires, so a message costs no more than a move within a dict.
Not here: what becomes of them (`failures`).
"""

from __future__ import annotations

from distributed.scheduler.events import WorkerAlive
from distributed.scheduler.records import WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["heard", "take_silent", "worker_alive"]

LATE_S = 1.0  # a timer that fires so late: we slept ourselves, and what workers said meanwhile has not been read yet


def heard(state: SchedulerState, worker: WorkerRecord, now: float) -> None:
    """`worker` lives."""
    state.heard[worker] = now
    state.heard.move_to_end(worker)
    if state.silence_at is None and state.settings.worker_timeout_s is not None:
        state.silence_at = now + state.settings.worker_timeout_s


def worker_alive(state: SchedulerState, event: WorkerAlive, now: float) -> None:
    """Its nanny says that it lives; of an ended life that is late news."""
    worker = state.workers.get(event.address)
    if worker is not None and worker.incarnation == event.incarnation:
        heard(state, worker, now)


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
