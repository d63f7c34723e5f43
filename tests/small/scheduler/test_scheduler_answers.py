"""What workers report: results, failures, missing data, copies."""

from __future__ import annotations

import pytest

from distributed.testing.scenarios import Stage


@pytest.fixture
def busy(stage: Stage) -> Stage:
    """Client c, workers w1 and w2."""
    stage("client c\nworker w1\nworker w2")
    return stage


def test_a_late_answer_is_ignored_and_its_data_dropped(busy: Stage) -> None:
    busy("submit c f a\nrelease c a")
    assert busy("done w1 a#1") == ["w1 <- drop a"]


def test_an_answer_counts_only_from_the_worker_that_has_the_task(busy: Stage) -> None:
    busy("submit c f a")
    assert busy("done w2 a#1") == ["w2 <- drop a"]
    assert busy("failed w2 a#1\nstates") == ["a PROCESSING"]


def test_an_answer_that_comes_twice_counts_once(busy: Stage) -> None:
    busy("submit c f a b\ndone w1 a")
    assert busy("done w1 a#1") == []


def test_good_answers_count_beside_late_ones(busy: Stage) -> None:
    busy("submit c f warm\ndone w1 warm\nsubmit c f a b\nleft w2\nrelease c a")
    assert busy("done w1 a#1 b") == ["w1 <- drop a", "c <- done b=result"]


