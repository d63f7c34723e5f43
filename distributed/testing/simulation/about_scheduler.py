"""Invariants of the scheduler: its records, what it sends, what it counts against tasks."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

from distributed.messages import (
    DataAdded,
    KeysDone,
    KeysFailed,
    KeysLost,
    RunTasks,
    SubmitTasks,
    WantKeys,
)
from distributed.scheduler import invariants
from distributed.scheduler.effects import ToClient, ToWorker
from distributed.scheduler.events import ClientLeft, FromClient, FromWorker, WorkerDied, WorkerLeft
from distributed.scheduler.records import TaskState
from distributed.testing.simulation.rulebook import Moment, invariant

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
    task = world.scheduler.machine.state.tasks.get(key)
    if task is not None:
        invariants.check_task_need(task)
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


@invariant(Moment.EVENT, "no attempt of a task is sent twice")
def attempts_are_sent_once(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Not even to the same worker."""
    sent, times = world.memory.setdefault("sent", {}), world.memory.setdefault("times sent", Counter())
    for effect in effects:
        if type(effect) is ToWorker and type(effect.message) is RunTasks:
            tasks = engine.machine.state.tasks
            for key, attempt in zip(effect.message.keys, effect.message.attempts, strict=True):
                task = tasks.get(key)
                if sent.get(key) == (task, attempt):
                    return f"{key}, attempt {attempt}, to {effect.address}"
                sent[key] = (task, attempt)
                times[key] += 1
    return None


@invariant(Moment.EVENT, "what is sent to a worker is what the scheduler believes it does")
def sent_tasks_are_processing(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Each task of a RunTasks is PROCESSING there, with that attempt."""
    for effect in effects:
        if type(effect) is ToWorker and type(effect.message) is RunTasks:
            tasks = engine.machine.state.tasks
            for key, attempt in zip(effect.message.keys, effect.message.attempts, strict=True):
                task = tasks.get(key)
                worker = None if task is None else task.processing_on
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
    if type(event) is FromWorker or type(event) is WorkerLeft:
        worker = engine.machine.state.workers.get(event.address)
        is_stale = worker is None or worker.incarnation != event.incarnation
    world.memory["is stale"] = is_stale
    return None


@invariant(Moment.EVENT, "what an ended life of a worker says changes nothing")
def stale_events_are_ignored(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """No effect, no transition."""
    if world.memory["is stale"] and type(event) in (FromWorker, WorkerLeft):
        log = engine.machine.state.log
        if effects or len(log) != world.logged:
            return f"{event.address} {event.incarnation}: {effects[:1]} {list(islice(log, world.logged, None))[:2]}"
    return None


@invariant(Moment.EVENT, "a client is told of an outcome once each time it asks")
def outcomes_are_told_once(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """Asking is to submit or want; losing a result owes its next outcome."""
    if engine is not world.scheduler:
        return None
    owed: dict[str, dict[str, int]] = world.memory.setdefault(("owed", engine.life), {})
    kind = type(event)
    if kind is FromClient and type(event.message) in (SubmitTasks, WantKeys):
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
            task: (task.deaths, task.processing_on) for task in tasks if task.state is TaskState.PROCESSING
        }
    return None


@invariant(Moment.EVENT, "a death counts only against a task that ran when its worker died")
def deaths_count_against_what_ran(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """By certificate if there is one; else against no more tasks than the worker had threads."""
    if engine is not world.scheduler or type(event) in (FromWorker, FromClient):
        return None
    grown: dict[Any, list[str]] = {}
    for task, (deaths, worker) in world.memory["deaths"].items():
        if task.deaths != deaths:
            grown.setdefault(worker, []).append(task.key)
            if task.deaths != deaths + 1:
                return f"{task.key}: {deaths} deaths, then {task.deaths}"
    for worker, keys in grown.items():
        if type(event) is WorkerDied and not set(keys) <= set(event.certificate["running"]):
            return f"{keys}, but {event.certificate['running']} ran"
        if type(event) is WorkerLeft and event.expected:
            return f"{keys}, though {worker.address} left on purpose"
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
        for name in ("tasks", "functions", "clients", "queues", "queues_by_token", "suspects", "lost")
        if getattr(state, name)
    }
    if state.ready.live or any(worker.processing or worker.holds for worker in state.workers.values()):
        left["workers"] = ["have tasks or data"]
    return str(left) if left else None


@invariant(Moment.REST, "the workers that live are those that the scheduler knows")
def workers_are_known(world: Any) -> str | None:
    """No record of a dead one, no living one without a record."""
    known = {worker.incarnation for worker in world.scheduler.machine.state.workers.values()}
    living = {worker.incarnation for worker in world.workers if worker.is_alive}
    return None if known == living else f"known {sorted(known)}, living {sorted(living)}"
