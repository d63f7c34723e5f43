"""What must be true between two events, checked in full: for tests, the simulator, and a suspicious operator.

Each rule is a function that names itself in its InvariantError. Cost: O(everything) per call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

from distributed.errors import InvariantError
from distributed.scheduler.coordination.invariants import check_coordination
from distributed.scheduler.kit_invariants import check_kit, check_printing
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.moving_invariants import check_moving
from distributed.scheduler.placement import candidates, effective, has_room_for
from distributed.scheduler.queues import UNRESTRICTED, ReadyQueue, Restriction, restriction_of
from distributed.scheduler.records import Room, TaskRecord, TaskState, WorkerRecord, amounts_of
from distributed.scheduler.reserving import has_threads
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.stuck import LOOK_S

__all__ = ["check"]

_RELEASED, _WAITING, _READY, _PROCESSING, _MEMORY, _ERRED, _FORGOTTEN = TaskState
_ACTIVE = (_WAITING, _READY, _PROCESSING)


def check(machine: SchedulerMachine) -> None:
    """Check every rule.

    Raises:
        InvariantError: naming the first rule that does not hold, and where.
    """
    state = machine.state
    check_tables(state)
    for task in state.tasks.values():
        check_task_fields(task)
        check_task_relations(state, task)
        check_task_need(state, task)
    for worker in [*state.workers.values(), *state.lost.values()]:
        check_worker(state, worker)
    check_lost(state)
    check_functions(state)
    check_queues(state)
    check_rooms(state)
    check_nobody_idles(state)
    check_moving(state)
    check_kit(state)
    check_printing(state)
    check_stealing(state)
    check_near(state)
    check_stopping(state)
    check_seconds(state)
    check_actors(state)
    check_orphans(state)
    check_coordination(state)
    check_stuck(state)
    check_idlers(state)


def _broken(rule: str, where: object) -> NoReturn:
    raise InvariantError(f"{rule}: {where}")


def check_orphans(state: SchedulerState) -> None:
    """Clients of dead workers are let go in time, and only those."""
    orphans = {name: client for name, client in state.clients.items() if client.orphaned_at is not None}
    if set(orphans) != set(state.orphans) or list(state.orphans.values()) != sorted(state.orphans.values()):
        _broken("clients of dead workers are let go, the first first", sorted(orphans))


def check_tables(state: SchedulerState) -> None:
    """Every record is filed under its own name, counts are right, and the event's scratch space is empty."""
    for key, task in state.tasks.items():
        if task.key != key or task.state is _FORGOTTEN:
            _broken("a task is filed under its key until it is forgotten", task)
    for name, client in state.clients.items():
        if client.client != name:
            _broken("a client is filed under its id", name)
        for key, task in client.wanted.items():
            if state.tasks.get(key) is not task or client not in (task.wanted_by or ()):
                _broken("what a client wants is known and knows it", task)
    names = {worker.name: worker for worker in state.workers.values()}
    if names != state.by_name or len(names) != len(state.workers):
        _broken("names of living workers are unique and indexed", sorted(names))
    hosts = {
        worker.host: {w: None for w in state.workers.values() if w.host == worker.host} for worker in names.values()
    }
    if hosts != state.by_host:
        _broken("hosts are indexed", sorted(state.by_host))
    counted = Counter(task.state for task in state.tasks.values())
    for kind in TaskState:
        if kind is not _FORGOTTEN and counted[kind] != state.counts[kind]:
            _broken("tasks are counted by state", kind.name)
    outbox = state.outbox
    left = (
        state.touched,
        state.hot,
        state.doubtful,
        state.unneeded,
        *(getattr(outbox, name) for name in outbox.__slots__),
    )
    if any(left):
        _broken("nothing is left over between events", left)


def check_task_fields(task: TaskRecord) -> None:
    """A field that belongs to one state is empty in all others."""
    state = task.state
    if (task.processing_on is not None) != (state is _PROCESSING):
        _broken("a task is with a worker exactly while it is PROCESSING", task)
    if (task.who_has is not None) != (state is _MEMORY) or task.who_has in ((), {}):
        _broken("a task has holders exactly while it is in MEMORY", task)
    if (task.failure is not None) != (state is _ERRED):
        _broken("a task has a failure exactly while it is ERRED", task)
    is_lent = task.processing_on is not None and task.processing_on.lent.get(task.key, False)
    if (task.estimate_s != 0) != (state is _PROCESSING and not is_lent):
        _broken("a task is estimated exactly while it is PROCESSING and has a slot", task)
    if task.function is None and state in _ACTIVE:
        _broken("what has no recipe is not computed", task)
    if task.deaths != len(task.certificates or ()) or task.attempt < 0 or task.retries_left < 0:
        _broken("deaths, attempts and retries are counted", task)
    waiting_on = sum(dependency.state is not _MEMORY for dependency in task.dependencies or ())
    if task.waiting_on != (waiting_on if state is _WAITING else 0) or (state is _WAITING and not waiting_on):
        _broken("a WAITING task counts the dependencies without data", task)
    if state is _READY and waiting_on:
        _broken("a READY task has all its dependencies in MEMORY", task)


