"""Workers that run empty for a task which needs more than one thread: suspects, and those of several threads.

One of several threads (``spec.threads``) is placed where so many are free, and counts as so many there (``wide`` of its
worker). Of equal priority they come before others, which would use up single threads as these get free. If no worker
has enough free, one that has just reported is reserved for the next of them: it gets nothing else until enough of its
threads are free. So one worker for each kind of such tasks has threads that idle, and nobody waits for ever.
Not here: who gets what (`placement`).
"""

from __future__ import annotations

from collections.abc import Iterator

from distributed.scheduler.queues import ReadyQueue
from distributed.scheduler.records import WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["has_threads", "rank_of", "to_reserve", "unreserve"]


def has_threads(worker: WorkerRecord, threads: int) -> bool:
    """Whether a task that takes so many could begin at `worker` now."""
    busy = len(worker.processing) - worker.lent_count + worker.ntaken
    return worker.nthreads - busy >= threads and worker.is_serving and not worker.has_suspect


def rank_of(queue: ReadyQueue) -> int:
    """Where a restricted queue is among those of its priority: less goes first; unrestricted tasks have 1."""
    return -queue.restriction.threads if queue.restriction.threads > 1 else 0


def to_reserve(state: SchedulerState) -> Iterator[tuple[ReadyQueue, WorkerRecord]]:
    """A worker for each queue that needs one to run empty; the caller reserves it before it takes the next.

    None while unrestricted tasks of higher priority wait: they come first.
    """
    for queue in state.wide:
        if queue.reserved is not None or (state.ready.live and state.ready.top() > queue.top()):
            continue
        restriction = queue.restriction.loosened()
        for worker in state.touched:
            is_free = worker.is_serving and not worker.is_reserved and not worker.has_suspect
            if is_free and restriction.matches(worker):
                yield queue, worker
                break


def unreserve(state: SchedulerState, worker: WorkerRecord) -> None:
    """Nothing waits for `worker` to run empty; another worker may be reserved in its place."""
    for queue in (*state.suspects, *state.wide):
        if queue.reserved is worker:
            queue.reserved = None
            state.hot[queue] = None
    worker.is_reserved = False
    for token in (worker.address, worker.name, worker.host):
        for queue in state.queues_by_token.get(token, ()):
            if queue.restriction.is_loose:  # nobody may be left of those that it prefers
                state.hot[queue] = None
    for queue in state.suspects:
        if queue.restriction.is_loose:
            state.hot[queue] = None
