"""Faults to plant in the scheduler, second part: placement, moving data, clients."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["PLACE_FAULTS"]

PLACE_FAULTS: tuple[Fault, ...] = (
    Fault(
        "lost-kept-at-return",
        "A worker's lost life is not settled when it comes back.",
        "distributed.scheduler.failures",
        "join_worker",
        (("            del state.lost[life]\n            _requeue(", "            _requeue("),),
    ),
    Fault(
        "silence-not-set-again",
        "After a look the timer for silent workers is not set again.",
        "distributed.scheduler.silence",
        "take_silent",
        (("            state.silence_at = last + timeout_s\n", ""),),
    ),
    Fault(
        "sign-of-another-life",
        "A nanny's word on an ended life counts for the present one.",
        "distributed.scheduler.silence",
        "worker_alive",
        (("if worker is not None and worker.incarnation == event.incarnation:", "if worker is not None:"),),
    ),
    Fault(
        "reserved-for-ever",
        "A worker stays reserved when its suspect goes elsewhere.",
        "distributed.scheduler.placement",
        "_drop_queue",
        (("        queue.reserved.is_reserved = False\n", ""),),
    ),
    Fault(
        "attempt-not-counted",
        "A restricted task is sent again under the same attempt.",
        "distributed.scheduler.placement",
        "_start",
        (("    task.attempt += 1\n", ""),),
    ),
    Fault(
        "room-of-a-suspect",
        "Others are put behind a suspect.",
        "distributed.scheduler.placement",
        "refresh_room",
        (("or worker.has_suspect or", "or"),),
    ),
    Fault(
        "exact-fit-refused",
        "A task that needs all of a resource fits nowhere.",
        "distributed.scheduler.placement",
        "has_room_for",
        ((">= need - EPSILON", "> need + EPSILON"),),
    ),
    Fault(
        "resources-not-given-back",
        "Resources come back only when the last user has ended.",
        "distributed.scheduler.records",
        "give_back_extras",
        (("worker.resources_free[name] += amount", "worker.resources_free.get(name)"),),
    ),
    Fault(
        "suspect-in-plain-queue",
        "An old entry of a task that became a suspect still counts.",
        "distributed.scheduler.queues",
        "ReadyQueue.has",
        (("task.state is _READY and (task.deaths > 0) is self.restriction.is_suspect", "task.state is _READY"),),
    ),
    Fault(
        "returned-of-any-attempt",
        "A task given back counts although the attempt is an earlier one.",
        "distributed.scheduler.stealing",
        "tasks_returned",
        (("if task is not None and task.attempt == attempt:", "if task is not None:"),),
    ),
    Fault(
        "relieved-for-ever",
        "After tasks were asked back once nothing is queued there any more.",
        "distributed.scheduler.answers",
        "tasks_done",
        (("    worker.is_relieved = False\n", ""),),
    ),
    Fault(
        "copy-outlives-task",
        "A taker is not told to drop the copy of data that is gone.",
        "distributed.scheduler.copying",
        "end_left",
        (("state.outbox.release.setdefault(taker, []).append(task.key)", "continue"),),
    ),
    Fault(
        "dropped-source-asked",
        "A copy is asked of a worker that no longer holds the data.",
        "distributed.scheduler.copying",
        "_source_for",
        (("if spread.task.key not in source.holds:", "if not source.is_alive:"),),
    ),
    Fault(
        "order-not-closed",
        "An order is not told that one of its copies failed.",
        "distributed.scheduler.copying",
        "_end",
        (("        order.open -= 1\n", "        order.open -= reason is None\n"),),
    ),
    Fault(
        "two-leave-with-both-copies",
        "Data with two holders is not copied though both retire.",
        "distributed.scheduler.retirement",
        "_copy_data",
        (("all(holder.is_retiring for holder in task.who_has or ())", "len(task.who_has or ()) == 1"),),
    ),
    Fault(
        "dismissed-while-copying",
        "A retiring worker is let go before its data has been copied.",
        "distributed.scheduler.retirement",
        "advance",
        (("(worker.processing or retirement.copying.open)", "worker.processing"),),
    ),
    Fault(
        "resumed-not-touched",
        "The room of a worker that goes on after a pause is not noticed.",
        "distributed.scheduler.retirement",
        "worker_paused",
        (("    touch(state, worker)\n", ""),),
    ),
    Fault(
        "run-overtakes-release",
        "A worker is told to run a key and then to drop the old data of it.",
        "distributed.scheduler.outbox",
        "Outbox.flush",
        (
            (("        if self.release:\n            self._flush_keys(effects, self.release, ReleaseData)\n"), ""),
            (
                "            self.run = {}\n",
                ("            self.run = {}\n        self._flush_keys(effects, self.release, ReleaseData)\n"),
            ),
        ),
    ),
    Fault(
        "function-without-worker",
        "That a worker has a function is written down on one side only.",
        "distributed.scheduler.outbox",
        "run_message",
        (("            function.workers[worker] = None\n", ""),),
    ),
    Fault(
        "function-looked-at-too-soon",
        "Whether a function is unused is asked before its client is gone.",
        "distributed.scheduler.graph",
        "leave_client",
        (
            (
                ("        del function.clients[client]\n        forget_function_if_unused(state, digest)\n"),
                ("        forget_function_if_unused(state, digest)\n        del function.clients[client]\n"),
            ),
        ),
    ),
    Fault(
        "forgotten-for-another",
        "A task is forgotten when one of its two clients releases it.",
        "distributed.scheduler.graph",
        "_release",
        (("            if task.wanted_by is not None:\n                continue\n", ""),),
    ),
    Fault(
        "failure-not-told-again",
        "Who asks for a task that has failed already hears nothing.",
        "distributed.scheduler.graph",
        "want",
        (("state.outbox.tell_failed(client, task.key, task.failure)", "continue"),),
    ),
    Fault(
        "attempt-starts-at-zero",
        "A task submitted again after a cancel starts at attempt 0.",
        "distributed.scheduler.graph",
        "_submit_plain",
        (("attempt = state.attempts_withdrawn", "attempt = 0"),),
    ),
    Fault(
        "unknown-not-cancelled",
        "Who cancels a key that the scheduler does not know hears nothing.",
        "distributed.scheduler.graph",
        "cancel_keys",
        (("state.outbox.cancelled[client, reason] = unknown", "unknown.clear()"),),
    ),
)