def check_task_relations(state: SchedulerState, task: TaskRecord) -> None:
    """Both sides of every relation agree."""
    for dependency in task.dependencies or ():
        if state.tasks.get(dependency.key) is not dependency or task not in (dependency.dependents or ()):
            _broken("a dependency is known and knows its dependent", (task, dependency))
    for dependent in task.dependents or ():
        if state.tasks.get(dependent.key) is not dependent or task not in (dependent.dependencies or ()):
            _broken("a dependent is known and knows its dependency", (task, dependent))
    for client in task.wanted_by or ():
        if state.clients.get(client.client) is not client or client.wanted.get(task.key) is not task:
            _broken("who wants a task is connected and knows it", (task, client.client))
    for holder in task.who_has or ():
        if state.workers.get(holder.address) is not holder or holder.holds.get(task.key) is not task:
            _broken("who holds a result is alive and knows it", (task, holder.address))
    worker = task.processing_on
    if worker is not None and worker.processing.get(task.key) is not task:
        _broken("who runs a task knows it", (task, worker.address))
    for members in (task.dependencies, task.dependents, task.wanted_by, task.who_has):
        if members is not None and len(set(members)) != len(members):
            _broken("no relation names anybody twice", task)


def check_task_need(state: SchedulerState, task: TaskRecord) -> None:
    """What is needed is on its way or there; what is not needed costs nothing."""
    needed_by = sum(dependent.state in _ACTIVE for dependent in task.dependents or ())
    if task.needed_by != needed_by:
        _broken("a task counts the dependents that need it", task)
    if task.wanted_by or needed_by:
        if task.state is _RELEASED and task not in state.expected:
            _broken("a needed task is computed", task)
    elif task.state in (*_ACTIVE, _MEMORY):
        _broken("what nobody needs is released", task)
    elif not task.dependents:
        _broken("what nobody needs and nothing depends on is forgotten", task)
    if task.state in (_WAITING, _READY) and any(d.state is _ERRED for d in task.dependencies or ()):
        _broken("a task whose dependency failed has failed", task)


def check_worker(state: SchedulerState, worker: WorkerRecord) -> None:
    """A worker's tables agree with the tasks, and its load and resources add up."""
    for key, task in worker.processing.items():
        if task.processing_on is not worker or state.tasks.get(key) is not task:
            _broken("what a worker runs knows it", (worker.address, key))
        if not restriction_of(task).loosened().matches(worker):
            _broken("a task is only where it may run", (worker.address, key))
    for key, task in worker.holds.items():
        if worker not in (task.who_has or ()) or state.tasks.get(key) is not task:
            _broken("what a worker holds knows it", (worker.address, key))
    if any(key not in worker.processing and key not in worker.seconds for key in worker.rejected):
        _broken("data is kept until an attempt has ended only while there is one", (worker.address, worker.rejected))
    load_s = sum(task.estimate_s for task in worker.processing.values())
    if abs(worker.occupancy_s - load_s) > 1e-6 or (not worker.processing and worker.occupancy_s != 0):
        _broken("occupancy is the sum of estimates, and exactly 0 without tasks", worker.address)
    extras = {
        key: amounts_of(task.spec) or ()
        for key, task in worker.processing.items()
        if amounts_of(task.spec) is not None or task.deaths or task.spec.threads > 1
    }
    never_lent = [task for key, task in worker.processing.items() if key not in worker.lent]
    if extras != worker.extras or worker.has_suspect != any(task.deaths for task in never_lent):
        _broken("a worker knows its suspects and who uses its resources", worker.address)
    if worker.has_suspect and len(never_lent) > 1:
        _broken("a suspect runs alone", worker.address)
    if any(key not in worker.processing for key in worker.lent) or worker.lent_count != sum(worker.lent.values()):
        _broken("who lends a slot runs here, and is counted", (worker.address, worker.lent))
    beside = [task.spec.threads - 1 for key, task in worker.processing.items() if not worker.lent.get(key)]
    if worker.wide != sum(beside) + sum(worker.stopping.values()):
        _broken("threads that tasks take beside one each are counted", (worker.address, worker.wide))
    for name, total in worker.amounts.items():
        used = sum(amount for resources in extras.values() for other, amount in resources if other == name)
        if used > total + 1e-6 or abs(total - used - worker.resources_free[name]) > 1e-6:
            _broken("resources are reserved while they are used, and never overbooked", (worker.address, name))
    if len(worker.processing) - worker.lent_count > max(1, worker.nthreads * state.settings.depth_max):
        _broken("a worker's queue is bounded", worker.address)


