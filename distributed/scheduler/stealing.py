"""Tasks that wait at one worker while threads idle elsewhere are asked back with `ReturnTasks`.

Queues at workers hide round trips, and are short by estimate. Estimates are wrong, though: a long task of a function
that is short as a rule keeps what was queued behind it waiting, and data draws tasks to its holder. So while some
worker has a free thread and another has more tasks than threads, the machine looks every few milliseconds
(``Settings.steal_patience_s``) and asks for what can begin sooner elsewhere; it never asks twice for a task that it was
refused, and has one question under way per worker. What comes back with `TasksReturned` is READY again, and ordinary
placement gives it to whoever idles; its old worker gets nothing that would have to wait until it has reported again.

Nothing is asked for that takes longer to move, with its data, than to wait where it is. Of what waits, an idle worker
is first given what it holds all inputs of, and of that what fewest others could do (`shares`); then what was sent last.
Not here: where a task goes (`placement`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from distributed.messages import ReturnTasks, TasksReturned
from distributed.scheduler.lifecycle import run_again
from distributed.scheduler.placement import has_room_for, refresh_room, touch
from distributed.scheduler.queues import UNRESTRICTED, restriction_of
from distributed.scheduler.records import TaskRecord, WorkerRecord, end_processing
from distributed.scheduler.shares import divide_tasks
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.withdrawal import drop_rejected

__all__ = ["look", "recall", "tasks_returned", "watch"]

BANDWIDTH = 500e6  # bytes per second between workers: of a good network, and less than inside one machine
PAUSE_MAX_S = 0.64  # between looks that find nothing, reached by doubling; each costs up to a few milliseconds
ANSWER_S = 2.0  # a question that is not answered for so long (a function holds the GIL) may be followed by another
GIVERS_MAX = 64  # workers asked per look; those behind them are first at the next
TAKERS_MAX = 64  # idle workers whose free threads are counted per look
SCAN_MAX = 512  # tasks looked at per worker and look: what cannot move is passed over so often
MATCH_MAX = 8  # idle workers tried for a restricted task
SHARERS_MAX = 8  # idle workers whose shares are compared


def watch(state: SchedulerState) -> None:
    """Somebody idles while somebody else has tasks that wait, and no look is due yet: look soon. Cost: O(1)."""
    state.steal_at = state.now + max(state.steal_pause_s, state.settings.steal_patience_s)


def look(state: SchedulerState) -> None:
    """If a look is due, ask for tasks that idle threads could begin sooner. Cost: bounded by the constants above."""
    if state.steal_at is None or state.steal_at > state.now:
        return
    state.steal_at = None
    is_stuck = bool(state.loaded and state.idle) and not _ask_all(state)
    patience_s = state.settings.steal_patience_s
    state.steal_pause_s = min(max(2 * state.steal_pause_s, patience_s), PAUSE_MAX_S) if is_stuck else 0.0


def _ask_all(state: SchedulerState) -> bool:
    """Ask givers in turn until the idle threads would have their queues full.

    Answers whether anything was found or is to be expected soon; False: what waits cannot move.
    """
    threads = sum(
        worker.nthreads + worker.lent_count - len(worker.processing) - worker.ntaken
        for worker in islice(state.idle, TAKERS_MAX)
    )
    wanted_s = threads * state.settings.queue_target_s
    found = 0
    is_early = False
    for giver in list(islice(state.loaded, GIVERS_MAX)):
        state.loaded.move_to_end(giver)
        if giver.asked_until is not None and giver.asked_until > state.now:
            is_early = True
            continue
        wait_s = max(state.now - giver.reported_s, giver.occupancy_s / giver.nthreads)
        if wait_s < state.settings.steal_patience_s:
            is_early = True
            continue
        tasks = _worth_moving(state, giver, threads, wait_s)
        if tasks:
            recall(state, giver, tasks)
            found += len(tasks)
            wanted_s -= sum(task.estimate_s for task in tasks)
            if found >= threads and wanted_s <= 0:
                break
    return found > 0 or is_early


def _worth_moving(state: SchedulerState, giver: WorkerRecord, threads: int, wait_s: float) -> list[TaskRecord]:
    """What `giver` should give to so many idle threads, in the order it was sent; it would wait `wait_s` there.

    All that waits if nothing has ended for longer than everything should have taken; else a fair share.
    """
    # Refused ones run, as those do that ever lent their slot; of the others the first sent.
    begun = max(max(0, giver.nthreads - giver.ntaken) + giver.lent_count, len(giver.lent), len(giver.asked))
    waiting = len(giver.processing) - begun
    if state.now - giver.reported_s < giver.occupancy_s / giver.nthreads:
        waiting = -(-waiting * threads // (threads + giver.nthreads))
    taker = next(iter(state.idle))
    nbytes_max = wait_s * BANDWIDTH
    tasks: list[TaskRecord] = []
    count_max = waiting
    for task in islice(reversed(giver.processing.values()), SCAN_MAX):
        if len(tasks) == count_max:
            break
        if task.dependencies is not None and count_max == waiting:
            count_max = len(giver.processing) - begun  # there is something to choose
        if (
            giver.asked.get(task.key) != task.attempt
            and not task.deaths
            and task.key not in giver.lent
            and (task.dependencies is None or _nbytes_to_move(task, taker) <= nbytes_max)
            and _is_welcome(state, task)
        ):
            tasks.append(task)
    if 0 < waiting < len(tasks):
        tasks = _first_choice(state, giver, tasks, waiting)
    tasks.reverse()
    return tasks


def _first_choice(state: SchedulerState, giver: WorkerRecord, tasks: list[TaskRecord], count: int) -> list[TaskRecord]:
    """`count` of `tasks`, in their order: in turn from the shares of idle workers, then the first ones.

    Cost: O(tasks * dependencies * `SHARERS_MAX`).
    """
    takers = [worker.address for worker in islice(state.idle, SHARERS_MAX)]
    sharers = [giver, *islice(state.idle, SHARERS_MAX)]
    needed = {task: [needed.key for needed in task.dependencies] for task in tasks if task.dependencies is not None}
    inputs = dict.fromkeys(key for keys in needed.values() for key in keys)
    who_has = {key: [worker.address for worker in sharers if key in worker.holds] for key in inputs}
    shares, _ = divide_tasks(who_has, needed)
    own = [shares[taker] for taker in takers if taker in shares]
    chosen: dict[TaskRecord, None] = {}
    while own and len(chosen) < count:
        for share in own:
            if len(chosen) < count:
                chosen[share.pop()] = None
        own = [share for share in own if share]
    for task in tasks:
        if len(chosen) == count:
            break
        chosen[task] = None
    return [task for task in tasks if task in chosen]


def _nbytes_to_move(task: TaskRecord, taker: WorkerRecord) -> int:
    return sum(dependency.nbytes for dependency in task.dependencies or () if dependency.key not in taker.holds)


def _is_welcome(state: SchedulerState, task: TaskRecord) -> bool:
    """Whether one of the first idle workers could run `task` now."""
    restriction = restriction_of(task).loosened()
    return restriction is UNRESTRICTED or any(
        restriction.matches(worker) and has_room_for(worker, restriction) for worker in islice(state.idle, MATCH_MAX)
    )


def recall(state: SchedulerState, worker: WorkerRecord, tasks: Iterable[TaskRecord]) -> None:
    """Ask `worker` to give back these of its tasks unless they have begun."""
    message = state.outbox.recall.setdefault(worker, ReturnTasks([], []))
    for task in tasks:
        worker.asked[task.key] = task.attempt
        message.keys.append(task.key)
        message.attempts.append(task.attempt)
    worker.asked_until = state.now + ANSWER_S
    worker.is_relieved = True
    refresh_room(state, worker)


def tasks_returned(state: SchedulerState, worker: WorkerRecord, message: TasksReturned) -> None:
    """`worker` has not begun these and will not: they are queued again, before others. Those it kept stay with it."""
    given: list[TaskRecord] = []
    for key, attempt in zip(message.keys, message.attempts, strict=True):
        task = worker.processing.get(key)
        if task is not None and task.attempt == attempt:
            end_processing(task)
            drop_rejected(state, worker, key)
            given.append(task)
    worker.asked_until = None
    present = worker.processing
    worker.asked = {
        key: attempt for key, attempt in worker.asked.items() if key in present and present[key].attempt == attempt
    }
    touch(state, worker)
    run_again(state, given, f"given back by {worker.address}")
