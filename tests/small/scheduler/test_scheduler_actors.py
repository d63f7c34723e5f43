"""Actors in the scheduler: one home, no copies, no second life; told as stories."""

from __future__ import annotations

import pytest

from distributed.scheduler.state import TaskState
from distributed.testing.scenarios import Stage

MADE = """
client c
worker w1
worker w2
submit c f a actor=yes
done w1 a
"""


@pytest.fixture
def made(stage: Stage) -> Stage:
    """Client c holds the actor `a`, which lives at w1."""
    stage(MADE)
    return stage


def test_an_actor_tells_where_it_lives(made: Stage) -> None:
    assert made("why a") == ["actor [w1]: a is an actor; it lives on w1."]


def test_before_it_is_made_an_actor_is_a_task_like_any_other(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f a actor=yes")
    assert stage("left w1 expected") == ["w2 <- run a#2 +f"]
    assert stage("done w2 a") == ["c <- done a=result"]


def test_an_actor_occupies_no_thread(made: Stage) -> None:
    assert made.machine.state.workers["tcp://w1:1"].processing == {}
    assert not made.machine.state.workers["tcp://w1:1"].occupancy_s


def test_an_actor_is_lost_with_its_worker_and_never_made_again(made: Stage) -> None:
    (line,) = made("left w1")
    assert line.startswith("c <- failed a: distributed.errors.ActorLostError: the actor a on w1 is lost: w1 is gone")
    (line,) = made("submit c f a actor=yes")
    assert line.startswith("c <- failed a: ")


def test_copies_of_the_proxy_do_not_keep_an_actor_alive(made: Stage) -> None:
    made("submit c g b(a) workers=w2\nadded w2 a")
    lines = made("left w1")
    assert lines[0] == "w2 <- drop a"
    assert lines[1].startswith("c <- failed a: distributed.errors.ActorLostError")


def test_tasks_that_wait_for_a_lost_actor_fail_with_it(made: Stage) -> None:
    made("submit c g b(a) workers=w9")
    (line,) = made("left w1")
    assert "failed a: " in line and "; b: distributed.errors.ActorLostError: the actor a" in line


def test_a_task_that_runs_with_a_lost_actor_ends_by_itself(made: Stage) -> None:
    made("submit c g b(a) workers=w2\nadded w2 a\nleft w1")
    assert made("done w2 b") == ["c <- done b=result"]


def test_a_task_that_lacks_the_proxy_of_a_lost_actor_fails(made: Stage) -> None:
    made("submit c g b(a) workers=w2\nleft w1")
    (line,) = made("missing w2 b a@w1")
    assert line.startswith("c <- failed b: distributed.errors.ActorLostError")


def test_an_actor_does_not_end_because_a_peer_could_not_fetch_its_proxy(made: Stage) -> None:
    made("submit c g b(a) workers=w2")
    assert made("missing w2 b a@w1") == ["w2 <- run b#2(a@w1)"]
    assert made("why a") == ["actor [w1]: a is an actor; it lives on w1."]


def test_an_actor_that_its_own_worker_does_not_have_is_lost(made: Stage) -> None:
    (line,) = made("removed w1 a")
    assert line.startswith("c <- failed a: distributed.errors.ActorLostError: the actor a on w1 is lost: w1 removed it")


def test_orders_do_not_copy_actors(made: Stage) -> None:
    (line,) = made("replicate o1 a copies=2")
    assert line.startswith("order o1 done: {'copied': 0, 'nbytes': 0}; replicate: 1 keys could not be copied: a: it is")
    assert made("replicate o2") == ["order o2 done: {'copied': 0, 'nbytes': 0}"]
    assert made("rebalance o3") == ["order o3 done: {'copied': 0, 'nbytes': 0}"]


def test_a_retirement_tells_which_actors_are_lost(made: Stage) -> None:
    assert made("retire o1 w1") == ["w1 <- dismissed (scaling down)"]
    lines = made("left w1 expected")
    assert lines[0] == "order o1 done: {'retired': ['w1'], 'actors': ['a']}"
    assert lines[1].startswith("c <- failed a: distributed.errors.ActorLostError")


def test_an_actor_ends_when_its_last_holder_lets_go(made: Stage) -> None:
    assert made("client e\nwant e a\nrelease c a") == ["e <- done a"]
    assert made("leave e") == ["w1 <- drop a"]
    assert not made.machine.state.actors


def test_an_actor_that_ended_is_not_made_again_for_a_task_that_is(made: Stage) -> None:
    made("submit c g b(a)\ndone w1 b")
    assert made("release c a") == ["w1 <- drop a"]
    assert made.machine.state.tasks["a"].state is TaskState.ERRED
    lines = made("left w1")  # and with it the result of b
    assert lines[0] == "c <- lost b (recomputing)"
    assert lines[1].startswith("c <- failed b: distributed.errors.ActorLostError: the actor a on w1 is lost: nobody")


def test_a_cancelled_actor_ends(made: Stage) -> None:
    assert made("cancel c a") == ["w1 <- drop a", "c <- cancelled a (cancelled by c)"]
    assert not made.machine.state.actors


def test_an_actor_is_made_where_there_are_fewest(made: Stage) -> None:
    assert made("submit c f b actor=yes") == ["w2 <- run b#1 +f"]
    made("done w2 b\nworker w3")
    assert made("submit c f d actor=yes") == ["w3 <- run d#1 +f"]


def test_actors_do_not_queue_behind_a_thread(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a actor=yes\ndone w1 a s=0.00001")
    assert stage("submit c f b d actor=yes") == ["w1 <- run b#1"]
    assert stage("done w1 b") == ["w1 <- run d#1", "c <- done b=result"]