def check_actors(state: SchedulerState) -> None:
    """An actor that was made lives at a worker which has it, and nowhere else."""
    for task in state.tasks.values():
        home = state.actors.get(task)
        if home is not None and not (task.state is _MEMORY and task.spec.actor and state.has_actors):
            _broken("only an actor in MEMORY has a home", task)
        if home is not None and (state.workers.get(home.address) is not home or home not in (task.who_has or ())):
            _broken("an actor's home is alive and has it", (task, home.address))
    homes = Counter(state.actors.values())
    if any(worker.nactors != homes[worker] for worker in state.workers.values()):
        _broken("a worker counts the actors that live there", homes)
    if any(state.tasks.get(task.key) is not task for task in state.actors):
        _broken("an actor is a known task", list(state.actors))


def check_lost(state: SchedulerState) -> None:
    """Living and lost workers are told apart, and the lost are in the order of their deadlines."""
    deadlines = [worker.lost_deadline for worker in state.lost.values()]
    if None in deadlines or deadlines != sorted(deadlines, key=lambda deadline: deadline or 0.0):
        _broken("lost workers have deadlines, earliest first", deadlines)
    for address, worker in state.workers.items():
        if worker.address != address or not worker.is_alive or worker.lost_deadline is not None:
            _broken("a living worker is filed under its address", address)
    for worker in state.lost.values():
        if worker.is_alive or worker.holds or worker.functions:
            _broken("a lost worker holds nothing", worker.address)


def check_functions(state: SchedulerState) -> None:
    """Functions are counted, known to those who have them, and kept only for somebody."""
    used = Counter(task.function for task in state.tasks.values())
    for function in used:
        if function is not None and state.functions.get(function.digest) is not function:
            _broken("the function of a task is known", function.digest)
    for digest, function in state.functions.items():
        if function.digest != digest or function.ntasks != used[function]:
            _broken("a function counts its tasks", digest)
        if not function.ntasks and not function.clients:
            _broken("a function without tasks and clients is forgotten", digest)
        clients = {client: None for client in state.clients.values() if digest in client.functions}
        workers = {worker: None for worker in state.workers.values() if digest in worker.functions}
        if clients != function.clients or workers != function.workers:
            _broken("who has a function is known on both sides", digest)
    for had in (*(c.functions for c in state.clients.values()), *(w.functions for w in state.workers.values())):
        if any(state.functions.get(digest) is not function for digest, function in had.items()):
            _broken("what somebody has is a known function", list(had))


def check_queues(state: SchedulerState) -> None:
    """Every READY task is in the queue of its restriction, and queues count right."""
    tasks_by_restriction: dict[Restriction, set[TaskRecord]] = {UNRESTRICTED: set()}
    for task in state.tasks.values():
        if task.state is _READY:
            tasks_by_restriction.setdefault(restriction_of(task), set()).add(task)
    queues: dict[Restriction, ReadyQueue] = {UNRESTRICTED: state.ready, **state.queues}
    if set(queues) != set(tasks_by_restriction):
        _broken("there is a queue for each restriction of READY tasks", sorted(map(str, queues)))
    for restriction, queue in queues.items():
        queued = {task for level in queue.levels.values() for task in level if queue.has(task)}
        if queued != tasks_by_restriction[restriction] or queue.live != len(queued):
            _broken("a queue holds exactly the READY tasks of its restriction", restriction)
        if queue.entries != sum(map(len, queue.levels.values())):
            _broken("a queue counts its entries", restriction)
        for token in queue.restriction.tokens():
            if queue not in state.queues_by_token.get(token, {}):
                _broken("a restricted queue is filed under what it asks for", restriction)
    if state.suspects != {queue: None for queue in state.queues.values() if queue.restriction.is_suspect}:
        _broken("queues of suspects are known", len(state.suspects))
    wide = [queue for queue in state.queues.values() if queue.restriction.threads > 1]
    if set(state.wide) != {queue for queue in wide if not queue.restriction.is_suspect}:
        _broken("queues of tasks that take several threads are known", len(state.wide))
    waiting = {
        queue for queue in state.queues.values() if queue.restriction.is_loose and (queue.open_at or 0) > state.now
    }
    if not waiting <= set(state.loose) or not set(state.loose) <= set(state.queues.values()):
        _broken("a loose queue that waits for whom it prefers will be opened", len(waiting))
    if [queue.open_at for queue in state.loose] != sorted(queue.open_at or 0.0 for queue in state.loose):
        _broken("loose queues open in order", len(state.loose))
    filed = {queue for queues_here in state.queues_by_token.values() for queue in queues_here}
    if not filed <= set(state.queues.values()) or not all(state.queues_by_token.values()):
        _broken("only queues with tasks are filed", len(filed))


