"""The checker finds what is broken in stealing, loose queues and restrictions, and names the rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distributed.errors import InvariantError
from distributed.messages import TaskSpec
from distributed.scheduler.invariants import check
from distributed.scheduler.placement import refresh_room
from distributed.scheduler.state import SchedulerState
from distributed.testing.scenarios import Stage

STORY = """client c
worker w1 memory=1000
worker w2
submit c f warm workers=w1
done w1 warm s=0.01
submit c f a0 a1 a2 workers=w1
submit c g x
submit c g y others=yes workers=w2
submit c g z others=yes workers=w2,w9
worker w3
"""


@pytest.fixture
def state(stage: Stage) -> SchedulerState:
    """w1 has tasks that wait, w2 is busy, w3 idles, y and z wait for w2."""
    stage(STORY)
    return stage.machine.state


def reverse(state: SchedulerState) -> None:
    first = next(iter(state.loose))
    assert first.open_at is not None
    first.open_at += 1


def open_relieved(state: SchedulerState) -> None:
    worker = state.workers["tcp://w1:1"]
    refresh_room(state, worker)
    assert worker in state.open
    worker.is_relieved = True


BREAKAGES: list[tuple[str, Callable[[SchedulerState], object]]] = [
    ("workers with tasks that wait are known", lambda state: state.loaded.clear()),
    ("a worker knows whether tasks wait", lambda state: setattr(state.workers["tcp://w1:1"], "is_loaded", False)),
    ("whoever could be helped is looked at", lambda state: setattr(state, "steal_at", None)),
    ("a question is about something", lambda state: setattr(state.workers["tcp://w1:1"], "asked_until", 1.0)),
    ("nothing is queued at a worker that was asked", open_relieved),
    ("a loose queue that waits for whom it prefers", lambda state: state.loose.clear()),
    ("loose queues open in order", reverse),
    ("a task is only where it may run", lambda state: setattr(state.tasks["x"], "spec", TaskSpec(b"g", platform="no"))),
]


@pytest.mark.parametrize(("rule", "break_it"), BREAKAGES, ids=[rule for rule, _ in BREAKAGES])
def test_a_broken_rule_is_named(
    stage: Stage, state: SchedulerState, rule: str, break_it: Callable[[SchedulerState], object]
) -> None:
    check(stage.machine)
    break_it(state)
    with pytest.raises(InvariantError, match=rule):
        check(stage.machine)
