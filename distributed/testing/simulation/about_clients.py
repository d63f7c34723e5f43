"""Invariants of clients: what they are told is right, and nothing they wait for is forgotten."""

from __future__ import annotations

from typing import Any

from distributed.client.records import Status
from distributed.messages import KeysCancelled, KeysDone, KeysFailed, KeysLost
from distributed.scheduler.records import TaskState
from distributed.testing.simulation.rulebook import Moment, invariant

_COMING = (TaskState.WAITING, TaskState.READY, TaskState.PROCESSING)


def _record_of(world: Any, client: Any) -> Any:
    """What the scheduler knows of the session of `client`, if neither has anything to tell the other; else None."""
    if not client.is_alive or client.scheduler is None or client.has_news() or not client.scheduler.is_quiet():
        return None
    if not world.scheduler.is_alive:
        return None
    return world.scheduler.machine.state.clients.get(client.client)


@invariant(Moment.TOLD, "a result that comes along is right")
def told_results_are_right(world: Any, client: Any, message: Any) -> str | None:
    """Payload and size."""
    if type(message) is KeysDone:
        for key, result, nbytes in zip(message.keys, message.results, message.nbytes, strict=True):
            if result is not None and result != world.work.value(key):
                return f"{client.name}: {key} = {result!r}"
            if nbytes != world.work.nbytes(key):
                return f"{client.name}: {key} has {nbytes} bytes"
    return None


@invariant(Moment.TOLD, "what can never succeed is never done")
def failures_are_not_hidden(world: Any, client: Any, message: Any) -> str | None:
    """A task that raises always, and all that needs it."""
    if type(message) is KeysDone:
        for key in message.keys:
            if key not in world.work.scattered and world.work.must_fail(key):
                return f"{client.name}: {key}"
    return None


@invariant(Moment.TOLD, "a task fails only for a reason of its own or of what it needs")
def failures_are_legitimate(world: Any, client: Any, message: Any) -> str | None:
    """It raised, killed workers, or its data is gone for good."""
    if type(message) is KeysFailed:
        for key, failure in zip(message.keys, message.failures, strict=True):
            why = world.work.why_failure_is_wrong(key, failure, world.forgotten())
            if why is not None:
                return f"{client.name}: {key}: {why}"
    return None


@invariant(Moment.TOLD, "a task is given up for deaths only after it was lost with so many workers")
def killers_are_real(world: Any, client: Any, message: Any) -> str | None:
    """Certificates are as many as deaths, and no task is blamed more often than it was sent.

    It need not have run each time: of a worker without a nanny nobody knows what ran.
    """
    if type(message) is KeysFailed:
        for failure in message.failures:
            detail = failure[3]
            if isinstance(detail, dict) and "certificates" in detail:
                key, deaths = detail["key"], detail["deaths"]
                if deaths != len(detail["certificates"]) or deaths > world.memory["times sent"][key]:
                    return f"{key}: {deaths} deaths, sent {world.memory['times sent'][key]} times"
    return None


@invariant(Moment.TOLD, "what is cancelled was cancelled by somebody, or was not known")
def cancelled_for_a_reason(world: Any, client: Any, message: Any) -> str | None:
    """The key, or something that it needs."""
    if type(message) is KeysCancelled and "not know" not in message.reason:
        for key in message.keys:
            if not any(name in world.cancelled for name in world.work.ancestors(key)):
                return f"{client.name}: {key}"
    return None


@invariant(Moment.TOLD, "only scattered data is lost for good")
def lost_for_a_reason(world: Any, client: Any, message: Any) -> str | None:
    """Everything else can be computed again."""
    if type(message) is KeysLost and not message.recomputing:
        for key in message.keys:
            if key not in world.work.scattered:
                return f"{client.name}: {key}"
    return None


@invariant(Moment.RESULT, "a fetched result is right")
def fetched_results_are_right(world: Any, client: Any, key: str, value: bytes) -> str | None:
    """From whichever worker it came."""
    return None if value == world.work.value(key) else f"{client.name}: {key} = {value.hex()}"


