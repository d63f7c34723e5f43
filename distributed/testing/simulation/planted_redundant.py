"""Faults to plant where tasks have second attempts."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["REDUNDANT_FAULTS"]

_MODULE = "distributed.scheduler.redundant"

REDUNDANT_FAULTS: tuple[Fault, ...] = (
    Fault(
        "second-takes-no-thread",
        "A worker with a second attempt gets as much as if it had none.",
        "distributed.scheduler.placement",
        "refresh_room",
        (
            (
                "count = len(worker.processing) + worker.ntaken",
                "count = len(worker.processing) + len(worker.stopping)",
            ),
        ),
    ),
    Fault(
        "second-is-first",
        "The second attempt has the number of the first.",
        _MODULE,
        "_start",
        (("task.attempt + 1", "task.attempt"),),
    ),
    Fault(
        "second-of-anybody",
        "Tasks are tried twice although nobody said that they may.",
        _MODULE,
        "_running",
        (("task.spec.redundant\n", "True\n"),),
    ),
    Fault(
        "second-of-the-bound",
        "A task that may only run on some workers is tried on any.",
        _MODULE,
        "_running",
        (("            and restriction_of(task) is UNRESTRICTED\n", ""),),
    ),
    Fault(
        "second-of-a-parent",
        "A task that has run tasks of its own is tried a second time.",
        _MODULE,
        "_running",
        (("            and task.key not in worker.lent\n            and task.key not in state.children\n", ""),),
    ),
    Fault(
        "second-too-early",
        "How long a task has run is counted from when its worker was free last, although it was sent later.",
        _MODULE,
        "_try_late",
        (("max(worker.sent_s, worker.reported_s)", "worker.reported_s"),),
    ),
    Fault(
        "second-where-the-first-is",
        "A task is tried a second time on the worker that it is on.",
        _MODULE,
        "_best_taker",
        (("if worker is task.processing_on:", "if worker is None:"),),
    ),
    Fault(
        "second-without-data",
        "A task is tried a second time although nobody can give what it needs.",
        _MODULE,
        "_best_taker",
        (("if all(holder.is_hung for holder in needed.who_has or ()):", "if False:"),),
    ),
    Fault(
        "second-result-late",
        "The result of a second attempt counts as late.",
        "distributed.scheduler.answers",
        "tasks_done",
        (("redundant.win(state, worker, message.keys, message.attempts)", "str(worker)"),),
    ),
    Fault(
        "loser-runs-on",
        "The first attempt is not stopped when the second has returned.",
        _MODULE,
        "win",
        (
            (
                "withdraw(state, second.task, is_cancelled=True)",
                "from distributed.scheduler.records import end_processing; end_processing(second.task)",
            ),
        ),
    ),
    Fault(
        "second-runs-on",
        "The second attempt is not stopped when the first has returned.",
        _MODULE,
        "_stop",
        (
            (
                "call_off(state, second.task, worker, second.attempt, is_cancelled=is_cancelled, is_forced=is_forced)",
                "touch(state, worker)",
            ),
        ),
    ),
    Fault(
        "second-outlives-the-task",
        "When a task is cancelled or let go its second attempt stays.",
        "distributed.scheduler.lifecycle",
        "rest",
        (("redundant.end(state, task, is_cancelled=is_cancelled, is_forced=is_forced)", "str(task)"),),
    ),
    Fault(
        "second-outlives-a-failure",
        "When a task has failed its second attempt stays.",
        "distributed.scheduler.lifecycle",
        "fail",
        (("redundant.end(state, task)", "str(task)"),),
    ),
    Fault(
        "second-outlives-the-result",
        "When the first attempt has returned the second one stays.",
        "distributed.scheduler.answers",
        "tasks_done",
        (("redundant.end(state, task)", "str(task)"),),
    ),
    Fault(
        "second-forgotten",
        "A task whose first attempt is lost is queued again although its second one runs.",
        "distributed.scheduler.lifecycle",
        "run_again",
        (("not (state.seconds and redundant.take_over(state, task))", "True"),),
    ),
    Fault(
        "second-on-a-dead-worker",
        "Second attempts at a worker that is gone are waited for.",
        "distributed.scheduler.failures",
        "_remove",
        (("    redundant.leave(state, worker)\n", ""),),
    ),
    Fault(
        "second-keeps-its-worker",
        "A retiring worker has to end its second attempts first.",
        "distributed.scheduler.retirement",
        "retire_worker",
        (("        redundant.leave(state, worker)\n", ""),),
    ),
    Fault(
        "second-hangs",
        "A second attempt at a hung worker is waited for.",
        "distributed.scheduler.silence",
        "_bypass",
        (("        redundant.leave(state, worker)\n", ""),),
    ),
    Fault(
        "second-number-used-again",
        "The next attempt after a second one that was for nothing has its number.",
        _MODULE,
        "take_over",
        (
            (
                "    task.attempt = second.attempt\n    worker = second.worker\n    if worker is None:\n",
                "    worker = second.worker\n    if worker is not None:\n        task.attempt = second.attempt\n"
                "    if worker is None:\n",
            ),
        ),
    ),
    Fault(
        "second-raise-free",
        "A second attempt that raises costs no retry.",
        "distributed.scheduler.answers",
        "tasks_failed",
        (("            task.retries_left -= 1\n", "            task.retries_left -= index in taken\n"),),
    ),
    Fault(
        "second-raise-late",
        "A second attempt that raises is taken for one that runs.",
        "distributed.scheduler.answers",
        "tasks_failed",
        (("redundant.take_back(state, worker, message.keys, message.attempts)", "dict[int, TaskRecord]()"),),
    ),
    Fault(
        "second-raise-leaves-the-first",
        "A task fails by its second attempt while its first one runs on.",
        "distributed.scheduler.answers",
        "tasks_failed",
        (("withdraw(state, task, is_cancelled=True)", "end_processing(task)"),),
    ),
    Fault(
        "second-raise-runs-again",
        "A second attempt that raises is queued although the first one runs.",
        "distributed.scheduler.answers",
        "tasks_failed",
        (("if index in taken:", "if True:"),),
    ),
    Fault(
        "second-misses-data-late",
        "A second attempt that misses data is taken for one that runs.",
        "distributed.scheduler.answers",
        "tasks_missing_data",
        (("redundant.take_back(state, worker, message.keys, message.attempts)", "dict[int, TaskRecord]()"),),
    ),
    Fault(
        "second-waits-too",
        "A task that waits for tasks of its own goes on twice.",
        "distributed.scheduler.nested",
        "tasks_lent",
        (("    redundant.wait_alone(state, worker, message)\n", ""),),
    ),
    Fault(
        "death-of-one-counts",
        "A death counts against a task although its second attempt lives.",
        "distributed.scheduler.failures",
        "_requeue",
        ((" and not redundant.has_second(state, task)", ""),),
    ),
    Fault(
        "copies-of-seconds-unexpected",
        "A copy that a second attempt needs is one that nobody asked for.",
        "distributed.scheduler.withdrawal",
        "awaits_copy",
        (("if worker.seconds and any(", "if worker.address is None and any("),),
    ),
    Fault(
        "rejected-while-tried",
        "Data that a worker should not hold is dropped while it computes just that, as a second attempt.",
        "distributed.scheduler.answers",
        "_reject",
        (("if key in worker.processing or key in worker.seconds:", "if key in worker.processing:"),),
    ),
    Fault(
        "late-result-dropped-twice",
        "What a stopped attempt returned in the last moment is dropped once more, when a copy may be there.",
        "distributed.scheduler.answers",
        "tasks_done",
        (("for key in stale.values() if key not in dropped]", "for key in stale.values()]"),),
    ),
)
