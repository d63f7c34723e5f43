"""Invariants of what is counted: retries, misses and deaths of tasks, ordered copies, the messages of a session."""

from __future__ import annotations

from typing import Any

from distributed.messages import TasksFailed
from distributed.scheduler.records import TaskState
from distributed.testing.simulation.about_workers import _living, _record_of
from distributed.testing.simulation.rulebook import Moment, invariant


@invariant(Moment.KEY, "a task that killed or missed as often as it may is not tried again")
def limits_are_kept(world: Any, key: str) -> str | None:
    """It has failed, at once."""
    state = world.scheduler.machine.state
    task = state.tasks.get(key)
    if task is None or task.state is TaskState.ERRED:
        return None
    if 0 < state.settings.deaths_max <= task.deaths:
        return f"{key} has killed {task.deaths} workers"
    return f"{key} has missed data {task.misses} times" if task.misses >= state.settings.misses_max else None


@invariant(Moment.EVENT, "a task that raised fails only when it has no retries left")
def retries_are_used_up(world: Any, engine: Any, event: Any, effects: list[Any]) -> str | None:
    """To the last one."""
    message = getattr(event, "message", None)
    if engine is not world.scheduler or type(message) is not TasksFailed:
        return None
    for task, _, _, _, retries, state, _ in world.memory["asked"]:
        if state is TaskState.PROCESSING and retries and any(task.failure is failure for failure in message.failures):
            return f"{task.key} had {retries} left"
    return None


@invariant(Moment.CLUSTER, "an ordered copy is on its way, and what is on its way for an order was ordered")
def orders_agree(world: Any) -> str | None:
    """When scheduler and taker have nothing under way to each other."""
    for worker in _living(world):
        record = _record_of(world, worker)
        if record is None:
            continue
        taking = world.scheduler.machine.state.moving.taking.get(record, {})
        theirs = {task.key for task, copy in taking.items() if copy.source is not None}
        own = {key for key, copy in worker.machine.state.copies.items() if copy.ordered}
        if theirs != own:
            return f"{worker.name}: forgotten {sorted(theirs - own)[:5]}, left over {sorted(own - theirs)[:5]}"
    return None


@invariant(
    Moment.CLUSTER, "what one side of a session has counted, the other has sent, and keeps what is not confirmed"
)
def ledgers_agree(world: Any) -> str | None:
    """Exactly when nothing is under way; never more than was sent, nor less than was confirmed.

    A scheduler that has forgotten a client begins a new session as soon as that one comes back. Until the answer is
    there the client has the account of the old session, and there is nothing to compare.
    """
    scheduler = world.scheduler
    for client in world.all_clients():
        session = scheduler.sessions.get(client.client) if scheduler.is_alive and client.is_alive else None
        if session is None or client.scheduler_life != scheduler.life:
            continue
        if client.endpoint.end is None and session.began_at > client.endpoint.cut_at:
            continue
        both = client.endpoint, session
        for one, other in (both, both[::-1]):
            sent, received, confirmed = one.ledger.sent, other.ledger.received, one.ledger.confirmed_count
            if not confirmed <= received <= sent:
                return f"{client.client}: {sent} sent, {received} received, {confirmed} confirmed"
            if received != sent and one.end is not None and other.end is one.end.other and one.end.is_quiet():
                return f"{client.client}: {received} of {sent} messages came, and no more are under way"
    return None
