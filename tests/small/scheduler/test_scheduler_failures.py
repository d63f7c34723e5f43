"""Workers that join, leave, die and are certified dead."""

from __future__ import annotations

from distributed.errors import KilledWorker
from distributed.protocol.failure import exception_from_failure
from distributed.scheduler.events import WorkerJoined
from distributed.testing.scenarios import Stage


def test_a_name_is_given_to_one_living_worker(stage: Stage) -> None:
    stage("worker w1 name=n")
    refused = "w2 refused: name taken, 'n': the worker at w1 has it; choose another --name"
    assert stage("worker w2 name=n") == [refused]
    assert stage("left w1\nworker w2 name=n") == ["w2 accepted as w2/2"]


def test_a_life_that_is_connected_is_not_accepted_twice(stage: Stage) -> None:
    stage("worker w1")
    stage._lives["w1"] = 0
    assert stage("worker w1") == ["w1 refused: the worker at w1 is connected already"]


def test_a_new_life_at_an_address_ends_the_old_one(stage: Stage) -> None:
    stage("client c\nworker w1 name=n\nsubmit c f a")
    told = stage("worker w1 name=n")
    assert told[:2] == ["w1 dropped as w1/1: a new process took its address", "w1 accepted as w1/2"]
    assert stage("left w1/1\ndied w1/1 running=a\nfailed w1/1 a") == []
    assert stage("why a")[0].startswith("with-worker [w1]: a is with w1 (attempt 2)")


def test_a_worker_that_says_goodbye_has_killed_nothing(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\nleft w1 expected")
    assert stage.machine.state.tasks["a"].deaths == 0
    assert not stage.machine.state.lost


def test_without_a_nanny_the_first_tasks_sent_are_blamed_one_per_thread(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f warm\ndone w1 warm\nsubmit c f a b d\nleft w1")
    tasks = stage.machine.state.tasks
    assert [tasks[key].deaths for key in ("a", "b", "d")] == [1, 1, 0]


def test_a_nanny_is_given_time_to_say_what_ran(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\nleft w1\nworker w2")
    assert stage.machine.next_wakeup == 0.25
    assert stage("wait 0.2") == []
    assert stage("wait 0.1") == ["w2 <- run a#2 +f"]
    assert stage("died w1 running=a") == []
    assert stage.machine.state.tasks["a"].deaths == 1


def test_patience_ends_for_each_worker_at_its_own_time(stage: Stage) -> None:
    stage("worker w1 nanny\nworker w2 nanny\nleft w1\nwait 0.1\nleft w2")
    assert stage.machine.next_wakeup == 0.25
    stage("wait 0.2")
    assert stage.machine.next_wakeup == 0.35
    stage("wait 0.1")
    assert stage.machine.next_wakeup is None


def test_a_certificate_may_come_before_the_connection_breaks(stage: Stage) -> None:
    stage("client c\nworker w1 nanny threads=2\nworker w2\nsubmit c f a b")
    told = stage("died w1 running=b")
    assert told[0] == "w1 dropped as w1/1: its nanny saw it die"
    assert told[1].startswith("w2 <- run")
    assert stage("left w1") == []


def test_a_certificate_without_names_blames_the_first_tasks(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\ndied w1")
    assert stage.machine.state.tasks["a"].deaths == 1


def test_a_lost_worker_that_comes_back_has_killed_nothing(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\nleft w1")
    stage._lives["w1"] = 0
    assert stage("worker w1") == ["w1 accepted as w1/1", "w1 <- run a#2 +f"]
    assert stage.machine.state.tasks["a"].deaths == 0


def test_three_deaths_end_a_task_with_their_certificates(stage: Stage) -> None:
    stage("client c\nsubmit c f a")
    for number in range(3):
        stage(f"worker w{number} nanny\ndied w{number} running=a cause=signal-{number}")
    failure = stage.machine.state.tasks["a"].failure
    assert failure is not None
    error = exception_from_failure(failure, "the scheduler")
    assert isinstance(error, KilledWorker)
    assert (error.key, error.deaths) == ("a", 3)
    assert [certificate["cause"] for certificate in error.certificates] == ["signal-0", "signal-1", "signal-2"]


def test_a_task_that_only_waited_on_dead_workers_lives(stage: Stage) -> None:
    stage("client c\nworker w0\nsubmit c f warm\ndone w0 warm\nsubmit c f a b\nleft w0 expected")
    for number in range(1, 5):
        stage(f"worker w{number} nanny\ndied w{number} running=other")
    assert stage.machine.state.tasks["a"].deaths == 0


def test_what_a_lost_worker_held_is_computed_again_in_order(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f ~a b(a) e(b)\ndone w1 a\ndone w1 b\ndone w1 e")
    told = stage("left w1\nworker w2")
    assert told == ["c <- lost b e (recomputing)", "w2 accepted as w2/1", "w2 <- run ~a#2 +f"]


def test_what_another_worker_holds_too_is_not_lost(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f a\ndone w1 a\nreplicate o a\nadded w2 a")
    assert stage("left w1") == []


def test_a_task_waits_for_data_lost_with_the_worker_that_ran_it(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f ~a b(a)\ndone w1 a")
    assert stage("left w1 expected") == ["w2 <- run ~a#2 +f"]
    assert stage("states") == ["a PROCESSING", "b WAITING"]


def test_two_workers_on_one_host_are_told_apart(stage: Stage) -> None:
    stage("client c\nworker w1 host=h gpu:1\nworker w2 host=h gpu:1\nleft w1\nsubmit c f a workers=h gpu:1")
    assert stage("why a")[0].startswith("with-worker [w2]")
    stage("left w2")
    assert not stage.machine.state.by_host and not stage.machine.state.by_resource


def test_a_worker_that_only_lost_its_connection_blames_no_task(stage: Stage) -> None:
    stage("client c")
    machine = stage.machine

    def join(incarnation: str) -> None:
        event = WorkerJoined("tcp://w:1", incarnation, "w", 1, None, None, {}, "w", process="p")
        machine.handle(event, 0.0)
        machine.take_effects()

    join("life-1")
    stage("submit c f a")
    for number in range(2, 7):
        join(f"life-{number}")  # the old connection is not seen to break before
        assert stage("states") == ["a PROCESSING"]
    assert machine.state.tasks["a"].deaths == 0
