"""Faults to plant in the scheduler, third part: tasks that no worker can run."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["STUCK_FAULTS"]

STUCK_FAULTS: tuple[Fault, ...] = (
    Fault(
        "last-worker-goes-unseen",
        "Queues that lose their last worker are not watched.",
        "distributed.scheduler.stuck",
        "worker_gone",
        (("        state.doubtful[queue] = None\n", "        state.doubtful.pop(queue, None)\n"),),
        seeds=(61,),
    ),
    Fault(
        "stuck-for-ever",
        "A queue stays watched when a worker has come that can run its tasks.",
        "distributed.scheduler.stuck",
        "worker_came",
        (("            _unmark(state, queue)\n", "            state.stuck.get(queue)\n"),),
        seeds=(7,),
    ),
    Fault(
        "one-look-is-enough",
        "After a look that told of something there is no other.",
        "distributed.scheduler.stuck",
        "look",
        (("        state.stuck_at = min([state.now + LOOK_S, *dues])\n", "        state.stuck_at = None\n"),),
        seeds=(7,),
    ),
    Fault(
        "left-entries-reported",
        "Tasks that have left their queue are reported as stuck.",
        "distributed.scheduler.stuck",
        "_tell_news",
        (("        if not queue.has(task):\n            continue\n", ""),),
        note="Met in 4 of 300 seeds. Mostly harmless: who holds a task that has left its queue for good?",
    ),
    Fault(
        "dependents-not-told",
        "Who waits for something that needs a stuck task hears nothing.",
        "distributed.scheduler.stuck",
        "_tell_news",
        (
            (
                "            stack.extend(other for other",
                "            stack.clear() if seen else stack.extend(other for other",
            ),
        ),
        seeds=(7,),
    ),
    Fault(
        "late-comers-not-told",
        "What comes to need a stuck task after that was reported is not.",
        "distributed.scheduler.lifecycle",
        "enter_queue_or_wait",
        (("        state.stuck_late.append((task, None))\n", "        state.stuck_late.clear()\n"),),
        seeds=(181,),
    ),
)
