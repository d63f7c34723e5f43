"""What workers report: tasks that ended, data that came or went.

An answer counts only if the worker has the task now and the attempt is the one it was sent; every other answer is late
(the task was cancelled, given to somebody else, or ended before) and at most has its data dropped.
Not here: workers that come and go (`failures`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from distributed.errors import UnreachableDataError
from distributed.messages import DataAdded, DataRemoved, Heartbeat, TasksDone, TasksFailed, TasksMissingData
from distributed.scheduler import actors, redundant
from distributed.scheduler.copying import arrived
from distributed.scheduler.lifecycle import (
    fail,
    failure_of,
    lose_replicas,
    run_again,
    settle_done,
)
from distributed.scheduler.placement import touch
from distributed.scheduler.records import (
    ClientRecord,
    TaskRecord,
    TaskState,
    WorkerRecord,
    add_replica,
    add_want,
    end_processing,
    forget_lent,
    give_back_extras,
    remove_replica,
)
from distributed.scheduler.state import NO_RECIPE, SchedulerState, booked, transition
from distributed.scheduler.withdrawal import awaits_copy, drop_rejected, withdraw

__all__ = ["data_added", "data_removed", "heartbeat", "tasks_done", "tasks_failed", "tasks_missing_data"]

_RELEASED, _PROCESSING, _MEMORY, _ERRED = TaskState.RELEASED, TaskState.PROCESSING, TaskState.MEMORY, TaskState.ERRED


def tasks_done(state: SchedulerState, worker: WorkerRecord, message: TasksDone) -> None:
    """Results exist: clients hear of them, dependents may start. The hot loop of answers: about 1 us per task."""
    if worker.seconds:
        redundant.win(state, worker, message.keys, message.attempts)
    processing, holds, extras, alone = worker.processing, worker.holds, worker.extras, worker.alone
    lent = worker.lent
    occupancy_s = worker.occupancy_s
    finished: list[TaskRecord] = []
    related: list[TaskRecord] = []
    stale: dict[int, str] = {}
    index = -1
    for key, attempt, nbytes in zip(message.keys, message.attempts, message.nbytes, strict=True):
        index += 1
        task = processing.get(key)
        if task is None or task.attempt != attempt:
            stale[index] = key
            continue
        # `end_processing` and `add_replica`, written out.
        del processing[key]
        occupancy_s -= task.estimate_s
        task.estimate_s = 0.0
        task.processing_on = None
        task.state = _MEMORY
        task.who_has = alone
        task.nbytes = nbytes
        holds[key] = task
        if extras and key in extras:
            give_back_extras(task, worker)
        if lent and key in lent:
            forget_lent(key, worker)
        if task.dependents is not None or task.dependencies is not None:
            related.append(task)
        finished.append(task)
    worker.occupancy_s = occupancy_s if processing else 0.0  # exactly: small differences must not add up
    worker.reported_s = state.now
    worker.is_relieved = False
    if worker.rejected:
        worker.rejected = {key: None for key in worker.rejected if key in processing or key in worker.seconds}
    touch(state, worker)
    if stale:
        # What was told to stop has dropped its result by now; the key may have come there again as a copy.
        dropped = {key for key, _ in worker.stopping.keys() & zip(message.keys, message.attempts, strict=True)}
        _reject(state, worker, [key for key in stale.values() if key not in dropped])
        message = _without(message, stale)
    if finished:
        if state.seconds:
            for task in finished:
                redundant.end(state, task)
        booked(state, finished, _PROCESSING, _MEMORY, worker.address)
        if state.has_actors:
            actors.made(state, finished, worker)
        _observe(state, finished, message)
        note_ended(state, worker, message.keys, message.durations_s, "finished")
        _tell_done(state, finished, message)
        settle_done(state, related, worker.address)


def _without(message: TasksDone, stale: Container[int]) -> TasksDone:
    """`message` without the rows whose indexes are in `stale`."""
    rows = [index for index in range(len(message.keys)) if index not in stale]
    return TasksDone(
        [message.keys[row] for row in rows],
        [message.attempts[row] for row in rows],
        [message.nbytes[row] for row in rows],
        [message.results[row] for row in rows],
        [message.durations_s[row] for row in rows],
    )


def _tell_done(state: SchedulerState, tasks: list[TaskRecord], message: TasksDone) -> None:
    """Pass the results to the clients that want them: whole columns if all `tasks` have the same clients."""
    wanted_by = [task.wanted_by for task in tasks]
    if wanted_by.count(wanted_by[0]) == len(tasks):
        for client in wanted_by[0] or ():
            news = state.outbox.done_of(client)
            news.keys.extend(message.keys)
            news.results.extend(message.results)
            news.nbytes.extend(message.nbytes)
        return
    for clients, key, result, nbytes in zip(wanted_by, message.keys, message.results, message.nbytes, strict=True):
        for client in clients or ():
            state.outbox.tell_done(client, key, result, nbytes)


def _observe(state: SchedulerState, tasks: list[TaskRecord], message: TasksDone) -> None:
    """Tell the functions of `tasks` how long they took and how big their results are."""
    long_s = state.settings.queue_target_s
    functions = [task.function for task in tasks]
    first = functions[0]
    assert first is not None  # what has no recipe is never sent
    if functions.count(first) == len(tasks):
        first.observe(sum(message.durations_s), len(tasks), sum(message.nbytes), long_s)
        return
    for function, duration_s, nbytes in zip(functions, message.durations_s, message.nbytes, strict=True):
        assert function is not None
        function.observe(duration_s, 1, nbytes, long_s)


def _reject(state: SchedulerState, worker: WorkerRecord, keys: Iterable[str]) -> None:
    """`worker` reports data that we did not expect from it: it drops what it should not hold.

    If it has the task again right now, the new attempt's result will replace the data, and dropping could hit that:
    then it drops the data when the attempt ends without a result (`lifecycle.drop_rejected`).
    """
    for key in keys:
        if key in worker.processing or key in worker.seconds:
            worker.rejected[key] = None
        elif key not in worker.holds:
            state.outbox.release.setdefault(worker, []).append(key)


def _take_back(
    state: SchedulerState, worker: WorkerRecord, keys: Sequence[str], attempts: Sequence[int]
) -> dict[int, TaskRecord]:
    """End the processing of those tasks whose answer counts: ``{index: task}``, still in state PROCESSING."""
    taken: dict[int, TaskRecord] = {}
    for index, (key, attempt) in enumerate(zip(keys, attempts, strict=True)):
        task = worker.processing.get(key)
        if task is not None and task.attempt == attempt:
            end_processing(task)
            drop_rejected(state, worker, key)
            taken[index] = task
    worker.reported_s = state.now
    worker.is_relieved = False
    touch(state, worker)
    return taken


def note_ended(
    state: SchedulerState, worker: WorkerRecord, keys: list[str], durations_s: list[float], status: str
) -> None:
    """For people who want to know what ran. Cost: 0.2 us."""
    ended = state.ended
    ended.batches.append((worker.address, worker.nthreads, state.now, keys, durations_s, status))
    ended.count += len(keys)
    if ended.count >= ended.trim_at:
        ended.trim()


def tasks_failed(state: SchedulerState, worker: WorkerRecord, message: TasksFailed) -> None:
    """Tasks raised: they run again while they have retries, else they and all that wait for them fail."""
    again: list[TaskRecord] = []
    taken = _take_back(state, worker, message.keys, message.attempts)
    seconds = redundant.take_back(state, worker, message.keys, message.attempts)
    ended = {**taken, **seconds}
    durations_s = [message.durations_s[index] for index in ended]
    note_ended(state, worker, [task.key for task in ended.values()], durations_s, "error")
    for index, task in ended.items():
        if task.retries_left:
            task.retries_left -= 1
            if index in taken:  # else the first attempt goes on, in place of the next one
                again.append(task)
        else:
            if index in seconds:
                withdraw(state, task, is_cancelled=True)
            fail(state, task, message.failures[index], f"raised on {worker.address}")
    run_again(state, again, f"raised on {worker.address}, retried")


def tasks_missing_data(state: SchedulerState, worker: WorkerRecord, message: TasksMissingData) -> None:
    """Tasks could not get their dependencies: holders that do not give them are no holders, and all is tried again."""
    taken = _take_back(state, worker, message.keys, message.attempts)
    seconds = redundant.take_back(state, worker, message.keys, message.attempts)
    lost: dict[TaskRecord, None] = {}
    for index, task in {**taken, **seconds}.items():
        own = {dependency.key: dependency for dependency in task.dependencies or ()}
        denied = [(key, worker.address) for key in message.missing[index]]  # first: then we know who has the last copy
        for key, address in [*denied, *message.gone[index]]:
            dependency, holder = own.get(key), state.workers.get(address)
            if dependency is None or holder is None:
                continue
            is_home = actors.is_home(state, dependency, holder)
            if holder is not worker and (is_home or _is_last_copy(dependency, holder)):
                continue  # of its own data a worker knows better
            if not remove_replica(dependency, holder):
                continue
            # It may hold the data after all and only be out of this worker's reach.
            state.outbox.release.setdefault(holder, []).append(key)
            if is_home or dependency.who_has is None:
                lost[dependency] = None
    lose_replicas(state, list(lost), f"{worker.address} could not get it")
    again: list[TaskRecord] = []
    for index, task in taken.items():
        task.misses += 1
        if task.misses < state.settings.misses_max:
            again.append(task)
        else:
            error = UnreachableDataError(task.key, message.missing[index], task.misses)
            fail(state, task, failure_of(error, error.data()), f"{worker.address} misses data, once too often")
    run_again(state, again, f"{worker.address} misses data")


def _is_last_copy(task: TaskRecord, holder: WorkerRecord) -> bool:
    """Whether `holder`, which lives, has the only copy of data without a recipe: out of reach is not lost."""
    return task.function is None and task.key in holder.holds and len(task.who_has or ()) == 1


def data_added(state: SchedulerState, worker: WorkerRecord, message: DataAdded) -> None:
    """`worker` holds copies: new replicas of results, or data that a client scattered; others are dropped again."""
    if message.client is None:
        for key in message.keys:
            task = state.tasks.get(key)
            if task is not None and task.state is _MEMORY and _is_expected(state, task, worker):
                add_replica(task, worker)
                arrived(state, task, worker)
            else:
                _reject(state, worker, (key,))
        return
    client = state.clients.get(message.client)
    if client is None:
        _reject(state, worker, message.keys)
        return
    for key, nbytes in zip(message.keys, message.nbytes, strict=True):
        task = state.tasks.get(key)
        if task is None:
            task = state.tasks[key] = TaskRecord(key, NO_RECIPE, None, None, None, 0)
            state.counts[_RELEASED] += 1
        is_copy = key in client.wanted  # of what this client holds: it knows that the value is the same
        add_want(task, client)
        _scattered(state, worker, client, task, nbytes, is_copy)


def _is_expected(state: SchedulerState, task: TaskRecord, worker: WorkerRecord) -> bool:
    """Whether `worker` was told to fetch `task`, or holds it: else its copy is of another task that had this key."""
    return (
        worker.holds.get(task.key) is task or awaits_copy(task, worker) or task in state.moving.taking.get(worker, ())
    )


def _scattered(
    state: SchedulerState, worker: WorkerRecord, client: ClientRecord, task: TaskRecord, nbytes: int, is_copy: bool
) -> None:
    """`client` put the data of `task` on `worker`. A task that is on its way or has failed keeps its own fate.

    Of two clients that scatter under one key, the first one's value counts: the second may be another value.
    """
    told: Iterable[ClientRecord] = (client,)
    if task.state is _RELEASED or (task.state is _ERRED and task.function is None):
        transition(state, task, _MEMORY, f"scattered by {client.client}")
        task.failure = None
        task.nbytes = nbytes
        told = task.wanted_by or ()  # for others it was lost
        add_replica(task, worker)
        if state.expected.pop(task, None) is not None:  # dependents wait for it to come back
            settle_done(state, [task], worker.address)
    if task.state is _MEMORY:
        if is_copy:
            add_replica(task, worker)
            arrived(state, task, worker)
        elif worker.holds.get(task.key) is not task:
            _reject(state, worker, (task.key,))
        for listener in told:
            state.outbox.tell_done(listener, task.key, None, task.nbytes)
        return
    _reject(state, worker, (task.key,))
    if task.failure is not None:
        state.outbox.tell_failed(client, task.key, task.failure)


def data_removed(state: SchedulerState, worker: WorkerRecord, message: DataRemoved) -> None:
    """`worker` dropped copies of its own accord; what was the last copy is computed again or lost."""
    lost: list[TaskRecord] = []
    for key in message.keys:
        task = worker.holds.get(key)
        if task is not None:
            remove_replica(task, worker)
            if task.who_has is None or actors.is_home(state, task, worker):
                lost.append(task)
    lose_replicas(state, lost, f"{worker.address} removed it")


def heartbeat(state: SchedulerState, worker: WorkerRecord, message: Heartbeat) -> None:
    """Keep the newest metrics for snapshots."""
    worker.metrics = message.metrics
