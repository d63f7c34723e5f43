"""Which worker gets which task, and when.

An unrestricted task costs O(1): its queue is dealt to the workers with room, which are kept in two ordered dicts
(``state.idle`` before ``state.open``), each in turn getting its share of what is queued. A task with dependencies goes
to the holder of most of their bytes if that has room; if not, it waits near it (`nearness`), which takes such tasks
first, for as long as others with room find other work. Restricted queues are looked at when they get tasks or when a
worker that may match gets room. A *suspect* (a task that ran when a worker died) gets a worker to itself; if none is
empty, the next matching worker that reports anything is reserved and runs empty for it (likewise for wide tasks).
Not here: who runs empty (`reserving`), the queues themselves (`queues`), becoming READY (`lifecycle`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace

from distributed.scheduler.actors import best_home
from distributed.scheduler.estimates import estimate_s, share_s
from distributed.scheduler.nearness import clear_near, file_near, forget_near, pop_near, should_leave
from distributed.scheduler.queues import UNRESTRICTED, ReadyQueue, Restriction, level_of, restriction_of, worker_tokens
from distributed.scheduler.records import (
    MEMORY,
    FunctionRecord,
    Room,
    TaskRecord,
    TaskState,
    WorkerRecord,
    begin_processing,
)
from distributed.scheduler.reserving import has_threads, rank_of, to_reserve, unreserve
from distributed.scheduler.state import SchedulerState, booked, transition

__all__ = [
    "candidates",
    "close_worker",
    "deal",
    "effective",
    "has_room_for",
    "leave_queue",
    "open_loose_queues",
    "push_plain",
    "push_ready",
    "refresh_room",
    "touch",
]

_READY, _PROCESSING = TaskState.READY, TaskState.PROCESSING
_CLOSED, _IDLE, _OPEN = Room

HOLDERS_MAX = 16  # holders weighed per dependency; a broadcast's holders are as good as each other
SPREAD_THREADS = 64  # up to here a map of tiny tasks is spread over all threads, however short they are
SHARE_MIN_S = 0.001  # beyond, a message to a worker holds 1 ms of work: less costs more to send than to run
EPSILON = 1e-9  # sums of floats: 50 ms six times is not quite 300 ms

Pool = OrderedDict[WorkerRecord, None]


def push_ready(state: SchedulerState, tasks: Sequence[TaskRecord], is_front: bool) -> None:
    """Queue `tasks`, which have just become READY, in their order; those with dependencies always before others."""
    for task in reversed(tasks):
        if is_front or task.dependencies is not None:
            queue, level = _queue_for(state, task), level_of(task)
            queue.push(level, (task,), is_front=True)
            if task.dependencies is not None and queue is state.ready:
                file_near(state, task, level)
    if not is_front:
        for task in tasks:
            if task.dependencies is None:
                _queue_for(state, task).push(level_of(task), (task,), is_front=False)


def push_plain(state: SchedulerState, tasks: Sequence[TaskRecord]) -> None:
    """Queue `tasks` behind others: just READY, of one spec, no dependencies, no deaths. Cost: O(1) + 10 ns each."""
    _queue_for(state, tasks[0]).push(level_of(tasks[0]), tasks, is_front=False)


def leave_queue(state: SchedulerState, task: TaskRecord) -> None:
    """`task` has just left READY without being dealt."""
    restriction = restriction_of(task)
    if restriction is UNRESTRICTED:
        state.ready.leave()
        return
    queue = state.queues[restriction]
    queue.leave()
    if not queue.live:
        _drop_queue(state, queue)


def touch(state: SchedulerState, worker: WorkerRecord) -> None:
    """The room of `worker` may have grown: `deal` will look."""
    state.touched[worker] = None


def refresh_room(state: SchedulerState, worker: WorkerRecord) -> None:
    """Put `worker` where its room says: last in ``state.idle`` or ``state.open``, or in neither. Cost: O(1)."""
    # What was cancelled has its thread until it has stopped, a second attempt has one; what waits has lent its own.
    count = len(worker.processing) + worker.ntaken - worker.lent_count
    settings = state.settings
    if not worker.is_serving or worker.has_suspect or worker.is_reserved:
        room = _CLOSED
    elif count < worker.nthreads:
        room = _IDLE
    elif (
        not worker.is_relieved
        and worker.occupancy_s < settings.queue_target_s * (worker.nthreads - worker.ntaken) - EPSILON
        and count < settings.depth_max * worker.nthreads
    ):
        room = _OPEN
    else:
        room = _CLOSED
    if worker.has_waiting is not worker.is_loaded or not worker.is_alive:
        _refresh_loaded(state, worker)
    if worker.room is room:
        if room is _IDLE:
            state.idle.move_to_end(worker)
        elif room is _OPEN:
            state.open.move_to_end(worker)
        return
    if worker.room is _IDLE:
        del state.idle[worker]
    elif worker.room is _OPEN:
        del state.open[worker]
    else:
        state.room_threads += worker.nthreads
    if room is _IDLE:
        state.idle[worker] = None
    elif room is _OPEN:
        state.open[worker] = None
    else:
        state.room_threads -= worker.nthreads
    worker.room = room


def _refresh_loaded(state: SchedulerState, worker: WorkerRecord) -> None:
    worker.is_loaded = worker.is_alive and worker.has_waiting
    if worker.is_loaded:
        state.loaded[worker] = None
    else:
        state.loaded.pop(worker, None)


def has_room_for(worker: WorkerRecord, restriction: Restriction) -> bool:
    """Whether `worker`, which matches `restriction`, can take one such task now."""
    if restriction.is_suspect:
        if len(worker.processing) > worker.lent_count or worker.ntaken or not worker.is_serving:
            return False
    elif restriction.threads > 1:
        if worker.is_reserved or not has_threads(worker, restriction.threads):
            return False
    elif worker.room is _CLOSED:
        return False
    free = worker.resources_free
    return restriction.resources is None or all(
        free.get(name, need) >= need - EPSILON for name, need in restriction.resources
    )


def candidates(state: SchedulerState, restriction: Restriction) -> list[WorkerRecord]:
    """The workers that match, in joining order. Cost: O(workers named or with the resource), without any O(workers)."""
    found: dict[WorkerRecord, None] = {}
    if restriction.workers is not None:
        for token in restriction.workers:
            for worker in (state.workers.get(token), state.by_name.get(token)):
                if worker is not None:
                    found[worker] = None
            found.update(state.by_host.get(token, {}))
    elif restriction.resources and restriction.resources[0][0] != MEMORY:
        found.update(state.by_resource.get(restriction.resources[0][0], {}))
    else:
        found.update(dict.fromkeys(state.workers.values()))
    return sorted((worker for worker in found if restriction.matches(worker)), key=lambda worker: worker.serial)


def effective(state: SchedulerState, queue: ReadyQueue) -> Restriction:
    """What the tasks of `queue` ask for now: a loose one drops its workers when none is alive or all are busy for long.

    Cost: O(workers named) for loose queues, else O(1).
    """
    restriction = queue.restriction
    if restriction.is_loose:
        is_open = queue.open_at is not None and queue.open_at <= state.now
        if is_open or not candidates(state, restriction):
            return restriction.loosened()
    return restriction


def open_loose_queues(state: SchedulerState) -> None:
    """Offer the tasks of loose queues whose time has come to all workers."""
    while state.loose:
        queue = next(iter(state.loose))
        assert queue.open_at is not None
        if queue.open_at > state.now:
            return
        del state.loose[queue]
        state.hot[queue] = None


def deal(state: SchedulerState) -> None:
    """Give queued tasks to workers until one side is used up; afterwards no task waits for a worker with room for it.

    Higher priority first; of equal priority restricted tasks before others, which have more choice.
    """
    for worker in state.touched:
        refresh_room(state, worker)
    if state.suspects:
        _deal_suspects(state)
    if state.wide:
        _release_reserved(state)
    if state.queues:
        while _deal_restricted(state):
            continue
        for queue, worker in to_reserve(state):
            _reserve(state, queue, worker)
    else:
        while state.ready.live and state.room_threads:
            _deal_level(state, state.ready.top())
    if state.near and not state.ready.live:
        clear_near(state)
    state.touched.clear()


def _release_reserved(state: SchedulerState) -> None:
    """Workers with as many threads free as they were reserved for take part in dealing again."""
    for queue in state.wide:
        worker = queue.reserved
        if worker is not None:
            worker.is_reserved = False
            worker.is_reserved = not has_room_for(worker, queue.restriction)
            if not worker.is_reserved:
                queue.reserved = None
                state.touched[worker] = None
                refresh_room(state, worker)


def _reserve(state: SchedulerState, queue: ReadyQueue, worker: WorkerRecord) -> None:
    queue.reserved = worker
    worker.is_reserved = True
    refresh_room(state, worker)


def _deal_restricted(state: SchedulerState) -> bool:
    """`deal` while there are restricted queues, in the order of their next priority; True: one is reserved no more."""
    pools: dict[ReadyQueue, Pool] = {}
    for queue in state.hot:
        pools[queue] = OrderedDict.fromkeys(candidates(state, effective(state, queue)))
        if all(worker.is_retiring for worker in pools[queue]):
            state.doubtful[queue] = None
    state.hot.clear()
    for worker in state.touched:
        for queue in _queues_of(state, worker):
            pools.setdefault(queue, OrderedDict())[worker] = None
    heap: list[tuple[int, int, int, ReadyQueue, Pool | None]] = []
    for serial, (queue, pool) in enumerate(pools.items()):
        fit = [worker for worker in pool if has_room_for(worker, queue.restriction)]
        fit.sort(key=lambda worker: (worker.room, worker.occupancy_s, worker.serial))
        heap.append((-queue.top(), rank_of(queue), serial, queue, OrderedDict.fromkeys(fit)))
    if state.ready.live:
        heap.append((-state.ready.top(), 1, 0, state.ready, None))
    heapify(heap)
    has_freed = False
    while heap:
        priority, rank, serial, queue, own = heap[0]
        if own is None:
            _deal_level(state, -priority)
            is_over = not state.room_threads
        else:
            _deal_own(state, queue, own, -priority)
            is_over = not own
        if not queue.live:
            has_freed = has_freed or queue.reserved is not None
            _drop_queue(state, queue)
            heappop(heap)
        elif is_over:
            heappop(heap)
        else:
            heapreplace(heap, (-queue.top(), rank, serial, queue, own))
    return has_freed


def _deal_level(state: SchedulerState, priority: int) -> None:
    """Deal unrestricted tasks of one priority, in equal shares per thread, so that a small map spreads evenly."""
    queue = state.ready
    level = queue.levels[priority]
    threads = 0  # of the workers with room that have not had their share in this round
    while queue.live and level and state.room_threads:
        worker = next(iter(state.idle or state.open))
        if threads < worker.nthreads:
            threads = state.room_threads
        share = -(-queue.live * worker.nthreads // threads)
        threads -= worker.nthreads
        if state.room_threads > SPREAD_THREADS:
            share = max(share, int(SHARE_MIN_S / estimate_s(state, level[0])))
        _fill(state, queue, priority, worker, share)
        refresh_room(state, worker)
    if not queue.live:
        queue.clear()  # left-behind entries


def _fill(state: SchedulerState, queue: ReadyQueue, priority: int, worker: WorkerRecord, share: int) -> None:
    """Give `worker` up to `share` tasks of one level, as far as its room goes: the hot loop of placement.

    What waits near it comes first. Of the rest, a task with dependencies may go to a holder of their data instead, an
    actor to where there are fewer.
    """
    level = queue.levels[priority]
    processing = worker.processing
    threads = worker.nthreads - worker.ntaken
    limit_s = 0.0 if worker.is_relieved else state.settings.queue_target_s * threads - EPSILON
    if not processing:
        worker.reported_s = state.now
    has_actors, nthreads, depth_max = state.has_actors, worker.nthreads, state.settings.depth_max * worker.nthreads
    count = len(processing) + worker.ntaken - worker.lent_count
    occupancy_s, each_s = worker.occupancy_s, 0.0
    function: FunctionRecord | None = None
    chosen: list[TaskRecord] = []
    nentries = len(level)
    pop = level.popleft
    choose = chosen.append
    end = count + share
    while count < end and level:
        if count >= nthreads and (occupancy_s >= limit_s or count >= depth_max):
            break
        near = pop_near(state, worker, priority) if worker.near else None
        task = near or pop()
        if task.state is not _READY or task.deaths:
            continue
        is_foreign = near is None and task.dependencies is not None
        if is_foreign and count >= nthreads and should_leave(state, task, worker, occupancy_s):
            level.appendleft(task)
            worker.is_relieved = True
            break
        if near is None and (task.dependencies is not None or (has_actors and task.spec.actor)):
            holder = _best_holder(task, worker, UNRESTRICTED) if task.dependencies else best_home(state, worker)
            if holder is not worker:
                queue.live -= 1
                _start(state, task, holder)
                refresh_room(state, holder)
                continue
        if task.function is not function:
            function = task.function
            each_s = share_s(state, task, worker)
        task.state = _PROCESSING
        task.attempt += 1
        task.processing_on = worker
        task.estimate_s = each_s
        processing[task.key] = task
        occupancy_s += each_s
        count += 1
        choose(task)
    queue.entries -= nentries - len(level)
    if chosen:
        queue.live -= len(chosen)
        worker.occupancy_s, worker.sent_s = occupancy_s, state.now
        booked(state, chosen, _READY, _PROCESSING, worker.address)
        there = state.outbox.run.get(worker)
        if there is None:
            state.outbox.run[worker] = chosen
        else:
            there.extend(chosen)


def _start(state: SchedulerState, task: TaskRecord, worker: WorkerRecord) -> None:
    """Give one popped task to `worker`; the caller refreshes the worker's room."""
    transition(state, task, _PROCESSING, worker.address)
    task.attempt += 1
    if not worker.processing:
        worker.reported_s = state.now
    worker.sent_s = state.now
    begin_processing(task, worker, share_s(state, task, worker))
    state.outbox.run.setdefault(worker, []).append(task)


