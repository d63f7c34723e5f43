"""Invariants of workers: what they run and hold, and whether the scheduler believes the same."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from distributed.messages import CopiesFailed, ReleaseData, TasksMissingData
from distributed.testing.simulation.executor import is_right
from distributed.testing.simulation.rulebook import Moment, invariant
from distributed.worker import invariants
from distributed.worker.copies import REFUSALS_MAX
from distributed.worker.effects import ToScheduler
from distributed.worker.events import FetchBusy
from distributed.worker.store import SPILL_NBYTES_MIN


def _living(world: Any) -> list[Any]:
    return [worker for worker in world.workers if worker.is_alive]


def _record_of(world: Any, worker: Any) -> Any:
    """What the scheduler knows of this life of `worker`, if neither has anything to tell the other; else None."""
    if worker.scheduler is None or not worker.scheduler.is_quiet() or not world.scheduler.is_alive:
        return None
    if worker.is_busy:
        return None
    record = world.scheduler.machine.state.workers.get(worker.address)
    return record if record is not None and record.incarnation == worker.incarnation else None


@invariant(Moment.WORKER, "every rule of a worker's machine holds")
def worker_is_sound(world: Any, worker: Any, keys: list[str]) -> str | None:
    """All of `distributed.worker.invariants`."""
    invariants.check(worker.machine)
    return None


@invariant(Moment.WORKER, "a worker's machine knows what is in its store")
def store_is_known(world: Any, worker: Any, keys: list[str]) -> str | None:
    """Same keys, same sizes."""
    memory, store = worker.machine.state.memory, worker.memory.store
    if len(memory) != len(store) or any((key in memory) != (key in store) for key in keys):
        return f"{worker.name}: {sorted(memory.keys() ^ store.nbytes_by_key().keys())[:5]}"
    return None


@invariant(Moment.CLUSTER, "the sizes in a store are those that its machine knows")
def store_sizes_agree(world: Any) -> str | None:
    """In full."""
    for worker in _living(world):
        memory = worker.machine.state.memory
        if worker.memory.store.nbytes_by_key() != memory:
            return f"{worker.name}"
    return None


@invariant(Moment.WORKER, "a worker runs no more tasks than it has threads")
def threads_are_bounded(world: Any, worker: Any, keys: list[str]) -> str | None:
    """Withdrawn tasks that run on take threads too; those that wait for others do not."""
    taken = worker.executor.taken()
    return None if taken <= worker.plan.nthreads else f"{worker.name}: {taken}"


@invariant(Moment.CLUSTER, "a task that is ready is in the executor, and the executor has no others waiting")
def executor_has_what_is_ready(world: Any) -> str | None:
    """Ready tasks are queued, running, or just done, or wait for equipment; queued ones are ready."""
    for worker in _living(world):
        tasks = worker.machine.state.tasks
        executor = worker.executor
        queued = {task.ticket for task in executor.queue}
        here = queued | set(executor.running) | executor.ended_tickets()
        ready = {record.task.ticket for record in tasks.values() if record.missing is None}
        held = set(worker.machine.state.held)
        if not ready - held <= here or not queued <= ready - held:
            return f"{worker.name}: {sorted(ready - held - here)} not there, {sorted(queued - ready)} too many"
    return None


@invariant(Moment.CLUSTER, "a worker that waits for a copy has asked for it")
def copies_are_asked_for(world: Any) -> str | None:
    """A fetch under way at a peer is a call under way."""
    for worker in _living(world):
        fetching = sorted(address for address, peer in worker.machine.state.peers.items() if peer.fetching)
        if fetching != sorted(set(worker.calls.addresses())):
            return f"{worker.name}: {fetching}, asked {worker.calls.addresses()}"
    return None


@invariant(Moment.BEGIN, "only tasks that their machine knows begin")
def begun_tasks_are_known(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """What was withdrawn in time never runs."""
    return f"{worker.name}: {task.key}" if attempt is None else None


@invariant(Moment.BEGIN, "a task runs with the function and the arguments it was submitted with")
def functions_are_right(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """Payloads pass through unchanged."""
    recipe = world.work.recipes[task.key]
    if not is_right(task) or task.digest != recipe.spec.function:
        return f"{worker.name}: {task.key}"
    if tuple(task.dependencies or ()) != recipe.dependencies:
        return f"{worker.name}: {task.key} with {task.dependencies}, not {recipe.dependencies}"
    return None


@invariant(Moment.BEGIN, "no two living workers run the same attempt of a task")
def attempts_run_once(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """Of one life of the scheduler; a worker whose machine has forgotten the task does not count."""
    for running, life, other_attempt in worker.executor.running.values():
        if running.key == task.key and life == worker.scheduler_life and other_attempt == attempt:
            return f"{task.key}, attempt {attempt}: twice on {worker.name}"
    for other in _living(world):
        if other is worker or other.scheduler_life != worker.scheduler_life or other.scheduler is None:
            continue
        record = other.machine.state.tasks.get(task.key)
        runs = record is not None and record.attempt == attempt and record.task.ticket in other.executor.running
        if runs and not other.scheduler.connection.is_cut and not worker.scheduler_is_cut():
            return f"{task.key}, attempt {attempt}: {worker.name} and {other.name}"
    return None


@invariant(Moment.BEGIN, "a restricted task runs only where it may")
def restrictions_hold(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """Named workers, platforms, and resources that a worker has at all."""
    spec = world.work.recipes[task.key].spec
    is_named = bool({worker.host, worker.address, worker.name} & set(spec.workers or ()))
    if spec.workers is not None and not spec.allow_other_workers and not is_named:
        return f"{task.key} on {worker.name}, not on {spec.workers}"
    if spec.platform is not None and not any(fnmatchcase(tag, spec.platform) for tag in worker.plan.tags):
        return f"{task.key} on {worker.name}, which is {worker.plan.tags}, not {spec.platform}"
    for name, amount in spec.resources or ():
        if worker.plan.resources.get(name, 0.0) < amount:
            return f"{task.key} on {worker.name}, which has no {name}"
    return None


@invariant(Moment.BEGIN, "the resources of a worker are never overbooked")
def resources_suffice(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """Counting what runs and is not withdrawn, and what begins now."""
    spec = world.work.recipes[task.key].spec
    if spec.resources is None:
        return None
    tasks = worker.machine.state.tasks
    running = [t for t, _, _ in worker.executor.running.values() if (r := tasks.get(t.key)) is not None and r.task is t]
    for name, amount in spec.resources:
        used = amount + sum(
            need for t in running for other, need in world.work.recipes[t.key].spec.resources or () if other == name
        )
        if used > worker.plan.resources.get(name, 0.0):
            return f"{worker.name}: {used:g} {name}"
    return None


@invariant(Moment.BEGIN, "tasks with a memory limit never promise more memory than their worker has")
def memory_suffices(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """Counting what runs and is not withdrawn, and what begins now."""
    recipes, limit = world.work.recipes, worker.plan.memory_limit_nbytes
    if limit is None or recipes[task.key].spec.memory_limit_nbytes is None:
        return None
    tasks = worker.machine.state.tasks
    running = [t for t, _, _ in worker.executor.running.values() if (r := tasks.get(t.key)) is not None and r.task is t]
    used = sum(recipes[t.key].spec.memory_limit_nbytes or 0 for t in (task, *running))
    return f"{worker.name}: {used} of {limit}" if used > limit else None


@invariant(Moment.KEPT, "what a worker keeps is right")
def kept_values_are_right(world: Any, worker: Any, key: str, value: bytes, nbytes: int) -> str | None:
    """Computed, fetched or scattered."""
    if value != world.work.value(key) or nbytes != world.work.nbytes(key):
        return f"{worker.name}: {key} = {value.hex()}, {nbytes} bytes"
    return None


@invariant(Moment.CLUSTER, "scheduler and worker agree on what the worker has to do")
def tasks_agree(world: Any) -> str | None:
    """When neither has anything under way to the other: same keys, same attempts."""
    for worker in _living(world):
        record = _record_of(world, worker)
        if record is None:
            continue
        theirs = {key: task.attempt for key, task in record.processing.items()}
        theirs |= {key: second.attempt for key, second in record.seconds.items()}
        own = {key: task.attempt for key, task in worker.machine.state.tasks.items()}
        if theirs != own:
            return f"{worker.name}: the scheduler says {sorted(theirs.items())}, the worker {sorted(own.items())}"
    return None


@invariant(Moment.SCHEDULED, "what the scheduler believes a worker to run, it runs")
def touched_tasks_agree(world: Any, record: Any, touched: dict[str, None]) -> str | None:
    """The same for what was touched just now."""
    worker = world.worker_at(record.address)
    if worker is None or _record_of(world, worker) is not record:
        return None
    for key in touched:
        task, own = record.processing.get(key) or record.seconds.get(key), worker.machine.state.tasks.get(key)
        if (task is None) != (own is None) or (task is not None and task.attempt != own.attempt):
            return f"{worker.name}: {key}"
    return None


@invariant(Moment.CLUSTER, "scheduler and worker agree on what the worker holds")
def data_agrees(world: Any) -> str | None:
    """When neither has anything under way to the other: nothing is missing, nothing is left over."""
    for worker in _living(world):
        record = _record_of(world, worker)
        if record is None or record.holds.keys() == worker.machine.state.memory.keys():
            continue
        # What it is about to compute again may be there already, from a peer; it is replaced then.
        theirs, own = (
            record.holds.keys(),
            worker.machine.state.memory.keys() - record.processing.keys() - record.seconds.keys(),
        )
        if theirs != own:
            return f"{worker.name}: missing {sorted(theirs - own)[:5]}, left over {sorted(own - theirs)[:5]}"
    return None


@invariant(Moment.SCHEDULED, "what the scheduler believes a worker to hold is there")
def touched_data_is_there(world: Any, record: Any, touched: dict[str, None]) -> str | None:
    """Unless something is under way between the two."""
    worker = world.worker_at(record.address)
    if worker is None or _record_of(world, worker) is not record:
        return None
    for key in touched:
        is_computing = key in record.processing or key in record.seconds
        if (key in record.holds) != (key in worker.memory.store) and not is_computing:
            return f"{worker.name}: {key} {'is missing' if key in record.holds else 'is left over'}"
    return None


@invariant(Moment.CLUSTER, "scheduler and worker agree on which functions the worker has")
def functions_agree(world: Any) -> str | None:
    """When neither has anything under way to the other."""
    for worker in _living(world):
        record = _record_of(world, worker)
        if record is not None and record.functions.keys() != worker.machine.state.functions.keys():
            theirs, own = record.functions.keys(), worker.machine.state.functions.keys()
            return f"{worker.name}: missing {sorted(theirs - own)}, left over {sorted(own - theirs)}"
    return None


@invariant(Moment.CLUSTER, "a worker's connection is the one that the scheduler sends to")
def connections_agree(world: Any) -> str | None:
    """When neither has anything under way to the other."""
    for worker in _living(world):
        record = _record_of(world, worker)
        if record is not None and world.scheduler.workers.get(worker.address) is not worker.scheduler.other:
            return f"{worker.name}"
    return None


@invariant(Moment.CLUSTER, "a nanny that goes on has a living worker, or starts one soon")
def workers_are_guarded(world: Any) -> str | None:
    """No worker outlives its nanny here."""
    for nanny in world.nannies:
        if not nanny.is_alive and nanny.worker.is_alive:
            return f"{nanny.name}"
    return None


@invariant(Moment.REST, "no task, data, function or copy is left on any worker")
def workers_are_empty(world: Any) -> str | None:
    """Records, store, executor, peers."""
    for worker in _living(world):
        state = worker.machine.state
        left = {
            name: sorted(map(str, getattr(state, name)))[:5]
            for name in ("tasks", "memory", "copies", "peers", "functions", "waiting_peers")
            if getattr(state, name)
        }
        if len(worker.memory.store) or worker.disk.files or worker.executor.queue or len(worker.calls):
            left["process"] = [
                *sorted(worker.memory.store.nbytes_by_key())[:5],
                *(task.key for task in worker.executor.queue),
            ][:5]
        if left:
            return f"{worker.name}: {left}"
    return None


@invariant(Moment.REST, "every worker that was started again has found the scheduler")
def workers_are_registered(world: Any) -> str | None:
    """Whoever is dead was not to be started, and whoever lives has a connection."""
    for worker in world.workers:
        if not worker.is_alive:
            return f"{worker.name} is dead"
        if worker.scheduler is None:
            return f"{worker.name} has no scheduler"
    return None


@invariant(Moment.CLUSTER, "the accounts of a store add up, and its files are those on the disk")
def store_adds_up(world: Any) -> str | None:
    """Bytes in memory, away, lent out and free to go; no file without a value."""
    for worker in _living(world):
        store = worker.memory.store
        away = 0 <= store.away_nbytes <= store.nbytes
        lent = 0 <= store.spilling_nbytes + store.spillable_nbytes <= store.managed_nbytes
        if store.nbytes != sum(worker.machine.state.memory.values()) or not away or not lent:
            return f"{worker.name}: {store.nbytes} bytes, {store.away_nbytes} away, {store.spillable_nbytes} spillable"
        big = sum(size for size in store.nbytes_by_key().values() if size >= SPILL_NBYTES_MIN)
        if big != store.spillable_nbytes + store.spilling_nbytes + store.away_nbytes:
            return f"{worker.name}: of {big} bytes {store.spillable_nbytes} are spillable, {store.away_nbytes} away"
        if store.spilled_nbytes != sum(f.nbytes for f in worker.memory.files()):
            return f"{worker.name}: {store.spilled_nbytes} bytes in files"
    return None


@invariant(Moment.BEGIN, "no task begins while memory is short")
def paused_workers_begin_nothing(world: Any, worker: Any, task: Any, attempt: int | None) -> str | None:
    """The executor asks before each."""
    return f"{worker.name}: {task.key}" if worker.memory.is_paused else None


@invariant(Moment.EVENT, "a worker that misses data says who did not give it")
def missing_data_is_explained(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """At least one holder for every key that nobody gave, or the scheduler would send it there again and again.

    Ordered copies of what was released meanwhile fail without anybody to blame.
    """
    for effect in effects:
        if type(effect) is not ToScheduler:
            continue
        message = effect.message
        if type(message) is TasksMissingData:
            named = zip(message.missing, message.gone, strict=True)
        elif type(message) is CopiesFailed and type(getattr(event, "message", None)) is not ReleaseData:
            named = zip([[key] for key in message.keys], message.gone, strict=True)
        else:
            continue
        for missing, gone in named:
            told = {key for key, _ in gone}
            if not told.issuperset(missing):
                return f"{engine.name}: {missing}, told {gone}"
    return None


@invariant(Moment.BEFORE, "what a busy peer was asked for is remembered")
def note_refused(world: Any, engine: Any, event: Any) -> str | None:
    """Only remembers; the next rule judges."""
    if type(event) is FetchBusy:
        copies, peer = engine.machine.state.copies, engine.machine.state.peers.get(event.address)
        asked = {} if peer is None or peer.refusals + 1 >= REFUSALS_MAX else peer.fetching
        world.memory["refused"] = {
            key: len(copy.gone) for key, copy in asked.items() if copies.get(key) is copy and copy.is_wanted
        }
    return None


@invariant(Moment.EVENT, "a busy peer is not reported as one that does not have the data")
def busy_peers_are_holders(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """It is asked again, or others are."""
    if type(event) is FetchBusy:
        copies = engine.machine.state.copies
        for key, count in world.memory["refused"].items():
            if key not in copies or len(copies[key].gone) > count:
                return f"{engine.name}: {key} at {event.address}"
    return None
