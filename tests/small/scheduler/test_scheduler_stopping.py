"""Cancelling what runs, with and without force; tasks of tasks; data that outlives its process."""

from __future__ import annotations

import pytest

from distributed.testing.scenarios import Stage


@pytest.fixture
def alone(stage: Stage) -> Stage:
    """``w1``, with one thread and a nanny, runs ``a`` of client ``c``."""
    stage("client c d\nworker w1 nanny\nsubmit c f a")
    return stage


def test_what_runs_is_stopped_and_its_thread_is_not_free_before_it_has(alone: Stage) -> None:
    assert alone("cancel c a") == ["w1 <- stop a#1", "c <- cancelled a (cancelled by c)"]
    assert alone("submit c f b") == []
    assert alone("stopped w1 a#1") == ["w1 <- run b#2"]


def test_a_cancelled_task_that_is_submitted_again_is_another_attempt(alone: Stage) -> None:
    alone("cancel c a")
    assert alone("submit c f a") == []
    assert alone("stopped w1 a#1") == ["w1 <- run a#2"]
    assert alone("stopped w1 a#1\nstates") == ["a PROCESSING"]


def test_without_force_nothing_more_happens(alone: Stage) -> None:
    alone("cancel c a")
    assert alone("wait 20") == []


def test_with_force_the_nanny_is_asked_when_the_time_is_over(alone: Stage) -> None:
    alone("cancel c a force=yes")
    assert alone("wait 0.1") == []
    assert alone("wait 0.1") == ["nanny replaces w1/1 unless it has ended a"]
    assert alone("wait 5") == []


def test_what_stops_in_time_costs_no_process(alone: Stage) -> None:
    alone("cancel c a force=yes\nstopped w1 a#1")
    assert alone("wait 5") == []


def test_force_comes_too_after_a_first_try_without(alone: Stage) -> None:
    alone("cancel c a")
    alone("cancel c a force=yes")
    assert alone("wait 0.4") == ["nanny replaces w1/1 unless it has ended a"]