def test_data_that_came_while_its_task_ran_there_goes_when_the_attempt_ends_without_a_result(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nleft w1")
    assert busy("added w2 a") == []
    assert "w2 <- drop a" in busy("failed w2 a")


def test_data_that_came_while_its_task_ran_there_is_replaced_by_the_result(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nleft w1\nadded w2 a")
    assert busy("done w2 a") == ["c <- done a=result"]


def test_functions_of_one_answer_are_measured_apart(busy: Stage) -> None:
    busy("submit c f f1\nsubmit c g g1\ndone w1 f1 s=0.001\ndone w2 g1 s=0.003\nleft w2 expected\nrelease c g1")
    busy("submit c f f2\nsubmit c g g2")
    busy("done w1 f2 g2 s=0.021")
    functions = busy.machine.state.functions
    assert [round(functions[digest].estimate_s or 0, 6) for digest in (b"f", b"g")] == [0.011, 0.012]


def test_the_estimate_follows_the_newest_runs(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a")
    function = busy.machine.state.functions[b"f"]
    for _ in range(30):
        function.observe(1000.0, 1000, 0, 2.0)
    function.observe(0.0, 1_000_000, 0, 2.0)
    assert function.estimate_s is not None and function.estimate_s < 0.02
    assert function.duration_count < 1_010_000


def test_a_failed_task_fails_its_dependents_at_every_level_once(busy: Stage) -> None:
    busy("submit c f a b(a) d(a,b) other")
    why = "ValueError: a is bad"
    assert busy("failed w1 a") == [f"c <- failed a: {why}; b: {why}; d: {why}"]
    assert busy("states") == ["a ERRED", "b ERRED", "d ERRED", "other PROCESSING"]


def test_a_failed_task_with_retries_runs_again(busy: Stage) -> None:
    busy("submit c f a retries=1")
    assert busy("failed w1 a") == ["w2 <- run a#2 +f"]
    assert busy("failed w2 a") == ["c <- failed a: ValueError: a is bad"]


def test_a_failed_graph_is_forgotten_when_it_is_released(busy: Stage) -> None:
    busy("submit c f ~a b(a) x(b,y) y")
    busy("failed w1 a")
    assert busy("release c b x y\nstates")[-1] == "nothing"


def test_a_dependent_that_runs_goes_on_when_its_dependency_fails_later(busy: Stage) -> None:
    busy("submit c f a b(a)\ndone w1 a\nleft w1 expected")
    busy("done w2 a\nworker w1\nwhy b")
    busy("removed w2 a")  # b has its copy already, or will report
    assert busy("failed w1 a") == ["c <- failed a: ValueError: a is bad"]
    assert busy("states") == ["a ERRED", "b PROCESSING"]
    assert busy("missing w2 b a@w2") == ["c <- failed b: ValueError: a is bad"]


def test_a_copy_is_one_more_holder(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nreplicate o a\nadded w2 a\nadded w2 a\nremoved w1 a")
    assert busy("why a") == ["done [w2]: a is done; 1 worker(s) hold it."]


def test_a_copy_that_nobody_needs_is_dropped(busy: Stage) -> None:
    assert busy("added w2 a") == ["w2 <- drop a"]
    busy("submit c f b")
    assert busy("added w2 b") == ["w2 <- drop b"]


def test_the_last_copy_that_goes_is_computed_again(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a")
    assert busy("removed w1 a unknown") == ["w2 <- run a#2 +f", "c <- lost a (recomputing)"]


def test_what_waits_for_lost_data_waits_again(busy: Stage) -> None:
    busy("submit c f ~a ~b top(a,b)\ndone w1 a\nleft w1 expected")
    assert busy("states") == ["a READY", "b PROCESSING", "top WAITING"]
    busy("worker w1\ndone w1 a\nleft w1 expected")
    assert busy("states") == ["a READY", "b PROCESSING", "top WAITING"]
    assert busy.machine.state.tasks["top"].waiting_on == 2


def test_a_ready_task_waits_again_when_its_dependencies_are_lost(busy: Stage) -> None:
    busy("submit c f a b\ndone w1 a\ndone w2 b\nsubmit c g busy1 busy2\nsubmit c f top(a,b) workers=w3")
    busy("left w1 expected")
    assert busy("states")[-1] == "top WAITING"
    busy("removed w2 b")
    assert busy.machine.state.tasks["top"].waiting_on == 2


def test_missing_data_is_fetched_from_other_holders(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nreplicate o a\nadded w2 a\nsubmit c f b(a)")
    assert busy("missing w1 b a@w1") == ["w1 <- drop a", "w2 <- run b#2(a@w2) +f"]


def test_missing_data_without_holders_is_computed_again(busy: Stage) -> None:
    busy("submit c f ~a b(a)\ndone w1 a")
    told = busy("missing w1 b a@w1 a@w2 a@w9 other@w1")
    assert told == ["w1 <- drop a", "w2 <- run ~a#2 +f"]
    assert busy("done w2 a\nwhy b")[-1].startswith("with-worker [w2]")


def test_who_misses_data_does_not_hold_it_whatever_a_late_word_said(busy: Stage) -> None:
    busy("scatter w1 c x\nsubmit c f b(x) workers=w2")
    assert busy("added w2 x\nmissing w2 b x@w1") == ["w2 <- drop x", "w2 <- run b#2(x@w1)"]


def test_data_that_goes_with_the_task_that_uses_it_is_dropped_once(busy: Stage) -> None:
    busy("submit c f a workers=w1\ndone w1 a\nsubmit c f b(a) workers=w1")
    assert busy("cancel c a")[:2] == ["w1 <- stop b#1", "w1 <- drop a"]


def test_a_late_report_of_missing_data_changes_nothing(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nsubmit c f b(a)")
    assert busy("missing w1 b#7 a@w1") == []


def test_scattered_data_is_known_to_its_client(busy: Stage) -> None:
    assert busy("scatter w1 c x nbytes=7") == ["c <- done x"]
    assert busy("scatter w2 c x") == ["c <- done x"]
    assert busy("release c x") == ["w1 <- drop x", "w2 <- drop x"]


def test_data_scattered_for_a_client_that_left_is_dropped(busy: Stage) -> None:
    busy("leave c")
    assert busy("scatter w1 c x") == ["w1 <- drop x"]


def test_what_is_ready_fails_when_scattered_data_is_lost(busy: Stage) -> None:
    busy("scatter w1 c x\nsubmit c f y(x) z(x) workers=w3\nsubmit c f run(x)\nrelease c x")
    told = busy("left w1 expected\nstates")
    assert told[0].startswith("c <- failed y: distributed.errors.LostDataError: x: ")
    assert told[1:] == ["x ERRED", "y ERRED", "z ERRED", "run ERRED"]


def test_a_chain_whose_root_is_lost_for_good_fails_with_it(busy: Stage) -> None:
    busy("scatter w1 c x\nsubmit c f a(x) b(a)\ndone w1 a\ndone w1 b")
    told = busy("left w1\nstates")
    assert told[:2] == ["c <- lost x (for good)", "c <- lost a b (recomputing)"]
    assert told[3:] == ["x ERRED", "a ERRED", "b ERRED"]


def test_a_dependent_that_runs_is_not_started_again_when_its_data_is_back(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nsubmit c f b(a) workers=w2\nremoved w1 a")
    assert busy("done w1 a#2") == ["c <- done a=result"]
    assert busy("done w2 b") == ["c <- done b=result"]


def test_lost_scattered_data_can_be_scattered_again(busy: Stage) -> None:
    busy("scatter w1 c x")
    assert busy("left w1") == ["c <- lost x (for good)"]
    assert busy("scatter w2 c x") == ["c <- done x"]


def test_every_client_hears_that_lost_data_is_back(busy: Stage) -> None:
    busy("client d\nscatter w1 c x\nleft w1")
    assert busy("scatter w2 d x") == ["c <- done x", "d <- done x"]


def test_released_scattered_data_cannot_be_computed_again(busy: Stage) -> None:
    busy("scatter w1 c x\nsubmit c f y(x)\ndone w1 y\nrelease c x")
    told = busy("removed w1 y")
    assert told[0] == "c <- lost y (recomputing)"
    assert told[1].startswith("c <- failed y: distributed.errors.LostDataError: x: ")
    assert busy("states") == ["x ERRED", "y ERRED"]


def test_released_scattered_data_that_is_wanted_again_is_lost(busy: Stage) -> None:
    busy("scatter w1 c x\nsubmit c f y(x)\ndone w1 y\nrelease c x")
    assert busy("want c x")[0].startswith("c <- failed x: distributed.errors.LostDataError: x: ")
    assert busy("scatter w1 c x\nstates") == ["c <- done x", "x MEMORY", "y MEMORY"]


def test_data_scattered_under_the_key_of_a_task_does_not_replace_its_work(busy: Stage) -> None:
    busy("submit c f a")
    assert busy("scatter w2 c a") == ["w2 <- drop a"]
    busy("failed w1 a")
    assert busy("scatter w2 c a") == ["w2 <- drop a", "c <- failed a: ValueError: a is bad"]


def test_a_heartbeat_updates_the_metrics(busy: Stage) -> None:
    assert busy("heartbeat w1 load=0.5") == []
    assert busy.machine.state.workers["tcp://w1:1"].metrics == {"load": 0.5}


def test_an_answer_to_a_cancelled_task_is_not_taken_for_that_of_a_new_task_with_its_key(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f a\ncancel c a\nsubmit c f a")
    stage("done w1 a#1")  # of the first task, on its way when that was cancelled
    assert stage("states") == ["a PROCESSING"]
    assert stage("done w1 a#2") == ["c <- done a=result"]


def test_a_task_that_never_gets_its_dependencies_is_given_up(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f a workers=w1\ndone w1 a\nsubmit c f b(a) workers=w2")
    for attempt in range(1, 10):
        stage(f"missing w2 b#{attempt} a@w1\ndone w1 a#{attempt + 1}")
    (told,) = stage("missing w2 b#10 a@w1")[-1:]
    assert "UnreachableDataError: b is given up: a could not be fetched from any worker, 10 times" in told
    assert "b ERRED" in stage("states")


def test_of_two_clients_that_scatter_under_one_key_the_first_value_counts(busy: Stage) -> None:
    busy("client d\nscatter w1 c x")
    assert busy("scatter w2 d x") == ["w2 <- drop x", "d <- done x"]


def test_scattered_data_that_its_only_holder_misses_itself_is_lost(busy: Stage) -> None:
    busy("scatter w1 c x\nsubmit c f b(x) workers=w1")
    told = busy("missing w1 b x@w1")
    assert "c <- lost x (for good)" in told, told
    assert "x ERRED" in busy("states")


def test_the_only_copy_of_scattered_data_is_kept_when_one_worker_cannot_reach_it(busy: Stage) -> None:
    busy("scatter w1 c x\nsubmit c f b(x) workers=w2")
    assert busy("missing w2 b x@w1") == ["w2 <- run b#2(x@w1)"]
    for attempt in range(2, 10):
        busy(f"missing w2 b#{attempt} x@w1")
    (told,) = busy("missing w2 b#10 x@w1")
    assert "UnreachableDataError" in told and "lost" not in told
    assert "x MEMORY" in busy("states")
