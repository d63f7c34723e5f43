"""Faults to plant in retries by hand, and in cancels of what has not begun."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["AGAIN_FAULTS"]

AGAIN_FAULTS: tuple[Fault, ...] = (
    Fault(
        "retry-without-its-reasons",
        "A retry runs the task, and not what failed before it.",
        "distributed.scheduler.retrying",
        "_erred_before",
        (("for dependency in task.dependencies or ()", "for dependency in ()"),),
        seeds=(6,),
    ),
    Fault(
        "retry-told-to-nobody",
        "Clients that hold a retried task go on believing that it has failed.",
        "distributed.scheduler.retrying",
        "retry_keys",
        (("for holder in task.wanted_by or ():", "for holder in ():"),),
        seeds=(75, 104),
    ),
    Fault(
        "retry-remembers-deaths",
        "A retried task is blamed for workers that died before.",
        "distributed.scheduler.retrying",
        "retry_keys",
        (("task.deaths, task.certificates, task.misses = 0, None, 0", "task.certificates = None"),),
        seeds=(6,),
    ),
    Fault(
        "late-cancel-takes-all",
        "A cancel of what is queued cancels what a worker has, too.",
        "distributed.scheduler.retrying",
        "cancel_queued",
        (("task.state is TaskState.READY)", "task.state is not TaskState.RELEASED)"),),
        seeds=(6,),
    ),
    Fault(
        "late-cancel-of-others",
        "A cancel of what is queued cancels what another client waits for.",
        "distributed.scheduler.retrying",
        "cancel_queued",
        (("        and len(task.wanted_by or ()) == 1\n", ""),),
        seeds=(80,),
    ),
    Fault(
        "retry-without-word",
        "A client asks for a retry and goes on believing that the task has failed.",
        "distributed.client.table",
        "KeyTable.begin_retrying",
        (("record.status, record.failure = Status.PENDING, None", "record.failure = record.failure"),),
        note="Harmless: the scheduler says that the result is open again.",
    ),
)
