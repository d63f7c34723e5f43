"""Tasks that no worker can run: who is told, when, and what is not told."""

from __future__ import annotations

import pytest

from distributed.scheduler.stuck import LOOK_MAX
from distributed.testing.scenarios import Stage

NOWHERE = "a may only run on w7; none of the 1 workers is such a one."


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        ("worker w1\nsubmit c f a workers=w7", "may only run on w7; none of the 1 workers is such a one."),
        ("worker w1\nsubmit c f a gpu:1", "may only run with gpu=1; none of the 1 workers is such a one."),
        (
            "worker w1\nsubmit c f a platform=plan9*",
            "may only run where a tag matches 'plan9*'; none of the 1 workers is such a one.",
        ),
        ("submit c f a", "could start, but there are no workers."),
        ("worker w1\nleft w1 expected\nsubmit c f a", "could start, but there are no workers."),
        ("worker w1\nsubmit c f a\nleft w1", "could start, but there are no workers."),  # a suspect now
        (
            "worker w1\nworker w2\nsubmit c f x workers=w1\nsubmit c f a workers=w1\nretiring w1",
            "could start, but all 1 workers that may run it are about to leave.",
        ),
        ("submit c f a workers=w7 others=yes", "could start, but there are no workers."),
    ],
)
def test_a_task_that_nobody_can_run_is_reported_within_three_seconds(stage: Stage, story: str, reason: str) -> None:
    stage("client c\n" + story)
    assert f"c <- stuck a (1): a {reason}" in stage("wait 2.5")
    assert not any("stuck" in line for line in stage("wait 20"))


@pytest.mark.parametrize(
    "story",
    [
        "worker w1\nsubmit c f x\nsubmit c f a workers=w1",  # busy
        "worker w1\npaused w1\nsubmit c f a",  # it goes on when there is memory
        "worker w1\nworker w2\nsubmit c f x y\nleft w1\nsubmit c f a",  # a suspect waits for a worker to be empty
        "worker w1 gpu:1\nsubmit c f x gpu:1\nsubmit c f a gpu:1",  # others use it
        "worker w1\nsubmit c f a workers=w7 others=yes",  # only a wish
        "submit c f a\nwait 1\nworker w1",  # one came in time
        "worker w1 nanny\nsubmit c f a\nleft w1\nwait 1\nworker w1",
        "worker w1\nsubmit c f a workers=w7\nwait 1\nrelease c a",
        "worker w1\nsubmit c f a workers=w7\nwait 1\ncancel c a",
    ],
)
def test_what_waits_for_its_turn_is_not_reported(stage: Stage, story: str) -> None:
    lines = stage("client c\n" + story)
    lines += stage("wait 20")
    assert not any("stuck" in line for line in lines)


def test_who_waits_for_such_a_task_hears_of_it(stage: Stage) -> None:
    stage("client c\nclient d\nworker w1\nsubmit c f a workers=w7\nsubmit c f b(a)\nsubmit d f e(b)\nrelease c a")
    assert stage("wait 2.5") == [f"c <- stuck b (1): {NOWHERE}", f"d <- stuck e (1): {NOWHERE}"]


def test_who_comes_later_hears_of_it_too(stage: Stage) -> None:
    stage("client c\nclient d\nworker w1\nsubmit c f a workers=w7\nwait 10\nsubmit c f b(a)\nwant d a")
    assert stage("wait 1") == [f"c <- stuck b (1): {NOWHERE}", f"d <- stuck a (1): {NOWHERE}"]
    stage("submit d f g workers=w7")
    assert [line.replace("g may", "a may") for line in stage("wait 1")] == [f"d <- stuck g (1): {NOWHERE}"]


def test_who_lets_go_at_once_hears_nothing(stage: Stage) -> None:
    stage("client c\nclient d\nworker w1\nsubmit c f a workers=w7\nwait 10\nwant d a\nrelease d a")
    assert stage("wait 2") == []


def test_tasks_of_one_kind_are_told_together(stage: Stage) -> None:
    keys = [f"k{number}" for number in range(50)]
    stage(f"client c\nworker w1\nsubmit c f {' '.join(keys)} workers=w7")
    (line,) = stage("wait 2.5")
    assert line.startswith(f"c <- stuck {' '.join(keys[:20])} (50): k0 may only run on w7")


def test_what_gets_stuck_again_is_told_again(stage: Stage) -> None:
    stage("client c\nsubmit c f a b\nwait 2.5\nworker w1\ndone w1 a\nleft w1 expected")
    (line,) = stage("wait 2.5")
    assert line.startswith("c <- stuck ") and "(2): " in line


def test_the_last_worker_of_a_queue_that_goes_leaves_it_stuck(stage: Stage) -> None:
    stage("client c\nworker w1 gpu:1\nworker w2\nsubmit c f x gpu:1\nsubmit c f a gpu:1\nleft w1 expected")
    (line,) = stage("wait 2.5")
    assert line == "c <- stuck x a (2): x may only run with gpu=1; none of the 1 workers is such a one."


def test_many_are_told_piece_by_piece(stage: Stage) -> None:
    count = LOOK_MAX + 10
    keys = " ".join(f"k{number}" for number in range(count))
    stage(f"client c\nsubmit c f {keys}")
    lines = stage("wait 2.5")
    assert len(lines) == 2 and sum(int(line.partition("(")[2].partition(")")[0]) for line in lines) == count


def test_nothing_is_looked_at_when_nothing_is_stuck(stage: Stage) -> None:
    stage("client c\nsubmit c f a\nwait 2.5\nworker w1\ndone w1 a\nrelease c a\nleft w1 expected\nwait 2")
    assert stage.machine.state.stuck_at is None and not stage.machine.state.stuck_late
