"""Faults that wait for their occasion: something happens to whoever has to do with a task that is tried twice."""

from __future__ import annotations

from typing import Any

from distributed.testing.simulation.chance import Chance
from distributed.testing.simulation.clock import MS
from distributed.testing.simulation.work import ALWAYS, Recipe

__all__ = ["allow_seconds", "strike"]

REDUNDANT_PERCENT = 40  # of the seeds
RAISING_PERCENT = 15  # of their tasks raise in their first two runs, or always
ACTS = ("crash", "crash", "pause", "freeze", "freeze", "retire", "break")


def allow_seconds(chance: Chance, tasks: list[Recipe]) -> int:
    """In some seeds many tasks may run twice at a time; how many strikes there are.

    Drawn beside all else, so that other seeds are what they were without it.
    """
    draws = chance.stream("redundant")
    if not draws.percent(REDUNDANT_PERCENT):
        return 0
    share = draws.pick((30, 60, 100))
    for task in tasks:
        own = chance.stream(f"{task.key} is redundant")
        if task.key[0] != "s" and own.percent(share):
            task.spec = task.spec._replace(redundant=True)
            if own.percent(RAISING_PERCENT) and not task.kills:
                task.raises = own.pick((2, 2, ALWAYS))
    return draws.pick((0, 1, 2, 4))


def strike(world: Any, fault: Any) -> None:
    """The worker of a second attempt, that of the first one, or who has what they need, is hit; waits until it can."""
    scheduler = world.scheduler
    if scheduler.is_alive and not scheduler.is_paused:
        for task, second in scheduler.machine.state.seconds.items():
            holders = [holder for needed in task.dependencies or () for holder in needed.who_has or ()]
            records = [second.worker, task.processing_on, *holders]
            record = records[fault.one % len(records)]
            worker = None if record is None else world.worker_at(record.address)
            if second.worker is not None and worker is not None and not worker.is_paused:
                _hit(world, fault, worker)
                return
    if not world.is_healed:
        world.clock.after(2 * MS, strike, world, fault)


def _hit(world: Any, fault: Any, worker: Any) -> None:
    act = ACTS[fault.other % len(ACTS)]
    world.note_fault(f"strike: {act}", worker.name)
    if act == "crash":
        worker.crash()
    elif act == "retire":
        worker.retire("asked to retire")
    elif act == "break":
        if worker.scheduler is not None:
            world.network.break_connection(worker.scheduler.connection, "it broke")
    else:
        worker.is_frozen = act == "freeze"
        worker.pause()
        world.clock.after(fault.lasts, _resume, worker, worker.life)


def _resume(worker: Any, life: int) -> None:
    if worker.life == life and worker.is_paused:
        worker.resume()