def _best_holder(task: TaskRecord, otherwise: WorkerRecord, restriction: Restriction) -> WorkerRecord:
    """The worker with room that holds most bytes of the dependencies of `task`, or `otherwise` if none holds any.

    Ties: less occupancy, then earlier joined. Cost: O(dependencies * min(holders, HOLDERS_MAX)).
    """
    held_by: dict[WorkerRecord, int] = {}
    for dependency in task.dependencies or ():
        nbytes = dependency.nbytes
        holders = dependency.who_has or ()
        for holder, _ in zip(holders, range(HOLDERS_MAX), strict=False):
            held_by[holder] = held_by.get(holder, 0) + nbytes
        if len(holders) > HOLDERS_MAX and dependency.key in otherwise.holds and otherwise not in held_by:
            held_by[otherwise] = nbytes
    best, best_rank = otherwise, (-held_by.get(otherwise, -1), otherwise.occupancy_s, otherwise.serial)
    for holder, nbytes in held_by.items():
        rank = (-nbytes, holder.occupancy_s, holder.serial)
        if rank < best_rank and restriction.matches(holder) and has_room_for(holder, restriction):
            best, best_rank = holder, rank
    return best


def _deal_own(state: SchedulerState, queue: ReadyQueue, pool: Pool, priority: int) -> None:
    """Deal restricted tasks of one priority to the workers of `pool`, in turn; those that are full leave it."""
    restriction = effective(state, queue)
    while pool:
        worker = next(iter(pool))
        if not has_room_for(worker, restriction):
            del pool[worker]
            continue
        task = queue.pop(priority)
        if task is None:
            return
        worker = worker if task.dependencies is None else _best_holder(task, worker, restriction)
        _start(state, task, worker)
        refresh_room(state, worker)
        if restriction.is_loose and queue in state.loose:
            queue.open_at = state.now + state.settings.loose_patience_s
            state.loose.move_to_end(queue)
        pool.move_to_end(worker)  # every matching worker with room is in it: no other could be the best holder