def check_rooms(state: SchedulerState) -> None:
    """Workers are in the pool that their room says, and only those that something waits for are reserved."""
    pools = ((Room.IDLE, state.idle), (Room.OPEN, state.open))
    for room, pool in pools:
        if set(pool) != {worker for worker in state.workers.values() if worker.room is room}:
            _broken("a worker with room is in the pool of its room", room.name)
    if state.room_threads != sum(worker.nthreads for _, pool in pools for worker in pool):
        _broken("threads with room are counted", state.room_threads)
    for worker in state.workers.values():
        is_full = len(worker.processing) - worker.lent_count + worker.ntaken >= worker.nthreads
        if worker.room is Room.IDLE and (is_full or worker.has_suspect or worker.is_reserved):
            _broken("an idle worker has a thread free and nothing against it", worker.address)
    queues = (*state.suspects, *state.wide)
    reserved = [queue.reserved for queue in queues if queue.reserved is not None]
    if {w.address for w in reserved} != {w.address for w in state.workers.values() if w.is_reserved}:
        _broken("a worker is reserved for one queue of suspects, or of tasks of several threads", len(reserved))
    for queue in state.wide:
        if queue.reserved is not None and has_threads(queue.reserved, queue.restriction.threads):
            free = queue.reserved.resources_free
            if all(free.get(name, need) >= need for name, need in queue.restriction.resources or ()):
                _broken("a worker is reserved only until enough of its threads are free", queue.reserved.address)


def check_nobody_idles(state: SchedulerState) -> None:
    """No task waits in a queue for a worker that has room for it: placement never leaves work lying."""
    if state.ready.live and (state.idle or state.open):
        _broken("no task waits while a worker has room", _addresses([*state.idle, *state.open]))
    for restriction, queue in state.queues.items():
        free = [
            worker
            for worker in candidates(state, effective(state, queue))
            if has_room_for(worker, restriction) and (not worker.is_reserved or queue.reserved is worker)
        ]
        if free:
            _broken("no restricted task waits while a worker has room for it", (restriction, _addresses(free)))


def check_near(state: SchedulerState) -> None:
    """What is filed near workers is counted and bounded, and gone with the last queued task."""
    filed = {worker: None for worker in state.workers.values() if worker.near}
    if not set(filed) <= set(state.near) or not all(worker.near for worker in state.near):
        _broken("workers near which tasks wait are known", _addresses(state.near))
    if state.near_entries != sum(len(queued) for worker in state.near for queued in worker.near.values()):
        _broken("what is filed near workers is counted", state.near_entries)
    if state.near and not state.ready.live:
        _broken("nothing is filed when nothing is queued", _addresses(state.near))


def check_idlers(state: SchedulerState) -> None:
    """Whoever could do more is known to."""
    for worker in state.workers.values():
        is_full = len(worker.processing) - worker.lent_count + worker.ntaken >= worker.nthreads
        is_held = worker.has_suspect or worker.is_reserved or not worker.is_serving
        if worker.room is not Room.IDLE and not is_full and not is_held:
            _broken("a worker with a thread free and nothing against it idles", worker.address)


