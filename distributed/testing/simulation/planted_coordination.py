"""Faults to plant in what locks, queues and their like do."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["COORDINATION_FAULTS"]

_AT = "distributed.scheduler.coordination."

COORDINATION_FAULTS: tuple[Fault, ...] = (
    Fault(
        "lease-outlives-its-client",
        "A lock is held on when its client is gone.",
        _AT + "requests",
        "leave_desk",
        (("[*desk.leases, *desk.taking, *desk.subscriptions]", "[*desk.taking, *desk.subscriptions]"),),
        seeds=(11, 14, 17),
    ),
    Fault(
        "last-come-first-served",
        "Who came last is served first.",
        _AT + "answering",
        "first",
        (("next(iter(row), None)", "next(reversed(row), None)"),),
        seeds=(4, 9, 23),
    ),
    Fault(
        "request-done-twice",
        "A request that comes twice is done twice.",
        _AT + "requests",
        "coordinate",
        (("message.request <= desk.last", "message.request < desk.last"),),
        note="Met in 4 of 300 seeds, and no rule broke there.",
    ),
    Fault(
        "untaken-items-dropped",
        "An item on its way to a client that is gone is gone, too.",
        _AT + "requests",
        "_return",
        (("    if queue is not None:\n", "    if queue is None:\n"),),
        seeds=(17, 65),
    ),
    Fault(
        "late-grant-kept",
        "A lock that was granted to a request when it was withdrawn stays held.",
        _AT + "requests",
        "_undo",
        (("        locks.end_lease(state, desk, number)\n", ""),),
        seeds=(9, 11, 14),
    ),
    Fault(
        "answered-twice",
        "An answer that comes twice counts twice.",
        "distributed.client.coordination.table",
        "RequestTable.on_answered",
        (("self.pending.pop(message.request, None)", "self.pending.get(message.request)"),),
        seeds=(4, 9, 10),
    ),
    Fault(
        "partial-batch-lost",
        "Who waited for several items and gives up takes those that he had with him.",
        _AT + "requests",
        "_undo",
        (("        if request.taken:\n", "        if not request.taken:\n"),),
        seeds=(11, 13, 14),
    ),
)
