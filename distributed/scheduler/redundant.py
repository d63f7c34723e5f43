"""Second attempts: while a thread has nothing to do, a task that takes long elsewhere is tried there too.

Only tasks submitted with ``redundant`` have them. The first attempt is the one that `records` knows: it is in
``worker.processing``, with ``task.attempt``. The second one is a `Second`, in ``state.seconds`` and ``worker.seconds``;
it takes a thread, no place in the queue, and never blames anybody. Its number is one more, so that late words are told
apart. The first result counts. A task in state PROCESSING is, as far as this goes, in one of three states::

    ALONE   no second attempt yet                                ``task not in state.seconds``
    TWICE   both run                                             ``state.seconds[task].worker`` is where
    SPENT   the second one is over and was for nothing           ``state.seconds[task].worker is None``

    what happens                                ALONE   TWICE                                           SPENT
    a thread idles, nothing else can be done,   TWICE   -                                               -
      it runs for longer than usual
    the first returns, is cancelled, let go     end     the second is stopped; end                      end
    the first raises, retries left              again   costs a retry; the second is the first: ALONE   again
    the first raises, no retries left           end     the second is stopped; end                      end
    the first is given back, misses data, is    again   the second is the first now: ALONE              again
      taken from a hung worker, dies
    the second returns                          -       the first is stopped, the second is it; end     late
    the second raises, retries left             -       costs a retry; SPENT                            late
    the second raises, no retries left          -       the first is stopped; end                       late
    the second misses data, dies, its worker    -       it is stopped; SPENT                            late
      retires or is hung
    one of them waits or runs a task            -       the second is stopped; SPENT                    -

*End*: the task leaves PROCESSING. *Again*: it is queued, and its next attempt is ALONE. *Late*: dropped by its number,
as after every end. A time limit that is passed is a raise. A death counts against a task only if no other attempt of it
lives: what kills its workers kills one more of them. A worker that pauses goes on with what it has. What is stopped is
interrupted and has its thread until it says that it has stopped. With force both are stopped with force.

Only tasks that any worker may run have a second attempt: none that names workers, resources, a platform or a memory
limit, no suspect, no actor, and nothing that waits for other tasks or has children.
Not here: how a worker runs it, which does not know that it is a second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import inf

from distributed.messages import TasksLent
from distributed.scheduler.estimates import share_s
from distributed.scheduler.placement import refresh_room, touch
from distributed.scheduler.queues import UNRESTRICTED, restriction_of
from distributed.scheduler.records import Second, TaskRecord, TaskState, WorkerRecord, begin_processing
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.withdrawal import call_off, drop_rejected, withdraw

__all__ = ["drop", "end", "has_second", "leave", "look", "take_back", "take_over", "wait_alone", "watch", "win"]

PAUSE_MAX_S = 0.64  # between looks, reached by doubling while nothing is found
WORKERS_MAX = 4096  # looked at for tasks that take long; each costs 1 us
TAKERS_MAX = 16  # idle workers among which the one with most of the data is chosen

_PROCESSING = TaskState.PROCESSING


# ---------------------------------------------------------------- who is tried twice


def watch(state: SchedulerState) -> None:
    """Somebody idles and no look is due yet: look soon, if anything runs. Cost: O(1)."""
    if not state.counts[_PROCESSING]:
        state.running_since.clear()
    else:
        state.redundant_at = state.now + max(state.redundant_pause_s, state.settings.steal_patience_s)


def look(state: SchedulerState) -> None:
    """If a look is due, try tasks that run for too long a second time. Cost: O(workers + what runs there)."""
    if state.redundant_at is None or state.redundant_at > state.now:
        return
    state.redundant_at = None
    patience_s = state.settings.steal_patience_s
    next_due = _try_late(state) if state.idle else inf
    if next_due < inf:
        state.redundant_pause_s = 0.0
        state.redundant_at = max(state.now + patience_s, min(next_due, state.now + PAUSE_MAX_S))
    else:
        state.redundant_pause_s = min(max(2 * state.redundant_pause_s, patience_s), PAUSE_MAX_S)


def _try_late(state: SchedulerState) -> float:
    """Start second attempts, of what has run longest first; answers when the next one may be due."""
    known, state.running_since = state.running_since, {}
    late: list[tuple[float, TaskRecord]] = []
    next_due = inf
    for worker in islice(state.workers.values(), WORKERS_MAX):
        for task in _running(state, worker):
            attempt, since = known.get(task, (0, 0.0))
            if attempt != task.attempt:
                since = max(worker.sent_s, worker.reported_s)  # what was sent there and runs has begun by then
            state.running_since[task] = task.attempt, since
            due = since + _patience_s(state, task)
            if due <= state.now:
                late.append((since, task))
            else:
                next_due = min(next_due, due)
    if state.loaded and not state.steal_pause_s:  # tasks that wait elsewhere come first: `stealing` is about to look
        return state.now if late else next_due
    late.sort(key=lambda entry: entry[0])
    for _, task in late:
        taker = _best_taker(state, task)
        if taker is not None:
            _start(state, task, taker)
    return next_due


def _running(state: SchedulerState, worker: WorkerRecord) -> Iterator[TaskRecord]:
    """The tasks of `worker` that run, as far as we know, and may have a second attempt."""
    if not worker.processing or (worker.asked_until is not None and worker.asked_until > state.now):
        return
    slots = max(0, worker.nthreads - worker.ntaken + worker.lent_count)
    for task in islice(worker.processing.values(), slots):
        if (
            task.spec.redundant
            and not task.spec.actor
            and task not in state.seconds
            and task.key not in worker.lent
            and task.key not in state.children
            and restriction_of(task) is UNRESTRICTED
        ):
            yield task


def _patience_s(state: SchedulerState, task: TaskRecord) -> float:
    """For how long `task` may run before it is tried twice; for ever if nobody knows how long its function takes."""
    function, settings = task.function, state.settings
    if function is None or function.estimate_s is None:
        return inf
    return max(settings.redundant_factor * function.mean_s, settings.redundant_least_s)


def _best_taker(state: SchedulerState, task: TaskRecord) -> WorkerRecord | None:
    """The idle worker that has most of what `task` needs, if the rest can be fetched. Ties: idle for longest."""
    best: WorkerRecord | None = None
    best_nbytes = inf
    for worker in islice(state.idle, TAKERS_MAX):
        if worker is task.processing_on:
            continue
        nbytes = 0
        for needed in task.dependencies or ():
            if needed.key in worker.holds:
                continue
            if all(holder.is_hung for holder in needed.who_has or ()):  # or nobody holds it
                break
            nbytes += needed.nbytes
        else:
            if nbytes < best_nbytes:
                best, best_nbytes = worker, nbytes
    return best


def _start(state: SchedulerState, task: TaskRecord, worker: WorkerRecord) -> None:
    """ALONE `task` is tried at idle `worker` as well."""
    second = Second(task, task.attempt + 1, worker)
    state.seconds[task] = worker.seconds[task.key] = second
    state.outbox.run.setdefault(worker, []).append(task)
    worker.sent_s = state.now
    state.log.append((task.key, _PROCESSING, _PROCESSING, worker.address, state.now))
    refresh_room(state, worker)


# ---------------------------------------------------------------- what becomes of them


def has_second(state: SchedulerState, task: TaskRecord) -> bool:
    """Whether PROCESSING `task` is TWICE."""
    second = state.seconds.get(task)
    return second is not None and second.worker is not None


def win(state: SchedulerState, worker: WorkerRecord, keys: Sequence[str], attempts: Sequence[int]) -> None:
    """Those of these that are second attempts at `worker` have returned: they are the first ones now."""
    for key, attempt in zip(keys, attempts, strict=True):
        second = worker.seconds.get(key)
        if second is not None and second.attempt == attempt:
            withdraw(state, second.task, is_cancelled=True)
            take_over(state, second.task)


def take_over(state: SchedulerState, task: TaskRecord) -> bool:
    """PROCESSING `task` is with no worker any more: its second attempt is the first now, if it has one that lives."""
    second = state.seconds.pop(task, None)
    if second is None:
        return False
    task.attempt = second.attempt
    worker = second.worker
    if worker is None:
        return False
    del worker.seconds[task.key]
    if not worker.processing:
        worker.reported_s = state.now
    begin_processing(task, worker, share_s(state, task, worker))
    touch(state, worker)
    return True


def end(state: SchedulerState, task: TaskRecord, *, is_cancelled: bool = True, is_forced: bool = False) -> None:
    """`task` leaves PROCESSING, by its first attempt: the second one is stopped."""
    second = state.seconds.pop(task, None)
    if second is not None:
        task.attempt = second.attempt
        _stop(state, second, is_cancelled=is_cancelled, is_forced=is_forced)


def drop(state: SchedulerState, task: TaskRecord) -> None:
    """PROCESSING `task` goes on with its first attempt only."""
    second = state.seconds.get(task)
    if second is not None:
        _stop(state, second, is_cancelled=True, is_forced=False)


def _stop(state: SchedulerState, second: Second, *, is_cancelled: bool, is_forced: bool) -> None:
    worker, second.worker = second.worker, None
    if worker is not None:
        del worker.seconds[second.task.key]
        call_off(state, second.task, worker, second.attempt, is_cancelled=is_cancelled, is_forced=is_forced)


def leave(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` is gone, or will go: the second attempts there are over."""
    for second in list(worker.seconds.values()):
        _stop(state, second, is_cancelled=True, is_forced=False)


def wait_alone(state: SchedulerState, worker: WorkerRecord, message: TasksLent) -> None:
    """What waits, for tasks of its own perhaps, does so once."""
    if not state.seconds:
        return
    for key, attempt in zip(message.keys, message.attempts, strict=True):
        second = worker.seconds.get(key)
        task = worker.processing.get(key) if second is None else second.task
        if task is not None and attempt == (task.attempt if second is None else second.attempt):
            drop(state, task)


def take_back(
    state: SchedulerState, worker: WorkerRecord, keys: Sequence[str], attempts: Sequence[int]
) -> dict[int, TaskRecord]:
    """End those of these that are second attempts at `worker`, without a result: ``{index: task}``, now SPENT."""
    taken: dict[int, TaskRecord] = {}
    if not worker.seconds:
        return taken
    for index, (key, attempt) in enumerate(zip(keys, attempts, strict=True)):
        second = worker.seconds.get(key)
        if second is not None and second.attempt == attempt:
            del worker.seconds[key]
            second.worker = None
            drop_rejected(state, worker, key)
            taken[index] = second.task
    touch(state, worker)
    return taken
