"""Permits that an offer withholds for a while: whatever is lent meanwhile, there is a thread for what comes back."""

from __future__ import annotations

from distributed.worker.context import TaskContext
from distributed.worker.permits import Permits


def test_a_permit_that_is_lent_while_it_is_withheld_has_a_thread_when_it_comes_back() -> None:
    started: list[int] = []
    permits = Permits(1, has_work=lambda: True, start_thread=started.append)
    context = TaskContext(0)
    context.permits = 1  # its only thread runs a task
    permits.allow(0, 1)
    assert permits.lend(context, 10)
    assert started == [1]


def test_who_waits_for_a_permit_has_it_asked_for() -> None:
    permits = Permits(1, has_work=lambda: False, start_thread=lambda slot: None)
    context, asked = TaskContext(0), []
    permits.on_wanted = lambda: asked.append(1)
    context.permits = 1
    permits.allow(0, 1)
    permits.put(context)
    assert not permits.request(context, lambda: asked.append(2))
    assert asked == [1]
    permits.allow(1, 1)
    assert asked == [1, 2]
