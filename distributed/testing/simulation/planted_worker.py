"""Faults to plant in workers: the machine, copies, memory and the store."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["WORKER_FAULTS"]

WORKER_FAULTS: tuple[Fault, ...] = (
    Fault(
        "attempt-said-twice",
        "A task that is said twice is begun twice.",
        "distributed.worker.machine",
        "WorkerMachine._run_tasks",
        (("if attempt <= old.attempt:", "if attempt < old.attempt:"),),
        seeds=(19,),
    ),
    Fault(
        "cancelled-result-kept",
        "The result of a task that ended just before its cancelling stays.",
        "distributed.worker.machine",
        "WorkerMachine._cancel_tasks",
        (("        self._drop(turn, message.keys)\n", ""),),
        note="Harmless: met in 87 places, and each time the late answer has the result dropped, one message later.",
    ),
    Fault(
        "given-back-any-attempt",
        "A task is given back although an earlier attempt was asked for.",
        "distributed.worker.machine",
        "WorkerMachine._return_tasks",
        (("if record is None or record.attempt != attempt:", "if record is None:"),),
        note="Not met: in none of 300 seeds did this piece make a difference.",
    ),
    Fault(
        "late-outcome",
        "What the executor says of a replaced task counts for the new one.",
        "distributed.worker.machine",
        "WorkerMachine._tasks_executed",
        (("if record is None or record.task.ticket != outcome.ticket:", "if record is None:"),),
        seeds=(17, 29),
    ),
    Fault(
        "late-withdrawal",
        "The withdrawal of a replaced task counts for the new one.",
        "distributed.worker.machine",
        "WorkerMachine._tasks_withdrawn",
        (("record is None or record.task.ticket != ticket:", "record is None:"),),
        note="Not met: in none of 300 seeds did this piece make a difference.",
    ),
    Fault(
        "computed-order-not-answered",
        "An ordered copy that was computed here is not reported.",
        "distributed.worker.machine",
        "WorkerMachine._tasks_executed",
        (("if waited_for[key].ordered", "if waited_for[key].ordered and waited_for[key].waiters"),),
        note="Not met: no seed tried computes a result where a copy of it is on order.",
    ),
    Fault(
        "memory-survives-scheduler",
        "A worker that loses its scheduler drops its data but still counts it.",
        "distributed.worker.machine",
        "WorkerMachine._scheduler_lost",
        (("        state.memory.clear()\n", ""),),
        seeds=(3, 12, 0),
    ),
    Fault(
        "order-of-what-is-here",
        "An order to copy what is here already is not answered.",
        "distributed.worker.machine",
        "WorkerMachine._copy_data",
        (("        if here:\n", "        if not message.keys:\n"),),
        note="Not met: no seed tried orders a copy of what has just come there.",
    ),
    Fault(
        "second-value-replaces",
        "A second value scattered under a key replaces the first.",
        "distributed.worker.machine",
        "WorkerMachine._data_put",
        ((" if key not in self.state.memory]", "]"),),
        note="Not visible here: a simulated value follows from its key, so that both are the same.",
    ),
    Fault(
        "fetch-not-counted-down",
        "A fetch that has ended still counts as under way.",
        "distributed.worker.copies",
        "finish_fetch",
        (("    state.fetches -= 1\n", ""),),
        seeds=(1, 0, 3),
    ),
    Fault(
        "busy-is-gone",
        "A busy peer is treated as one that does not have the data.",
        "distributed.worker.copies",
        "peer_is_busy",
        (
            (
                ("(copy.holders if peer.refusals < REFUSALS_MAX else copy.refused).append(address)"),
                "copy.gone.append([copy.key, address])",
            ),
        ),
        seeds=(7,),
    ),
    Fault(
        "failed-holder-not-named",
        "A holder that did not give its data is not reported.",
        "distributed.worker.copies",
        "copy_failed",
        (("    copy.gone.append([copy.key, address])\n", ""),),
        seeds=(33, 31),
    ),
    Fault(
        "queued-after-arrival",
        "A copy that came another way stays in the queue of a peer.",
        "distributed.worker.copies",
        "hold_copy",
        (("        unqueue_copy(state, copy)\n", "        copy.peer = None\n"),),
        note="A copy has to come by a task of its own while it is queued at a peer: not once in 750 seeds.",
    ),
    Fault(
        "unwanted-still-fetched",
        "What nobody waits for any more is fetched all the same.",
        "distributed.worker.copies",
        "stop_waiting",
        (("        _forget_unwanted(state, copy)\n", ""),),
        seeds=(1,),
    ),
    Fault(
        "waiter-on-one-side",
        "A task stops waiting for a copy, which still counts it.",
        "distributed.worker.records",
        "remove_waiter",
        (("    del copy.waiters[record.task.ticket]\n", ""),),
        seeds=(6,),
    ),
    Fault(
        "added-before-done",
        "A copy is reported before the result that it is.",
        "distributed.worker.turn",
        "Turn.messages",
        (
            (
                (
                    "        if self.done is not None:\n"
                    "            yield self.done\n"
                    "        if self.added is not None:\n"
                    "            yield self.added\n"
                ),
                (
                    "        if self.added is not None:\n"
                    "            yield self.added\n"
                    "        if self.done is not None:\n"
                    "            yield self.done\n"
                ),
            ),
        ),
        note="Not met: both leave in one event only when an ordered copy is computed by its taker.",
    ),
    Fault(
        "begun-before-kept",
        "Tasks begin before the data that they need has been kept.",
        "distributed.worker.turn",
        "Turn.effects",
        (
            (
                (
                    "        if self.keep is not None:  # before Execute, which may hold tasks that need the data\n"
                    "            yield self.keep\n"
                    "        if self.ready:\n"
                    "            yield Execute(self.ready)\n"
                ),
                (
                    "        if self.ready:\n"
                    "            yield Execute(self.ready)\n"
                    "        if self.keep is not None:\n"
                    "            yield self.keep\n"
                ),
            ),
        ),
        seeds=(1, 0, 3),
    ),
    Fault(
        "withdrawn-after-begun",
        "A replaced task is withdrawn after the new one was handed over.",
        "distributed.worker.turn",
        "Turn.effects",
        (
            (
                (
                    "        if self.withdrawn:  # before Execute, which may hold a newer attempt of the same key\n"
                    "            yield Withdraw(self.withdrawn)\n"
                ),
                "",
            ),
            (
                "            yield Execute(self.ready)\n",
                (
                    "            yield Execute(self.ready)\n"
                    "        if self.withdrawn:\n"
                    "            yield Withdraw(self.withdrawn)\n"
                ),
            ),
        ),
        note="Not met: in none of 300 seeds did this piece make a difference.",
    ),
    Fault(
        "disk-broken-for-ever",
        "A disk that was full once counts as broken for ever.",
        "distributed.worker.memory",
        "MemoryMachine._spill_ended",
        (("self._disk_works = not event.failed", "self._disk_works = self._disk_works and not event.failed"),),
        note="Harmless for results: a pause that does not help ends after 30 seconds.",
    ),
    Fault(
        "spilled-twice-over",
        "What is under way to disk is asked for once more.",
        "distributed.worker.memory",
        "MemoryMachine._excess",
        (("return nbytes - event.spilling_nbytes", "return nbytes"),),
        note="Harmless for results: more is written than is needed.",
    ),
    Fault(
        "resumed-not-told",
        "The scheduler is not told that a pause has ended.",
        "distributed.worker.memory",
        "MemoryMachine._set_paused",
        (("        self._effects.append(", "        if paused:\n            self._effects.append("),),
        seeds=(16,),
    ),
    Fault(
        "not-looked-at-while-paused",
        "While paused the timer to look at memory is not set again.",
        "distributed.worker.memory",
        "MemoryMachine._measured",
        (
            (
                "        level = levels.target_nbytes",
                ("        if self.is_paused:\n            return\n        level = levels.target_nbytes"),
            ),
        ),
        seeds=(31,),
    ),
    Fault(
        "unwanted-file-kept",
        "The file of a value that was dropped while it was written stays.",
        "distributed.worker.store",
        "Store.settle",
        (("            self._remove(spilled)\n", ""),),
        seeds=(9, 5),
    ),
    Fault(
        "file-of-a-replaced-value",
        "The file of a replaced value counts for the new one.",
        "distributed.worker.store",
        "Store._give_back",
        (("if lent is None or lent.ticket != ticket:", "if lent is None:"),),
        note="Not met: in none of 300 seeds did this piece make a difference.",
    ),
    Fault(
        "dropped-while-lent",
        "A value that is dropped while it is written still counts as lent.",
        "distributed.worker.store",
        "Store._forget_big",
        (("lent = self._lent.pop(key, None)", "lent = self._lent.get(key)"),),
        seeds=(0, 5),
    ),
    Fault(
        "file-of-dropped-value",
        "The file of a dropped value stays.",
        "distributed.worker.store",
        "Store._forget_big",
        (("            self._remove(value)\n", ""),),
        seeds=(1, 0),
    ),
)