def test_a_worker_without_nanny_is_left_alone(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a\ncancel c a force=yes")
    assert stage("wait 5") == []


def test_a_worker_that_is_gone_need_not_be_replaced(alone: Stage) -> None:
    alone("cancel c a force=yes\nleft w1")
    assert alone("wait 5") == []


def test_a_task_that_ended_when_it_was_cancelled_has_stopped_too(alone: Stage) -> None:
    alone("cancel c a force=yes")
    assert alone("done w1 a#1\nstopped w1 a#1") == []  # whoever is told to stop drops the result as well
    assert alone("wait 5") == []


def test_innocents_of_a_replaced_process_run_again_and_are_not_blamed(stage: Stage) -> None:
    stage("client c\nworker w1 threads=3 nanny\nsubmit c f a b x\ndone w1 x\ncancel c a force=yes\nwait 0.4")
    stage("died w1 running= cause=replaced\nleft w1")
    assert stage("worker w2 threads=3") == ["w2 accepted as w2/1", "w2 <- run x#2 b#2 +f"]
    assert stage.machine.state.tasks["b"].deaths == 0


# ---------------------------------------------------------------- limits


def test_a_process_that_ends_for_a_late_task_costs_that_task_only(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2 nanny\nsubmit c f slow timeout=2\nsubmit c f b")
    said = stage("died w1 running= late=slow")
    text = "slow ran longer than its limit of 2 s; raise timeout=, or let it do less"
    assert f"c <- failed slow: distributed.errors.TaskTimeoutError: {text}" in said
    assert stage("states") == ["slow ERRED", "b READY"]


def test_a_late_task_with_retries_runs_again(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f slow timeout=2 retries=1\ndied w1 running= late=slow")
    assert stage("worker w2 nanny") == ["w2 accepted as w2/1", "w2 <- run slow#2 +f"]
    assert stage("died w2 running= late=slow\nstates")[-1] == "slow ERRED"


def test_a_task_without_a_limit_is_never_late(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\ndied w1 running= late=a")
    assert stage("states") == ["a READY"]


# ---------------------------------------------------------------- children


@pytest.fixture
def family(stage: Stage) -> Stage:
    """``parent`` of client ``c`` runs on a worker, whose client ``k`` submitted ``x`` and ``y(x)`` for it."""
    stage("client c k d\nworker w1\nsubmit c f parent\nworker w2\nsubmit k f x y(x) parent=parent")
    return stage


def test_cancelling_a_parent_cancels_its_children(family: Stage) -> None:
    family("cancel c parent")
    assert family("states") == ["nothing"]


def test_children_that_somebody_else_wants_stay(family: Stage) -> None:
    family("want d y\ncancel c parent")
    assert family("states") == ["x PROCESSING", "y WAITING"]


def test_children_of_two_parents_go_with_the_second(family: Stage) -> None:
    family("worker w3\nsubmit c f other\nsubmit k f x y(x) parent=other\ncancel c parent")
    assert family("states") == ["x PROCESSING", "y WAITING", "other PROCESSING"]
    family("cancel c other")
    assert family("states") == ["nothing"]


def test_grandchildren_go_too(family: Stage) -> None:
    family("submit k f deep parent=x\ncancel c parent")
    assert family("states") == ["nothing"]


def test_children_outlive_a_parent_that_is_released(family: Stage) -> None:
    family("done w1 parent\nrelease c parent")
    assert family("states") == ["x PROCESSING", "y WAITING"]


def test_a_finished_child_that_is_released_leaves_the_family(family: Stage) -> None:
    family("submit k f z parent=parent\ndone w2 x z\nrelease k z")
    assert "z" not in {child.key for child in family.machine.state.parents}


# ---------------------------------------------------------------- rescued data


@pytest.fixture
def replaced(stage: Stage) -> Stage:
    """``w1`` held scattered ``s`` and ``t``; ``a(s)`` ran there. Its nanny rescued ``s`` and ended the process."""
    stage("client c d\nworker w1 nanny threads=2\nscatter w1 c s t\nsubmit c f a(s)")
    stage("replacing w1 s")
    assert stage("died w1 running=") == [
        "w1 dropped as w1/1: its nanny saw it die",
        "c <- lost s (recomputing)",
        "c <- lost t (for good)",
    ]
    return stage


def test_who_needs_rescued_data_waits_for_it(replaced: Stage) -> None:
    assert replaced("states") == ["s RELEASED", "t ERRED", "a WAITING"]
    said = replaced("worker w1 nanny\nrescued w1 s")
    assert said == ["w1 accepted as w1/2", "w1 <- run a#2(s@w1) +f", "c <- done s"]
    assert replaced("states") == ["s MEMORY", "t ERRED", "a PROCESSING"]


def test_new_tasks_may_need_it_too(replaced: Stage) -> None:
    replaced("submit d f b(s)\nwant d s")
    assert replaced("states")[-1] == "b WAITING"
    assert "w1 <- run a#2(s@w1) b#1(s@w1) +f" in replaced("worker w1 threads=2\nrescued w1 s")


def test_rescued_data_that_does_not_come_is_lost_in_the_end(replaced: Stage) -> None:
    said = replaced("wait 31")
    assert [line.split(":")[0] for line in said] == ["c <- failed s"]
    assert replaced("states") == ["s ERRED", "t ERRED", "a ERRED"]


def test_rescued_data_that_nobody_wants_any_more_is_dropped(replaced: Stage) -> None:
    replaced("release c s a")
    assert replaced("worker w1\nrescued w1 s") == ["w1 accepted as w1/2", "w1 <- drop s"]


def test_cancelled_rescued_data_is_dropped(replaced: Stage) -> None:
    replaced("cancel c s")
    assert replaced("worker w1\nrescued w1 s") == ["w1 accepted as w1/2", "w1 <- drop s"]


def test_data_that_was_scattered_again_meanwhile_keeps_the_new_value(replaced: Stage) -> None:
    replaced("worker w2\nscatter w2 c s")
    assert replaced("worker w1\nrescued w1 s") == ["w1 accepted as w1/2", "w1 <- drop s"]


def test_a_copy_elsewhere_makes_rescued_data_unwanted(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nworker w2\nscatter w1 c s\nreplicate o s copies=2\nadded w2 s")
    assert stage("replacing w1 s\ndied w1 running=") == ["w1 dropped as w1/1: its nanny saw it die"]
    assert stage("worker w1\nrescued w1 s") == ["w1 accepted as w1/2", "w1 <- drop s"]


def test_a_life_that_has_ended_before_is_not_replaced(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nworker w1 nanny\nscatter w1 c s\nreplacing w1/1 s\ndied w1 running=")
    assert stage("states") == ["s ERRED"]


def test_what_waits_behind_a_task_that_does_not_stop_is_given_to_others(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f q\ndone w1 q\nsubmit c f a b workers=w1 others=yes\ncancel c a")
    assert stage("states")[-1] == "b PROCESSING"
    assert "w1 <- return b#1" in stage("worker w2\nwait 1")


def test_rescued_data_says_where_it_is(replaced: Stage) -> None:
    text = "s was taken out of a process that had to be replaced, and comes back with the next one."
    assert replaced("why s") == [f"rescued []: {text}"]


def test_rescued_data_may_be_told_twice(replaced: Stage) -> None:
    replaced("worker w1 nanny\nrescued w1 s")
    assert replaced("rescued w1 s\nstates")[0] == "s MEMORY"
