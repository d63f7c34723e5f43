"""What clients ask for: submit, want and release tasks; come and go.

A fault of one task (unknown function or dependency, a cycle) makes an ERRED record of that task and harms nothing else.
Not here: what becomes of the tasks afterwards (`lifecycle`, `answers`), and cancelling them (`stopping`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distributed.errors import BadRequestError, DistributedError, LostDataError
from distributed.messages import Failure, Payload, ReleaseFunctions, ReleaseKeys, SubmitTasks, TaskSpec, WantKeys
from distributed.scheduler.lifecycle import activate, fail, failure_of, forget_function_if_unused, leave_family
from distributed.scheduler.ordering import depth_first
from distributed.scheduler.output import forget_client
from distributed.scheduler.placement import push_plain
from distributed.scheduler.records import (
    ClientRecord,
    FunctionRecord,
    TaskRecord,
    TaskState,
    add_want,
    link_dependencies,
    remove_want,
)
from distributed.scheduler.state import SchedulerState, booked

__all__ = ["join_client", "leave_client", "release_keys", "submit", "want_keys"]

_RELEASED, _WAITING, _READY, _PROCESSING, _MEMORY, _ERRED, _FORGOTTEN = TaskState


def join_client(state: SchedulerState, client: str, process: str = "") -> None:
    """A client connected, in the `process` of a worker or ''; one that is known already keeps what it holds."""
    known = state.clients.get(client)
    if known is not None and known.orphaned_at is not None:  # its process lives after all, and it begins anew
        leave_client(state, client)
        known = None
    if known is None:
        state.clients[client] = ClientRecord(client, process)


def leave_client(state: SchedulerState, client_id: str) -> None:
    """A client is gone: it holds no task and no function any more."""
    client = state.clients.pop(client_id, None)
    if client is None:
        return
    state.orphans.pop(client_id, None)
    _release(state, client, list(client.wanted))
    forget_client(state, client)
    _release_functions(state, client, list(client.functions))


def release_functions(state: SchedulerState, client: ClientRecord, message: ReleaseFunctions) -> None:
    """`client` will send these functions again before it names them; unknown ones are no error."""
    _release_functions(state, client, [digest for digest in message.digests if digest in client.functions])


def _release_functions(state: SchedulerState, client: ClientRecord, digests: Sequence[bytes]) -> None:
    for digest in digests:
        del client.functions.pop(digest).clients[client]
        forget_function_if_unused(state, digest)


def submit(state: SchedulerState, client: ClientRecord, message: SubmitTasks) -> None:
    """Take new tasks; a key that exists keeps its recipe, and the client holds it too.

    Cost: about 1 us per new task without dependencies.
    """
    for digest, payload in message.functions.items():
        _learn_function(state, client, digest, payload)
    if any([spec.actor for spec in message.specs]):
        state.has_actors = True
    if any([spec.redundant for spec in message.specs]):
        state.has_redundant = True
    if message.dependencies is None and message.spec_of is None and message.keys:
        spec = message.specs[0]
        function = state.functions.get(spec.function)
        if function is not None and spec.wanted:
            _submit_plain(state, client, spec, function, message.keys, message.arguments)
            return
    _submit_any(state, client, message)


def _learn_function(state: SchedulerState, client: ClientRecord, digest: bytes, payload: Payload) -> None:
    function = state.functions.get(digest)
    if function is None:
        function = state.functions[digest] = FunctionRecord(digest, payload)
    function.clients[client] = None
    client.functions[digest] = function


def _submit_plain(
    state: SchedulerState,
    client: ClientRecord,
    spec: TaskSpec,
    function: FunctionRecord,
    keys: Sequence[str],
    arguments: Sequence[Payload],
) -> None:
    """The hot loop of `submit`: wanted tasks of one spec, without dependencies."""
    tasks = state.tasks
    wanted_by = client.alone
    retries = spec.retries
    attempt = state.attempts_withdrawn
    created: list[TaskRecord] = []
    existing: dict[TaskRecord, None] = {}
    for key, argument in zip(keys, arguments, strict=True):
        if key in tasks:
            existing[tasks[key]] = None
            continue
        tasks[key] = task = TaskRecord(key, spec, function, argument, wanted_by, retries, _READY, attempt)
        created.append(task)
    if created:
        function.ntasks += len(created)
        client.wanted.update(zip([task.key for task in created], created, strict=True))
        state.counts[_RELEASED] += len(created)
        booked(state, created, _RELEASED, _READY, client.client)
        push_plain(state, created)
    if existing:
        want(state, client, existing)


def _submit_any(state: SchedulerState, client: ClientRecord, message: SubmitTasks) -> None:
    """`submit` in full: several specs, dependencies in any order, unwanted tasks, faults."""
    created: dict[TaskRecord, list[str] | None] = {}
    wanted: dict[TaskRecord, None] = {}
    functions = [state.functions.get(spec.function) for spec in message.specs]
    for index, key in enumerate(message.keys):
        number = 0 if message.spec_of is None else message.spec_of[index]
        spec, function = message.specs[number], functions[number]
        task = state.tasks.get(key)
        if task is None:
            task = TaskRecord(key, spec, function, message.arguments[index], None, spec.retries)
            task.attempt = state.attempts_withdrawn
            state.tasks[key] = task
            created[task] = None if message.dependencies is None else message.dependencies[index]
            if function is not None:
                function.ntasks += 1
        if spec.wanted:
            wanted[task] = None
    state.counts[_RELEASED] += len(created)
    faults = _link(state, created)
    for task in created:
        if task.function is None:
            faults.setdefault(task, failure_of(BadRequestError(f"{task.key}: its function was never sent")))
    for task in wanted:
        if task in created:
            add_want(task, client)
    for task, failure in faults.items():
        fail(state, task, failure, "a bad request")
        if task.function is not None:  # what it says cannot be computed, by a retry neither: it has no recipe
            task.function.ntasks -= 1
            task.function = None
    has_roots = (
        message.dependencies is not None and None in message.dependencies
    )  # only among them it makes a difference
    order = depth_first(created) if has_roots else created
    activate(state, [task for task in wanted if task in created], client.client, order=order)
    want(state, client, [task for task in wanted if task not in created])
    state.unneeded.extend(task for task in created if task.wanted_by is None)


def _link(state: SchedulerState, created: dict[TaskRecord, list[str] | None]) -> dict[TaskRecord, Failure]:
    """Link `created` tasks to their dependencies; answers those that cannot be, with why. They stay without any."""
    faults: dict[TaskRecord, Failure] = {}
    dependencies_of: dict[TaskRecord, dict[TaskRecord, None]] = {}
    seen: set[TaskRecord] = set()  # asked only for membership
    is_in_order = True  # every dependency comes before its dependents, so there is no cycle
    for task, keys in created.items():
        if keys:
            found: dict[TaskRecord, None] = {}
            for key in keys:
                dependency = state.tasks.get(key)
                if dependency is None:
                    text = f"{task.key} depends on {key!r}, which the scheduler does not know (released or cancelled?)"
                    faults[task] = failure_of(_lost_dependency(key, text))
                    break
                if dependency in created and dependency not in seen:
                    is_in_order = False
                found[dependency] = None
            else:
                dependencies_of[task] = found
        seen.add(task)
    if not is_in_order:
        for task in _in_cycles(dependencies_of):
            del dependencies_of[task]
            faults[task] = failure_of(BadRequestError(f"{task.key} is part of, or depends on, a cycle of tasks"))
    for task, found in dependencies_of.items():
        link_dependencies(task, tuple(found))
    return faults


def _lost_dependency(key: str, text: str) -> DistributedError:
    error = LostDataError(key)
    error.text = text
    return error


def _in_cycles(dependencies_of: dict[TaskRecord, dict[TaskRecord, None]]) -> list[TaskRecord]:
    """The tasks that cannot be ordered: members of cycles, and what depends on them (Kahn's algorithm)."""
    missing = {
        task: sum(dependency in dependencies_of for dependency in found) for task, found in dependencies_of.items()
    }
    dependents_of: dict[TaskRecord, list[TaskRecord]] = {}
    for task, found in dependencies_of.items():
        for dependency in found:
            if dependency in dependencies_of:
                dependents_of.setdefault(dependency, []).append(task)
    stack = [task for task, count in missing.items() if not count]
    while stack:
        task = stack.pop()
        del missing[task]
        for dependent in dependents_of.get(task, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                stack.append(dependent)
    return list(missing)


def want(state: SchedulerState, client: ClientRecord, tasks: Iterable[TaskRecord]) -> None:
    """`client` holds these known tasks too; it is told at once what is known already."""
    released: list[TaskRecord] = []
    for task in tasks:
        add_want(task, client)
        if task.state is _MEMORY:
            state.outbox.tell_done(client, task.key, None, task.nbytes)
        elif task.state is _ERRED:
            assert task.failure is not None
            state.outbox.tell_failed(client, task.key, task.failure)
        elif task.state is _RELEASED:
            released.append(task)
        elif state.stuck:
            state.stuck_late.append((task, client))
    activate(state, released, client.client)


def want_keys(state: SchedulerState, client: ClientRecord, message: WantKeys) -> None:
    """`client` holds these keys too; for unknown ones it hears KeysCancelled."""
    known: dict[TaskRecord, None] = {}
    for key in message.keys:
        task = state.tasks.get(key)
        if task is None:
            state.outbox.cancelled.setdefault((client, "the scheduler does not know this key"), []).append(key)
        else:
            known[task] = None
    want(state, client, known)


def release_keys(state: SchedulerState, client: ClientRecord, message: ReleaseKeys) -> None:
    """`client` holds these keys no more; those it does not hold are no error."""
    _release(state, client, message.keys)


def _release(state: SchedulerState, client: ClientRecord, keys: Iterable[str]) -> None:
    """The hot loop of releasing: finished tasks without relatives are forgotten here, others are left to the sweep."""
    alone = client.alone
    forgotten: list[TaskRecord] = []
    take = client.wanted.pop
    release = state.outbox.release
    known = state.tasks
    for key in keys:
        task = take(key, None)
        if task is None:
            continue
        if task.wanted_by is alone:
            task.wanted_by = None
        else:
            remove_want(task, client)
            if task.wanted_by is not None:
                continue
        if task.state is not _MEMORY or task.dependents is not None or task.dependencies is not None:
            if not task.needed_by:
                state.unneeded.append(task)
            continue
        for worker in task.who_has or ():
            del worker.holds[key]
            if worker in release:
                release[worker].append(key)
            else:
                release[worker] = [key]
        task.who_has = None
        task.state = _FORGOTTEN
        del known[key]
        forgotten.append(task)
    if state.parents:
        for task in forgotten:
            leave_family(state, task)
    if forgotten:
        booked(state, forgotten, _MEMORY, _FORGOTTEN, "nobody needs it")
        _discount_functions(state, forgotten)


def _discount_functions(state: SchedulerState, tasks: Sequence[TaskRecord]) -> None:
    """`tasks` no longer use their functions."""
    functions = [task.function for task in tasks]
    for function in dict.fromkeys(functions):
        if function is not None:
            function.ntasks -= functions.count(function)
            if not function.ntasks:
                forget_function_if_unused(state, function.digest)
