"""Invariants of tasks that wait for others: who lends a slot is known everywhere, and goes on in the end."""

from __future__ import annotations

from typing import Any

from distributed.testing.simulation.rulebook import Moment, invariant


@invariant(Moment.CLUSTER, "who has lent a slot is known to its worker's machine, and to the scheduler")
def lenders_are_known(world: Any) -> str | None:
    """The executor's word counts; the scheduler's when nothing is under way between the two."""
    for worker in world.workers:
        if not worker.is_alive:
            continue
        tasks = worker.machine.state.tasks
        lent = {worker.executor.running[ticket][0].key: ticket for ticket in worker.executor.lent}
        real = sorted(key for key, ticket in lent.items() if key in tasks and tasks[key].task.ticket == ticket)
        told = sorted(key for key, record in tasks.items() if record.is_lent)
        if real != told:
            return f"{worker.name}: {real} lend, its machine knows {told}"
        if (
            worker.scheduler is None
            or not worker.scheduler.is_quiet()
            or not world.scheduler.is_alive
            or worker.is_busy
        ):
            continue
        record = world.scheduler.machine.state.workers.get(worker.address)
        if record is not None and record.incarnation == worker.incarnation:
            believed = sorted(key for key, is_lent in record.lent.items() if is_lent)
            if believed != told:
                return f"{worker.name}: {told} lend, the scheduler believes {believed}"
    return None


@invariant(Moment.REST, "nobody waits for children or a slot when all has come to rest")
def nobody_lends(world: Any) -> str | None:
    """No executor has a task that waits, and no client of a dead worker is left."""
    for worker in world.workers:
        if worker.is_alive and worker.executor.lent:
            return f"{worker.name}: {len(worker.executor.lent)} tasks"
    orphans = world.scheduler.machine.state.orphans if world.scheduler.is_alive else ()
    return f"{sorted(orphans)} are left" if orphans else None
