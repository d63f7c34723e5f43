"""Faults to plant where tasks are stopped and data is rescued."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["STOP_FAULTS"]

STOP_FAULTS: tuple[Fault, ...] = (
    Fault(
        "stopped-thread-stays-taken",
        "A worker whose cancelled task has stopped gets nothing in its place.",
        "distributed.scheduler.stopping",
        "tasks_stopped",
        (("worker.wide -= worker.stopping.pop(pair, 0)", "worker.wide -= worker.stopping.get(pair, 0)"),),
        seeds=(1,),
    ),
    Fault(
        "stop-not-answered",
        "A worker does not say that a task which was cancelled as it ended has stopped.",
        "distributed.worker.machine",
        "WorkerMachine._stop_tasks",
        (("turn.stopped.append((key, attempt))", "turn.stopped.clear()"),),
        seeds=(104,),
    ),
    Fault(
        "rescued-data-of-another-task",
        "Rescued data counts although nobody expects it: the key may be another task's now.",
        "distributed.scheduler.rescue",
        "data_rescued",
        (
            (
                "if task is None or task not in state.expected or task.state is not TaskState.RELEASED:",
                "if task is None:",
            ),
            ("del state.expected[task]", "state.expected.pop(task, None)"),
        ),
        seeds=(141,),
    ),
    Fault(
        "rescued-data-for-nobody",
        "Tasks that wait for rescued data are not told that it is back.",
        "distributed.scheduler.rescue",
        "data_rescued",
        (('settle_done(state, back, "rescued data is back")', "settle_done(state, (), 'nothing')"),),
        note="Met in 1 of 300 seeds, and no rule broke there.",
    ),
    Fault(
        "late-is-a-death",
        "A task that did not stop in time runs again as if it had not.",
        "distributed.scheduler.failures",
        "_fail_late",
        (("if task.retries_left:", "if True:"), ("task.retries_left -= 1", "task.retries_left = 0")),
        note="Not met: in none of 300 seeds was a task with retries left ended by a nanny for its time.",
    ),
    Fault(
        "orphans-stay",
        "A child that is forgotten stays in the books of its parent.",
        "distributed.scheduler.lifecycle",
        "_forget",
        (("leave_family(state, task)", "str(task)"),),
        seeds=(0,),
    ),
)
