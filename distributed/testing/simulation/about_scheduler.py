"""Invariants of the scheduler: its records, what it sends, what it counts against tasks."""

from __future__ import annotations

from collections import Counter
from typing import Any

from distributed.messages import (
    CopyData,
    DataAdded,
    DismissWorker,
    KeysDone,
    KeysFailed,
    KeysLost,
    RetryKeys,
    RunTasks,
    SubmitTasks,
    TasksDone,
    TasksFailed,
    TasksMissingData,
    TasksReturned,
    WantKeys,
    WorkerPaused,
)
from distributed.scheduler import invariants
from distributed.scheduler.effects import ToClient, ToWorker
from distributed.scheduler.events import ClientLeft, FromClient, FromWorker, WorkerAlive, WorkerDied, WorkerLeft
from distributed.scheduler.queues import UNRESTRICTED, level_of, restriction_of
from distributed.scheduler.records import TaskState
from distributed.testing.simulation.about_actors import is_lost_actor
from distributed.testing.simulation.about_redundant import second_of
from distributed.testing.simulation.rulebook import Moment, invariant

_OF_A_LIFE = (FromWorker, WorkerLeft, WorkerDied, WorkerAlive)
_ANSWERS = (TasksDone, TasksFailed, TasksMissingData, TasksReturned)
KEYS_MAX = 5_000  # of one message; a client's batch holds 2,000


@invariant(Moment.KEY, "a field of a task that belongs to one state is empty in all others")
def fields_fit_the_state(world: Any, key: str) -> str | None:
    """The scheduler's own rule."""
    task = world.scheduler.machine.state.tasks.get(key)
    if task is not None:
        invariants.check_task_fields(task)
    return None


@invariant(Moment.KEY, "both sides of every relation of a task agree")
def relations_agree(world: Any, key: str) -> str | None:
    """The scheduler's own rule."""
    state = world.scheduler.machine.state
    task = state.tasks.get(key)
    if task is not None:
        invariants.check_task_relations(state, task)
    return None


@invariant(Moment.KEY, "what is needed is on its way or there, and what is not needed is released")
def needed_tasks_move(world: Any, key: str) -> str | None:
    """The scheduler's own rule."""
    state = world.scheduler.machine.state
    task = state.tasks.get(key)
    if task is not None:
        invariants.check_task_need(state, task)
    return None


@invariant(Moment.SCHEDULED, "the load and the tables of a worker add up")
def worker_record_adds_up(world: Any, worker: Any, touched: Any) -> str | None:
    """The scheduler's own rule."""
    invariants.check_worker(world.scheduler.machine.state, worker)
    return None


@invariant(Moment.CLUSTER, "every rule of the scheduler's machine holds")
def scheduler_is_sound(world: Any) -> str | None:
    """All of `distributed.scheduler.invariants`."""
    if world.scheduler.is_alive:
        invariants.check(world.scheduler.machine)
    return None


@invariant(Moment.KEY, "the attempts of a task only grow")
def attempts_grow(world: Any, key: str) -> str | None:
    """Within the life of one record."""
    task = world.scheduler.machine.state.tasks.get(key)
    if task is None:
        return None
    known = world.memory.setdefault("attempts", {})
    record, attempt = known.get(key, (None, 0))
    known[key] = (task, task.attempt)
    if record is task and task.attempt < attempt:
        return f"{key}: {attempt}, then {task.attempt}"
    return None


