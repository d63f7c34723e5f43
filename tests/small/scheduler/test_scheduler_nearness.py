"""Tasks run where their inputs are, as long as nobody idles for it."""

from __future__ import annotations

import random

import pytest

from distributed.scheduler import nearness
from distributed.scheduler.invariants import check_near
from distributed.testing.clockwork import Clockwork
from distributed.testing.scenarios import Stage


def copied(clockwork: Clockwork) -> int:
    """How many results of the first layer were moved to another worker."""
    places = [key for worker in clockwork.workers.values() for key in worker.data if key.startswith("a")]
    return len(places) - len(set(places))


@pytest.mark.parametrize("seconds", [0.0005, 0.01, 0.2])
def test_a_wide_layer_runs_where_its_inputs_are(seconds: float) -> None:
    """P09: over 80 % of a second map, whose results are big, however long its tasks take."""
    chance = random.Random(5)
    clockwork = Clockwork([2] * 5, lambda key: (seconds * chance.uniform(0.5, 1.5), 100_000))
    names = [f"a{number}" for number in range(400)]
    clockwork.submit(names)
    clockwork.run()
    before_s = clockwork.now
    order = chance.sample(names, len(names))  # not the order in which they were dealt
    clockwork.submit([f"b{name}" for name in order], [[name] for name in order], function_of=lambda key: "g")
    took_s = clockwork.run() - before_s
    assert copied(clockwork) < 0.2 * len(names)
    assert took_s < 1.25 * seconds * len(names) / 10 + 0.05
    check_near(clockwork.machine.state)


def test_a_worker_that_has_done_its_share_helps_others() -> None:
    clockwork = Clockwork([1, 1], lambda key: (0.01, 1000))
    names = [f"a{number}" for number in range(100)]
    clockwork.submit(names[:1])
    clockwork.run()
    clockwork.submit([f"b{number}" for number in range(100)], [["a0"]] * 100, function_of=lambda key: "g")
    start_s = clockwork.now
    assert clockwork.run() - start_s < 0.6  # of 1.0 s of work, all of it near one of the two
    assert clockwork.idle_longest_s < 0.02


LAYER = """
client c
worker w1
worker w2
scatter w1 c x1
scatter w1 c x2
scatter w2 c y1
scatter w2 c y2
"""


def test_each_takes_what_waits_near_it_first(stage: Stage) -> None:
    stage(LAYER)
    assert stage("submit c f a(x1) b(x2) d(y1) e(y2)") == ["w1 <- run a#1(x1@w1) +f", "w2 <- run d#1(y1@w2) +f"]
    assert stage("done w2 d s=9")[:1] == ["w2 <- run e#1(y2@w2)"]


def test_with_nothing_left_there_it_takes_what_comes_next(stage: Stage) -> None:
    stage(LAYER + "submit c f a(x1) b(x2) d(y1)")
    assert stage("done w2 d s=9")[:1] == ["w2 <- run b#1(x2@w1)"]
    assert not stage.machine.state.near


def test_what_was_cancelled_is_skipped(stage: Stage) -> None:
    stage(LAYER + "submit c f a(x1) b(x2) d(y1) e(y2)\ncancel c b")
    assert stage("done w1 a s=9")[:1] == ["w1 <- run e#1(y2@w2)"]


def test_higher_priority_comes_before_what_is_near(stage: Stage) -> None:
    stage(LAYER + "submit c f a(x1) b(x2) d(y1)\nsubmit c f urgent(y2) priority=1")
    assert stage("done w1 a s=9")[:1] == ["w1 <- run urgent#1(y2@w2)"]


def test_nothing_waits_near_the_dead(stage: Stage) -> None:
    stage(LAYER + "submit c f a(x1) b(x2) d(y1) e(y2)\nleft w2")
    assert list(stage.machine.state.near) == [stage.machine.state.workers["tcp://w1:1"]]


def test_what_is_left_behind_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearness, "STALE_MAX", 5)
    stage(LAYER + "submit c f a(x1) d(y1)")
    for number in range(40):
        stage(f"submit c f n{number}(x2)\ncancel c n{number}\nsubmit c f keep{number}(x2)")
    state = stage.machine.state
    assert state.near_entries <= 2 * state.ready.live + 5
