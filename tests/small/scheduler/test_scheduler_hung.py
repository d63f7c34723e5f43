"""Workers that work and say nothing: what has not begun there runs elsewhere, and they get nothing new."""

from __future__ import annotations

import pytest

from distributed.ids import cut_key
from distributed.scheduler.invariants import check
from distributed.scheduler.snapshot import status_of
from distributed.testing.scenarios import Stage

HANG = "wait 3\nalive w1 running=a\nwait 0.1"


@pytest.fixture
def busy(stage: Stage) -> Stage:
    """w1 has a, b and d, and there is nobody else."""
    stage("client c\nworker w1 nanny\nsubmit c f warm\ndone w1 warm s=0.001\nsubmit c f a b d")
    return stage


def test_what_has_not_begun_waits_for_others(busy: Stage) -> None:
    assert busy(HANG) == ["w1 <- cancel b d"]
    assert busy("why b")[0].startswith("hung [w1]: b could start, but all 1 workers")
    assert status_of(busy.machine.state.workers["tcp://w1:1"]) == "hung"
    assert busy("worker w2") == ["w2 accepted as w2/1", "w2 <- run b#2 d#2 +f"]
    assert busy.machine.state.tasks["b"].deaths == 0
    check(busy.machine)


def test_a_hung_worker_serves_again_when_it_speaks(busy: Stage) -> None:
    busy(HANG)
    assert busy("submit c f e") == []
    assert busy("heartbeat w1") == ["w1 <- run b#2 d#2 e#2"]
    assert status_of(busy.machine.state.workers["tcp://w1:1"]) == "running"
    check(busy.machine)


def test_an_unread_word_comes_in_time(busy: Stage) -> None:
    assert busy("wait 3\nalive w1 running=a\nheartbeat w1\nwait 0.1") == []


@pytest.mark.parametrize("story", ["wait 20", "wait 2.9\nalive w1 running=a\nwait 0.1", "wait 3\nalive w1\nwait 0.1"])
def test_nothing_moves_unless_a_nanny_says_what_runs_in_a_long_silence(busy: Stage, story: str) -> None:
    assert busy(story) == []
    assert list(busy.machine.state.workers["tcp://w1:1"].processing) == ["a", "b", "d"]


def test_what_lent_its_slot_stays(busy: Stage) -> None:
    busy("lent w1 b")
    assert busy("wait 3\nalive w1 running=a\nwait 0.1") == ["w1 <- cancel d"]


def test_a_long_key_is_known_by_its_beginning(stage: Stage) -> None:
    key = "k" * 900
    stage(f"client c\nworker w1 nanny\nsubmit c f {key}")
    assert stage(f"wait 3\nalive w1 running={cut_key(key)}\nwait 0.1") == []


def test_what_needs_data_that_only_it_has_stays(busy: Stage) -> None:
    busy("done w1 a\nsubmit c f near(a)")
    assert busy(HANG) == ["w1 <- cancel b d"]
    assert list(busy.machine.state.workers["tcp://w1:1"].processing) == ["near"]


def test_what_was_asked_back_is_asked_for_no_more(busy: Stage) -> None:
    busy("worker w2\nwait 0.1")
    worker = busy.machine.state.workers["tcp://w1:1"]
    assert set(worker.asked) >= {"b", "d"}
    busy(HANG)
    assert set(worker.asked) <= {"a"}
    assert busy("returned w1 b#1 d#1 kept=a") == []
    check(busy.machine)


def test_one_that_dies_before_it_counts_as_hung_leaves_no_trace(busy: Stage) -> None:
    busy("wait 3\nalive w1 running=a\nleft w1 expected\nwait 0.1")
    assert not busy.machine.state.mute
    check(busy.machine)