@invariant(Moment.EVENT, "no attempt of a task is sent while an answer to one of that number may be on the way")
def attempts_are_told_apart(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Not even when the task was forgotten and submitted again meanwhile."""
    if engine is not world.scheduler:
        return None
    open_runs = world.memory.setdefault(("open runs", engine.life), {})
    times = world.memory.setdefault("times sent", Counter())
    if type(event) is FromWorker and isinstance(event.message, _ANSWERS):
        for key, attempt in zip(event.message.keys, event.message.attempts, strict=True):
            open_runs.pop((key, attempt, event.incarnation), None)
    elif type(event) in (WorkerLeft, WorkerDied):
        for run in [run for run in open_runs if run[2] == event.incarnation]:
            del open_runs[run]
    for effect in effects:
        if type(effect) is ToWorker and type(effect.message) is RunTasks:
            worker = engine.machine.state.workers[effect.address]
            for key, attempt in zip(effect.message.keys, effect.message.attempts, strict=True):
                times[key] += 1
                run = (key, attempt, worker.incarnation)
                if run in open_runs:
                    return f"{key}, attempt {attempt}, to {effect.address}"
                open_runs[run] = None
    return None


@invariant(Moment.BEFORE, "what a worker answers is compared with what it was asked")
def note_answers(world: Any, engine: Any, event: Any) -> str | None:
    """Only remembers; the next rules judge."""
    if type(event) is FromWorker and isinstance(event.message, _ANSWERS):
        tasks = [task for key in event.message.keys if (task := engine.machine.state.tasks.get(key)) is not None]
        world.memory["asked"] = [
            (t, t.processing_on, t.attempt, t.misses, t.retries_left, t.state, second_of(engine, t)) for t in tasks
        ]
    return None


@invariant(Moment.EVENT, "only the answer to the newest attempt, from the worker that has it, counts")
def late_answers_change_nothing(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """A task leaves PROCESSING by an answer only if it is one that is waited for."""
    if type(event) is not FromWorker or not isinstance(event.message, _ANSWERS):
        return None
    answered = dict(zip(event.message.keys, event.message.attempts, strict=True))
    for task, worker, attempt, _, _, state, second in world.memory["asked"]:
        if state is not TaskState.PROCESSING:
            continue
        said = (event.incarnation, answered[task.key])
        is_awaited = said in ((worker.incarnation, attempt), second)
        if not is_awaited and (task.processing_on is not worker or task.attempt != attempt):
            return (
                f"{task.key}: attempt {answered[task.key]} of {event.incarnation} ended {attempt} on {worker.address}"
            )
    return None


@invariant(Moment.EVENT, "every failed attempt costs a retry, and every one without data is counted")
def failures_are_counted(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """So that no task is tried for ever."""
    if type(event) is not FromWorker or not isinstance(event.message, (TasksFailed, TasksMissingData)):
        return None
    answered = dict(zip(event.message.keys, event.message.attempts, strict=True))
    for task, worker, attempt, misses, retries, state, second in world.memory["asked"]:
        said = (event.incarnation, answered[task.key])
        if state is not TaskState.PROCESSING or said not in ((worker.incarnation, attempt), second):
            continue
        if task.state in (TaskState.ERRED, TaskState.FORGOTTEN):
            continue
        if type(event.message) is TasksFailed and task.retries_left != retries - 1:
            return f"{task.key} has {retries} retries, then {task.retries_left}"
        if type(event.message) is TasksMissingData and task.misses != misses + (said != second):
            return f"{task.key} has {misses} misses, then {task.misses}"
    return None


@invariant(Moment.EVENT, "a worker that cannot give data is no holder of it any more")
def missing_data_is_believed(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Unless it is the last copy of what cannot be computed again, or an actor's home, or the answer was late."""
    if type(event) is not FromWorker or type(event.message) is not TasksMissingData:
        return None
    state = engine.machine.state
    told = {key: (n, pairs) for key, n, pairs in zip(
        event.message.keys, event.message.attempts, event.message.gone, strict=True
    )}  # fmt: skip
    for task, worker, attempt, _, _, before, second in world.memory["asked"]:
        number, pairs = told[task.key]
        said = (event.incarnation, number)
        if before is not TaskState.PROCESSING or said not in ((worker.incarnation, attempt), second):
            continue
        for key, address in pairs:
            dependency, holder = state.tasks.get(key), state.workers.get(address)
            if dependency is None or holder is None or dependency not in (task.dependencies or ()):
                continue
            is_home = state.actors.get(dependency) is holder
            if key in holder.holds and dependency.function is not None and not is_home:
                return f"{key} at {address}"
    return None


@invariant(Moment.EVENT, "a worker that has paused is sent nothing to run")
def paused_workers_get_nothing(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """As far as the scheduler has heard of it."""
    if engine is not world.scheduler:
        return None
    paused = world.memory.setdefault(("paused", engine.life), {})
    if type(event) is FromWorker and type(event.message) is WorkerPaused:
        paused[event.incarnation] = event.message.paused
    for effect in effects:
        if type(effect) is ToWorker and type(effect.message) is RunTasks:
            worker = engine.machine.state.workers[effect.address]
            if paused.get(worker.incarnation):
                return f"{effect.address}: {effect.message.keys[:5]}"
    return None


@invariant(Moment.EVENT, "a worker is let go only when others hold what it holds, or could not get it")
def dismissed_workers_are_expendable(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Whatever it alone holds was ordered to be copied, as long as somebody stays who could take it; but for actors."""
    if engine is not world.scheduler:
        return None
    ordered = world.memory.setdefault(("ordered", engine.life), {})
    state = engine.machine.state
    for effect in effects:
        if type(effect) is not ToWorker:
            continue
        if type(effect.message) is CopyData:
            ordered.update(dict.fromkeys(effect.message.keys))
        elif type(effect.message) is DismissWorker and any(not w.is_retiring for w in state.workers.values()):
            for key, task in state.workers[effect.address].holds.items():
                if (
                    task not in state.actors
                    and key not in ordered
                    and all(holder.is_retiring for holder in task.who_has)
                ):
                    return f"{key} at {effect.address}"
    return None


@invariant(Moment.EVENT, "what is sent to a worker is what the scheduler believes it does")
def sent_tasks_are_processing(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Each task of a RunTasks is PROCESSING there, with that attempt; or it is its second one."""
    for effect in effects:
        if type(effect) is ToWorker and type(effect.message) is RunTasks:
            tasks = engine.machine.state.tasks
            for key, attempt in zip(effect.message.keys, effect.message.attempts, strict=True):
                task = tasks.get(key)
                worker = None if task is None else task.processing_on
                second = engine.machine.state.workers[effect.address].seconds.get(key)
                if second is not None and second.attempt == attempt and worker is not second.worker:
                    continue
                if worker is None or worker.address != effect.address or task.attempt != attempt:
                    return f"{key}, attempt {attempt}, to {effect.address}"
    return None


@invariant(Moment.EVENT, "a task is sent with the whereabouts of all that it needs")
def sent_tasks_know_holders(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Every dependency is named with at least one holder, which lives."""
    for effect in effects:
        if type(effect) is not ToWorker or type(effect.message) is not RunTasks:
            continue
        message, workers = effect.message, engine.machine.state.workers
        for needs in message.dependencies or ():
            for need in needs or ():
                holders = message.who_has.get(need, ())
                if not holders or any(holder not in workers for holder in holders):
                    return f"{need}: {holders}"
                if message.nbytes[need] != world.work.nbytes(need):
                    return f"{need}: {message.nbytes[need]} bytes told"
    return None


@invariant(Moment.EVENT, "tasks of higher priority are sent first, then the deeper ones, then those that were lost")
def priorities_hold(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Of those that any worker may run: none waits behind one that was sent just now."""
    if engine is not world.scheduler:
        return None
    state = engine.machine.state
    if not state.ready.live:
        return None
    top = state.ready.top()
    for effect in effects:
        if type(effect) is ToWorker and type(effect.message) is RunTasks:
            for key in effect.message.keys:
                task = state.tasks.get(key)
                is_plain = task is not None and not task.deaths and restriction_of(task) is UNRESTRICTED
                if is_plain and level_of(task) < top:
                    return f"{key} of level {level_of(task)} before one of {top}"
    return None


@invariant(Moment.EVENT, "messages are bounded")
def messages_are_bounded(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """No message names more keys than a batch of a client could."""
    for effect in effects:
        message = getattr(effect, "message", None)
        keys = getattr(message, "keys", ())
        if message is not None and len(keys) > KEYS_MAX:
            return f"{message.op} with {len(keys)} keys"
    return None


@invariant(Moment.EVENT, "a message names no key twice")
def keys_differ(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Of what the scheduler sends: to run, to drop, to settle."""
    for effect in effects:
        if type(effect) in (ToWorker, ToClient):
            keys = getattr(effect.message, "keys", ())
            if len(set(keys)) != len(keys):
                return f"{effect.message.op}: {sorted(key for key in set(keys) if keys.count(key) > 1)[:5]}"
    return None


@invariant(Moment.BEFORE, "what an ended life of a worker says is known for what it is")
def note_stale_events(world: Any, engine: Any, event: Any) -> str | None:
    """Only remembers; the next rule judges."""
    is_stale = False
    if type(event) in _OF_A_LIFE:
        state = engine.machine.state
        worker = state.workers.get(event.address)
        is_stale = worker is None or worker.incarnation != event.incarnation
        if type(event) is WorkerDied and (event.address, event.incarnation) in state.lost:
            is_stale = False  # this is what it is waited for
        world.memory["heard"] = dict(state.heard) if is_stale else {}
    world.memory["is stale"] = is_stale
    return None


@invariant(Moment.EVENT, "what an ended life of a worker says changes nothing")
def stale_events_are_ignored(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """No effect, no transition, no sign of life."""
    if world.memory["is stale"] and type(event) in _OF_A_LIFE:
        log = engine.machine.state.log
        if effects or len(log) != world.logged or world.memory["heard"] != engine.machine.state.heard:
            return f"{event.address} {event.incarnation}: {effects[:1]} {list(log.after(world.logged))[:2]}"
    return None


@invariant(Moment.EVENT, "a client is told of an outcome once each time it asks")
def outcomes_are_told_once(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Asking is to submit, want or retry; losing a result owes its next outcome. A lost actor is news by itself."""
    if engine is not world.scheduler:
        return None
    owed: dict[str, dict[str, int]] = world.memory.setdefault(("owed", engine.life), {})
    kind = type(event)
    if kind is FromClient and type(event.message) in (SubmitTasks, WantKeys, RetryKeys):
        mine = owed.setdefault(event.client, {})
        for key in event.message.keys:
            mine[key] = mine.get(key, 0) + 1
    elif kind is ClientLeft:
        owed.pop(event.client, None)
    elif kind is FromWorker and type(event.message) is DataAdded and event.message.client is not None:
        for client in engine.machine.state.clients:
            mine = owed.setdefault(client, {})
            for key in event.message.keys:
                mine[key] = mine.get(key, 0) + 1
    for effect in effects:
        if type(effect) is not ToClient:
            continue
        message, mine = effect.message, owed.setdefault(effect.client, {})
        if isinstance(message, (KeysDone, KeysFailed)):
            for key in message.keys:
                if is_lost_actor(key, message):
                    continue
                mine[key] = mine.get(key, 0) - 1
                if mine[key] < 0:
                    return f"{effect.client} is told of {key} again"
        elif type(message) is KeysLost and message.recomputing:
            for key in message.keys:
                mine[key] = mine.get(key, 0) + 1
    return None


@invariant(Moment.BEFORE, "deaths are remembered before they may be counted")
def note_deaths(world: Any, engine: Any, event: Any) -> str | None:
    """Only remembers; the next rule judges."""
    if engine is world.scheduler and type(event) not in (FromWorker, FromClient):
        tasks = engine.machine.state.tasks.values()
        world.memory["deaths"] = {
            task: (task.deaths, task.processing_on, second_of(engine, task))
            for task in tasks
            if task.state is TaskState.PROCESSING
        }
    return None


@invariant(Moment.EVENT, "a death counts only against a task that ran when its worker died")
def deaths_count_against_what_ran(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """By certificate if there is one; else against no more tasks than the worker had threads."""
    if engine is not world.scheduler or type(event) in (FromWorker, FromClient):
        return None
    certified = world.memory.setdefault("certified", {})
    if type(event) is WorkerDied:
        certified[event.address, event.incarnation] = None
    grown: dict[Any, list[str]] = {}
    for task, (deaths, worker, second) in world.memory["deaths"].items():
        if task.deaths != deaths:
            if second is not None:
                return f"{task.key}, though {second[0]} tries it too"
            grown.setdefault(worker, []).append(task.key)
            if task.deaths != deaths + 1:
                return f"{task.key}: {deaths} deaths, then {task.deaths}"
    for worker, keys in grown.items():
        if type(event) is WorkerDied and not set(keys) <= set(event.certificate["running"]):
            return f"{keys}, but {event.certificate['running']} ran"
        if type(event) is WorkerLeft and event.expected:
            return f"{keys}, though {worker.address} left on purpose"
        if type(event) is not WorkerDied and (worker.address, worker.incarnation) in certified:
            return f"{keys}, though a certificate said what ran on {worker.address}"
        if len(keys) > worker.nthreads:
            return f"{keys} on {worker.nthreads} threads"
    return None


@invariant(Moment.KEY, "the scheduler knows only tasks that somebody submitted")
def keys_are_not_invented(world: Any, key: str) -> str | None:
    """Every record has the recipe that was submitted."""
    task = world.scheduler.machine.state.tasks.get(key)
    if task is None or key in world.work.scattered:
        return None
    recipe = world.work.recipes.get(key)
    if recipe is None:
        return key
    if task.function is not None and task.function.digest != recipe.spec.function:
        return f"{key} has another function"
    return None


@invariant(Moment.KEY, "the size of a result is the one that its worker measured")
def sizes_are_right(world: Any, key: str) -> str | None:
    """Placement and transfers count on it."""
    task = world.scheduler.machine.state.tasks.get(key)
    if task is not None and task.state is TaskState.MEMORY and task.nbytes != world.work.nbytes(key):
        return f"{key}: {task.nbytes}, not {world.work.nbytes(key)}"
    return None


@invariant(Moment.EVENT, "a machine does not ask to be woken in the past")
def wakeups_are_ahead(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """After a Tick its time has been served."""
    wakeup = engine.machine.next_wakeup
    if wakeup is not None and type(event).__name__ == "Tick" and wakeup < world.seconds():
        return f"{engine.name}: {wakeup}"
    return None


@invariant(Moment.REST, "the scheduler keeps nothing when every client has left")
def scheduler_is_empty(world: Any) -> str | None:
    """Tasks, functions, queues, clients, lost workers, and counts of processing."""
    state = world.scheduler.machine.state
    left = {
        name: list(map(str, getattr(state, name)))[:5]
        for name in (
            *("tasks", "functions", "clients", "queues", "queues_by_token", "suspects", "lost"),
            *("children", "parents", "expected", "forced", "seconds"),
        )
        if getattr(state, name)
    }
    if state.ready.live or any(w.processing or w.holds or w.ntaken for w in state.workers.values()):
        left["workers"] = ["have tasks or data"]
    return str(left) if left else None


@invariant(Moment.REST, "the workers that live are those that the scheduler knows")
def workers_are_known(world: Any) -> str | None:
    """No record of a dead one, no living one without a record."""
    known = {worker.incarnation for worker in world.scheduler.machine.state.workers.values()}
    living = {worker.incarnation for worker in world.workers if worker.is_alive}
    return None if known == living else f"known {sorted(known)}, living {sorted(living)}"


@invariant(Moment.EVENT, "what is stopping, expected back or a child of a task is known as such")
def stopping_adds_up(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """The scheduler's own rule."""
    if engine is world.scheduler:
        invariants.check_stopping(engine.machine.state)
    return None


@invariant(Moment.REST, "every order has ended")
def orders_have_ended(world: Any) -> str | None:
    """Replicating, rebalancing and retiring are bounded."""
    return " ".join(world.scheduler.orders) or None
