"""Faults to plant: equipment and the output of tasks."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["PEOPLE_FAULTS"]

PEOPLE_FAULTS: tuple[Fault, ...] = (
    Fault(
        "tasks-not-held",
        "A task begins while its worker still takes in what came before it.",
        "distributed.worker.machine",
        "WorkerMachine._end",
        (("if self.state.equipping and turn.ready:", "if self.state.equipping and not turn.ready:"),),
        seeds=(20, 25),
    ),
    Fault(
        "joined-without-equipment",
        "A worker that joins gets no equipment.",
        "distributed.scheduler.failures",
        "join_worker",
        (("    equip_joined(state, worker)\n", ""),),
        seeds=(5, 25, 29),
    ),
    Fault(
        "lost-worker-waited-for",
        "An order of equipment waits for a worker that is gone.",
        "distributed.scheduler.failures",
        "_remove",
        (("    forget_worker(state, worker)\n", ""),),
        seeds=(5, 30),
    ),
    Fault(
        "equipment-of-lost-scheduler-kept",
        "A worker takes the serials of a new scheduler for old ones.",
        "distributed.worker.equipping",
        "forget_equipment",
        (("has_any, state.equipment_serial = state.equipment_serial > 0, 0", "has_any = state.equipment_serial > 0"),),
        seeds=(42, 58),
    ),
    Fault(
        "output-to-everybody",
        "What a task prints goes to every client.",
        "distributed.scheduler.output",
        "audience",
        (("in member.wanted_by or () if", "in state.clients.values() if"),),
        seeds=(3, 5, 20),
    ),
    Fault(
        "allowance-of-left-client-kept",
        "The bound on the output of a client stays when it leaves.",
        "distributed.scheduler.output",
        "forget_client",
        (("    state.printing.allowances.pop(client, None)\n", ""),),
        seeds=(3, 5, 20),
    ),
)
