"""Tasks that wait for others: room for those, in which order, and what becomes of them when their worker dies."""

from __future__ import annotations

import pytest

from distributed.scheduler.demand import desired_workers
from distributed.scheduler.explain import why
from distributed.scheduler.state import Settings
from distributed.testing.scenarios import Stage

PATIENCE_S = Settings().orphan_patience_s
CERTIFICATE_S = Settings().certificate_patience_s


@pytest.fixture
def parent(stage: Stage) -> Stage:
    """w1 has one thread and runs p, which is not known to be short; its tasks' client is t."""
    stage("client c\nworker w1 process=one\nclient t process=one\nsubmit c f p")
    return stage


def test_the_slot_of_a_task_that_waits_is_given_to_another(parent: Stage) -> None:
    assert parent("submit t g a") == []
    assert parent("lent w1 p") == ["w1 <- run a#1 +g"]
    assert parent("why p")[0].startswith("lent [w1]")


def test_a_task_that_goes_on_takes_room_again(parent: Stage) -> None:
    parent("lent w1 p\nrejoined w1 p\nrejoined w1 p")
    assert parent("submit t g a") == []
    assert "a#1" in parent("done w1 p")[0]


def test_a_task_that_lends_may_end_and_leaves_nothing(parent: Stage) -> None:
    parent("submit t g a\nlent w1 p\nlent w1 p\ndone w1 p a")
    worker = parent.machine.state.workers["tcp://w1:1"]
    assert (worker.lent, worker.lent_count, worker.occupancy_s) == ({}, 0, 0.0)


def test_a_word_on_another_attempt_changes_nothing(parent: Stage) -> None:
    parent("submit t g a")
    assert parent("lent w1 p#7 never") == []
    assert parent("rejoined w1 p#7 p#1") == []


def test_deeper_tasks_come_first_and_priority_before_depth(parent: Stage) -> None:
    parent("submit t g d1 depth=1\nsubmit t g d2 depth=2\nsubmit c g urgent priority=1\nsubmit c g d0")
    order = [parent(f"{word} w1 {key}")[0] for word, key in (("lent", "p"), ("lent", "urgent"), ("lent", "d2"))]
    assert ["urgent" in order[0], "d2" in order[1], "d1" in order[2]] == [True] * 3


def test_resources_stay_with_a_task_that_lends(stage: Stage) -> None:
    stage("client c\nworker w1 gpu:1\nsubmit c f p gpu:1\nlent w1 p")
    assert stage("submit c f q gpu:1") == []
    assert "q#1" in stage("done w1 p")[0]


def test_a_task_that_ever_lent_has_begun_and_is_not_asked_back(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f p q\nlent w1 p q\nsubmit c f a b\nworker w2\nrejoined w1 p q")
    assert stage("wait 1") == ["w1 <- return b#1"]
    assert not any("p#" in line or "q#" in line for line in stage("returned w1 kept=b\nwait 5"))


def test_a_suspect_that_lends_lets_others_in(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f p\ndied w1 running=p\nworker w1 nanny")
    assert stage("submit c g a depth=1") == []
    assert stage("lent w1 p") == ["w1 <- run a#1 +g"]
    assert stage("rejoined w1 p") == []
    stage("done w1 p a")


def test_a_suspect_child_runs_beside_parents_that_lend(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f p\nsubmit c g a depth=1\nlent w1 p")
    assert stage("left w2") == ["w1 <- run a#2 +g"]
    assert stage.machine.state.workers["tcp://w1:1"].has_suspect
    assert stage("submit c f b depth=9") == []


def test_nobody_is_blamed_who_was_waiting(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f p\nlent w1 p\nsubmit c g a depth=1\nleft w1")
    tasks = stage.machine.state.tasks
    assert (tasks["p"].deaths, tasks["a"].deaths) == (0, 1)


def test_tasks_that_lend_are_no_work_for_more_workers(parent: Stage) -> None:
    parent("lent w1 p")
    assert desired_workers(parent.machine.state, 1.0) == 0


def test_what_children_had_done_is_there_for_the_next_run_of_their_parent(parent: Stage) -> None:
    parent("worker w2\nsubmit t g a\ndone w2 a")
    ended = parent("left w1")
    assert "t ended: the worker w1, in which it was, died" in ended
    assert parent("leave t") == []  # its session
    assert "a MEMORY" in parent("states")
    assert parent("client u process=two\nsubmit u g a") == ["u <- done a"]
    parent(f"wait {PATIENCE_S}")
    assert "a MEMORY" in parent("states")


def test_children_of_a_dead_worker_are_let_go_in_the_end(parent: Stage) -> None:
    parent("worker w2\nsubmit t g a b\ndone w2 a\nleft w1")
    assert "t" in parent.machine.state.clients
    dropped = parent(f"wait {PATIENCE_S}")
    assert dropped == ["w2 <- cancel b", "w2 <- release a", "w2 <- forget g"] or "a" not in " ".join(parent("states"))
    assert list(parent.machine.state.clients) == ["c"]


def test_a_client_lives_on_until_the_death_of_its_worker_is_final(stage: Stage) -> None:
    stage("client c\nworker w1 nanny process=one\nclient t process=one\nsubmit c f p")
    assert not any("ended" in line for line in stage("left w1"))
    assert any("t ended" in line for line in stage(f"wait {CERTIFICATE_S}"))


def test_a_worker_that_comes_back_keeps_its_client(stage: Stage) -> None:
    stage("client c\nworker w1 nanny process=one\nclient t process=one\nleft w1")
    assert not any("ended" in line for line in stage("worker w1 nanny process=one") + stage("wait 10"))


def test_an_orphan_that_was_not_dead_begins_anew(parent: Stage) -> None:
    parent("submit t g a\nleft w1")
    parent("client t process=one")
    assert parent("states") == ["p READY"]
    parent(f"wait {2 * PATIENCE_S}")
    assert list(parent.machine.state.clients) == ["c", "t"]


def test_why_tells_of_a_lent_slot_only_while_it_is_lent(parent: Stage) -> None:
    parent("lent w1 p\nrejoined w1 p")
    assert why(parent.machine.state, "p").reason == "running"