def _deal_suspects(state: SchedulerState) -> None:
    """Give each empty worker one suspect; of a queue that keeps some, reserve a worker that has just reported."""
    for queue in tuple(state.suspects):
        if queue in state.hot:
            del state.hot[queue]
            pool = candidates(state, effective(state, queue))
            if all(worker.is_retiring for worker in pool):
                state.doubtful[queue] = None
        else:
            restriction = effective(state, queue)
            pool = [worker for worker in state.touched if restriction.matches(worker)]
        for worker in pool:
            is_others = worker.is_reserved and queue.reserved is not worker
            if queue.live and not is_others and has_room_for(worker, queue.restriction):
                task = None
                while task is None:  # a level may hold nothing but left-behind entries
                    task = queue.pop(queue.top())
                _start(state, task, worker)
                refresh_room(state, worker)
        if not queue.live:
            _drop_queue(state, queue)
        elif queue.reserved is None:
            for worker in pool:
                if worker in state.touched and worker.is_serving and not worker.is_reserved:
                    _reserve(state, queue, worker)
                    break


def _queue_for(state: SchedulerState, task: TaskRecord) -> ReadyQueue:
    """The queue of READY `task`, made if there is none yet."""
    restriction = restriction_of(task)
    if restriction is UNRESTRICTED:
        return state.ready
    queue = state.queues.get(restriction)
    if queue is None:
        queue = state.queues[restriction] = ReadyQueue(restriction)
        if restriction.is_suspect:
            state.suspects[queue] = None
        elif restriction.threads > 1:
            state.wide[queue] = None
        if restriction.is_loose:
            queue.open_at = state.now + state.settings.loose_patience_s
            state.loose[queue] = None
        for token in restriction.tokens():
            state.queues_by_token.setdefault(token, {})[queue] = None
    state.hot[queue] = None
    return queue