def check_stealing(state: SchedulerState) -> None:
    """Tasks that wait at one worker while another idles are looked at in time, and asked for once."""
    if set(state.loaded) != {w for w in state.workers.values() if w.has_waiting}:
        _broken("workers with tasks that wait are known", _addresses(state.loaded))
    if any(worker.is_loaded is not (worker in state.loaded) for worker in state.workers.values()):
        _broken("a worker knows whether tasks wait there", _addresses(state.loaded))
    if state.loaded and state.idle and state.steal_at is None:
        _broken("whoever could be helped is looked at in time", _addresses(state.loaded))
    for worker in state.workers.values():
        if worker.asked_until is not None and not worker.asked:
            _broken("a question is about something", worker.address)
        if worker.is_relieved and worker.room is Room.OPEN:
            _broken("nothing is queued at a worker that was asked for tasks until it reports", worker.address)


def check_stopping(state: SchedulerState) -> None:
    """Deadlines come in order, families agree on both sides, and only data without a recipe is expected back."""
    for deadlines in (state.forced.values(), state.expected.values()):
        if list(deadlines) != sorted(deadlines):
            _broken("the earliest deadline comes first", list(deadlines))
    for worker, key, attempt in state.forced:
        if worker.is_alive and (key, attempt) not in worker.stopping:
            _broken("only what may run on has a deadline", (worker.address, key))
    for worker in state.workers.values():
        for key, attempt in worker.stopping:
            if key in worker.processing and worker.processing[key].attempt <= attempt:
                _broken("what was cancelled at a worker is not with it", (worker.address, key))
    for task in state.expected:
        if task.function is not None or state.tasks.get(task.key) is not task:
            _broken("what is expected back is known and has no recipe", task)
    pairs = {(parent, child) for parent, children in state.children.items() for child in children}
    if pairs != {(parent, child) for child, parents in state.parents.items() for parent in parents}:
        _broken("parents and children agree", len(pairs))
    for parent, child in pairs:
        if parent not in state.tasks or state.tasks.get(child.key) is not child:
            _broken("families are of known tasks", (parent, child))
    if not all(state.children.values()) or not all(state.parents.values()):
        _broken("nobody has an empty family", len(state.parents))


def check_seconds(state: SchedulerState) -> None:
    """A second attempt is of a task that runs elsewhere too and may run anywhere, at a worker that can do it."""
    for task, second in state.seconds.items():
        worker = second.worker
        if second.task is not task or state.tasks.get(task.key) is not task or task.state is not _PROCESSING:
            _broken("only a PROCESSING task has had a second attempt", task)
        if second.attempt <= task.attempt:
            _broken("a second attempt has a number of its own", (task, second.attempt))
        if worker is None:
            continue
        if worker.seconds.get(task.key) is not second or task.processing_on is worker:
            _broken("a second attempt is known to its worker, which is another one", (task, worker.address))
        if not worker.is_alive or worker.is_retiring or worker.is_hung:
            _broken("a worker with a second attempt stays, and says what it does", (task, worker.address))
        if not task.spec.redundant or task.spec.actor or restriction_of(task) is not UNRESTRICTED:
            _broken("what has a second attempt may run twice, and anywhere", task)
        if task.key in state.children or (task.processing_on is not None and task.processing_on.lent.get(task.key)):
            _broken("what has a second attempt waits for nobody", task)
    for worker in [*state.workers.values(), *state.lost.values()]:
        for key, second in worker.seconds.items():
            if second.task.key != key or second.worker is not worker or state.seconds.get(second.task) is not second:
                _broken("a worker's second attempts know it", (worker.address, key))
            if (key, second.attempt) in worker.stopping:
                _broken("what was stopped is no second attempt", (worker.address, key))


def _addresses(workers: Iterable[WorkerRecord]) -> list[str]:
    return [worker.address for worker in workers]


def check_stuck(state: SchedulerState) -> None:
    """What nobody can run is watched, nothing else is, and the next look comes in time."""
    for queue in (state.ready, *state.queues.values()):
        restriction = queue.restriction.loosened()
        can_run = any(restriction.matches(worker) and not worker.is_retiring for worker in state.workers.values())
        if queue.live and (queue in state.stuck) is can_run:
            _broken("a queue is watched exactly while nobody can run its tasks", restriction)
        if (queue in state.stuck) is not (queue.news is not None):
            _broken("a watched queue collects what is new in it", restriction)
    for queue, due in state.stuck.items():
        if queue is not state.ready and state.queues.get(queue.restriction) is not queue:
            _broken("a watched queue is in use", queue.restriction)
        if state.stuck_at is None or state.stuck_at > max(due, state.now + LOOK_S):
            _broken("what nobody can run is looked at in time", (queue.restriction, due, state.stuck_at))