@invariant(Moment.CLUSTER, "nothing that a client waits for is forgotten")
def pending_keys_are_coming(world: Any) -> str | None:
    """When neither has anything under way to the other, the scheduler is about to compute every pending key."""
    for client in world.all_clients():
        record = _record_of(world, client)
        if record is None:
            continue
        for key, known in client.table.records.items():
            if known.status is Status.PENDING and key not in world.work.scattered:
                task = record.wanted.get(key)
                if task is None or task.state not in _COMING:
                    return f"{client.name} waits for {key}: {task}"
    return None


@invariant(Moment.CLUSTER, "what a client believes of its keys is what the scheduler knows")
def outcomes_agree(world: Any) -> str | None:
    """Finished keys are in memory, failed ones have failed; when neither has anything under way to the other."""
    states = {Status.FINISHED: TaskState.MEMORY, Status.ERROR: TaskState.ERRED}
    for client in world.all_clients():
        record = _record_of(world, client)
        if record is None:
            continue
        for key, known in client.table.records.items():
            if known.payload is not None:
                continue  # it came along: what becomes of the worker's copy does not matter
            state = states.get(known.status)
            task = record.wanted.get(key)
            if known.failure is not None and task is None:
                continue  # a scheduler that was started anew knows nothing of it
            if state is not None and (task is None or task.state is not state):
                return f"{client.name}: {key} is {known.status.value}, the scheduler: {task}"
    return None


@invariant(Moment.CLUSTER, "the scheduler holds nothing for a client that the client has let go")
def wants_agree(world: Any) -> str | None:
    """When neither has anything under way to the other."""
    for client in world.all_clients():
        record = _record_of(world, client)
        if record is None:
            continue
        for key in record.wanted:
            if key not in client.table.records and key not in world.work.scattered:
                return f"{client.name} no longer holds {key}"
    return None


@invariant(Moment.CLUSTER, "a user's futures are the records of his client")
def futures_have_records(world: Any) -> str | None:
    """Counted the same."""
    for client in world.all_clients():
        holders = {key: record.holders for key, record in client.table.records.items()}
        if client.is_alive and holders != client.held:
            return f"{client.name}: {sorted(set(holders.items()) ^ set(client.held.items()))[:5]}"
    return None


@invariant(Moment.CLUSTER, "no record of a client is decided and still waited for")
def waiters_are_served(world: Any) -> str | None:
    """Whoever waits is told at once."""
    for client in world.all_clients():
        for key, record in client.table.records.items():
            if record.status is not Status.PENDING and record.waiters:
                return f"{client.name}: {key}"
    return None


@invariant(Moment.REST, "a client that has let go of everything has no records and nothing to send")
def clients_are_empty(world: Any) -> str | None:
    """Tables and outboxes."""
    for client in world.all_clients():
        if client.table.records or client.outbox.next_message() is not None:
            return f"{client.name}: {sorted(client.table.records)[:5]}"
    return None


@invariant(Moment.REST, "no message is under way when all has come to rest")
def nothing_is_under_way(world: Any) -> str | None:
    """Except heartbeats."""
    for connection in world.network.connections.values():
        for end in connection.ends:
            if end.flight > 2 and end.is_open and not connection.is_cut:
                return f"{connection}: {end.flight}"
    return None


@invariant(Moment.TOLD, "no late answer decides a key that is being cancelled, or that was submitted again")
def late_answers_decide_nothing(world: Any, client: Any, message: Any) -> str | None:
    """Until the scheduler has answered the cancel, or has confirmed that it heard of the release."""
    fading = client.table._fading
    for key, record in client.table.records.items():
        if record.status in (Status.FINISHED, Status.ERROR) and (record.is_cancelling or key in fading):
            return f"{client.name}: {key} is {record.status.value}"
    return None
