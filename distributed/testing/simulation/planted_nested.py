"""Faults to plant where tasks wait for others, in scheduler and worker."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["NESTED_FAULTS"]

NESTED_FAULTS: tuple[Fault, ...] = (
    Fault(
        "lent-room-unused",
        "The room of a worker whose task lends its slot is not looked at.",
        "distributed.scheduler.nested",
        "tasks_lent",
        (("    touch(state, worker)\n", ""),),
        seeds=(8,),
    ),
    Fault(
        "lent-still-counted",
        "A task that lends its slot goes on to take room.",
        "distributed.scheduler.placement",
        "refresh_room",
        (("worker.ntaken - worker.lent_count\n", "worker.ntaken\n"),),
        seeds=(0,),
    ),
    Fault(
        "lent-of-any-attempt",
        "A task lends its slot although the word is of an earlier attempt.",
        "distributed.scheduler.nested",
        "_those_here",
        (("if task is not None and task.attempt == attempt:", "if task is not None:"),),
        note="Met in 3 of 300 seeds, and no rule broke: the worker is given one task more than it has threads.",
    ),
    Fault(
        "lent-not-forgotten",
        "A task that ends while it lends is counted for ever.",
        "distributed.scheduler.records",
        "forget_lent",
        (("    worker.lent_count -= worker.lent.pop(key)\n", "    worker.lent.pop(key)\n"),),
        seeds=(0, 2),
    ),
    Fault(
        "orphan-not-dropped",
        "What the client of a dead worker held is never let go.",
        "distributed.scheduler.nested",
        "drop_orphans",
        (("        leave_client(state, client)\n", "        del state.orphans[client]\n"),),
        seeds=(0, 2),
    ),
    Fault(
        "suspects-lend-alone",
        "A suspect that waits for its children keeps them away from its worker.",
        "distributed.scheduler.records",
        "lend_slot",
        (("        worker.has_suspect = False\n", "        worker.has_suspect = True\n"),),
        seeds=(2,),
    ),
    Fault(
        "rejoined-not-told",
        "The worker does not tell that a task has its slot again.",
        "distributed.worker.machine",
        "WorkerMachine._tasks_lending",
        (
            (
                "            (turn.lent if is_lent else turn.rejoined).append(record)\n",
                "            turn.lent.append(record)\n",
            ),
        ),
        seeds=(2,),
    ),
)