def _queues_of(state: SchedulerState, worker: WorkerRecord) -> list[ReadyQueue]:
    """The restricted queues, but those of suspects, that `worker` matches."""
    found: dict[ReadyQueue, None] = {}
    for token in worker_tokens(worker):
        found.update(state.queues_by_token.get(token, {}))
    return [queue for queue in found if effective(state, queue).matches(worker)]


def _drop_queue(state: SchedulerState, queue: ReadyQueue) -> None:
    """Forget what is left of a queue without live tasks; a worker reserved for it serves everybody again."""
    queue.clear()
    if queue is state.ready:
        return
    del state.queues[queue.restriction]
    state.suspects.pop(queue, None)
    state.wide.pop(queue, None)
    state.hot.pop(queue, None)
    state.loose.pop(queue, None)
    state.stuck.pop(queue, None)
    for token in queue.restriction.tokens():
        filed = state.queues_by_token[token]
        filed.pop(queue, None)
        if not filed:
            del state.queues_by_token[token]
    if queue.reserved is not None:
        queue.reserved.is_reserved = False
        touch(state, queue.reserved)
        refresh_room(state, queue.reserved)
        queue.reserved = None


def close_worker(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` is dead: it gets no task any more, and nothing waits for it."""
    worker.is_alive = False
    forget_near(state, worker)
    refresh_room(state, worker)
    unreserve(state, worker)
