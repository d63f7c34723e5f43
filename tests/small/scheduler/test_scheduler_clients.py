"""What clients ask for: submit, want, release, cancel; functions; coming and going."""

from __future__ import annotations

import pytest

from distributed.errors import BadRequestError, LostDataError
from distributed.messages import ReleaseFunctions, SubmitTasks, TaskSpec
from distributed.protocol.failure import exception_from_failure
from distributed.scheduler.effects import ToClient
from distributed.scheduler.events import ClientJoined, FromClient
from distributed.scheduler.machine import SchedulerMachine
from distributed.testing.scenarios import Stage


@pytest.fixture
def busy(stage: Stage) -> Stage:
    """Clients c and d, workers w1 and w2."""
    stage("client c d\nworker w1\nworker w2")
    return stage


def test_a_result_goes_to_every_client_that_wants_it(busy: Stage) -> None:
    busy("submit c f a\nwant d a")
    assert busy("done w1 a") == ["c <- done a=result", "d <- done a=result"]


def test_tasks_of_different_clients_in_one_answer_are_told_apart(busy: Stage) -> None:
    busy("submit c f warm\ndone w1 warm s=0.001\nleft w2\nsubmit c f a\nsubmit d f b")
    assert busy("done w1 a b") == ["c <- done a=result", "d <- done b=result"]


def test_a_result_that_exists_is_not_sent_again_but_named(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a")
    assert busy("want d a") == ["d <- done a"]
    assert busy("submit d f a") == ["d <- done a"]


def test_a_failure_that_exists_is_told_at_once(busy: Stage) -> None:
    busy("submit c f a\nfailed w1 a")
    assert busy("want d a") == ["d <- failed a: ValueError: a is bad"]


def test_an_unknown_key_cannot_be_wanted(busy: Stage) -> None:
    assert busy("want c nothing") == ["c <- cancelled nothing (the scheduler does not know this key)"]


def test_the_first_recipe_of_a_key_wins(busy: Stage) -> None:
    busy("submit c f a")
    assert busy("submit d g a") == []
    assert busy("done w1 a") == ["c <- done a=result", "d <- done a=result"]


def test_a_key_twice_in_one_message_is_one_task(busy: Stage) -> None:
    assert busy("submit c f a a") == ["w1 <- run a#1 +f"]
    assert busy("submit c f ~b(a) b b(x)") == []
    assert busy("done w1 a") == ["w1 <- run b#1(a@w1)", "c <- done a=result"]


def test_dependencies_may_be_listed_after_their_dependents(busy: Stage) -> None:
    assert busy("submit c f b(a,a) a") == ["w1 <- run a#1 +f"]
    assert busy("done w1 a") == ["w1 <- run b#1(a@w1)", "c <- done a=result"]


def test_roots_run_in_the_order_in_which_they_are_needed(stage: Stage) -> None:
    stage("client c\nworker w1 threads=4")
    assert stage("submit c f ~a ~b ~d top(d,b,a)") == ["w1 <- run ~d#1 ~b#1 ~a#1 +f"]


def test_a_task_with_an_unknown_dependency_fails_and_nothing_else(busy: Stage) -> None:
    told = busy("submit c f good bad(nowhere) worse(bad)")
    reason = "bad depends on 'nowhere', which the scheduler does not know (released or cancelled?)"
    kind = "distributed.errors.LostDataError"
    assert told == ["w1 <- run good#1 +f", f"c <- failed bad: {kind}: {reason}; worse: {kind}: {reason}"]


def test_what_depends_on_a_bad_request_fails_at_every_level(busy: Stage) -> None:
    told = busy("submit c f bad(nowhere) worse(bad) worst(worse)")
    assert [entry.split(": ")[0] for entry in told[0].split("; ")] == ["c <- failed bad", "worse", "worst"]


def test_dependencies_in_any_order_are_no_cycle(busy: Stage) -> None:
    assert busy("submit c f top(b,d) b(a) d(a) a")[0] == "w1 <- run a#1 +f"
    assert busy("states") == ["top WAITING", "b WAITING", "d WAITING", "a PROCESSING"]


def test_a_failure_of_ours_can_be_rebuilt_with_its_own_text() -> None:
    machine = SchedulerMachine()
    machine.handle(ClientJoined("c"), 0.0)
    submit = SubmitTasks({b"f": b""}, [TaskSpec(b"f")], None, ["a"], [b""], [["gone"]])
    machine.handle(FromClient("c", submit), 0.0)
    [effect] = machine.take_effects()
    assert isinstance(effect, ToClient)
    error = exception_from_failure(effect.message.failures[0], "the scheduler")  # type: ignore[attr-defined]
    assert isinstance(error, LostDataError)
    assert "depends on 'gone'" in str(error)


def test_a_cycle_fails_with_what_depends_on_it_and_nothing_else(busy: Stage) -> None:
    told = busy("submit c f a(b) b(a) after(b) self(self) good later(first) first")
    kind = BadRequestError.__name__
    assert told[0] == "w1 <- run good#1 +f"
    assert told[1] == "w2 <- run first#1 +f"
    assert [entry.split(": ")[:2] for entry in told[2].removeprefix("c <- failed ").split("; ")] == [
        [key, f"distributed.errors.{kind}"] for key in ("a", "b", "after", "self")
    ]
    assert busy("states")[-2:] == ["later WAITING", "first PROCESSING"]


def test_a_task_whose_function_was_never_sent_fails(busy: Stage) -> None:
    told = "c <- failed a: distributed.errors.BadRequestError: a: its function was never sent"
    assert busy("submit c unsent a") == [told]
    assert busy("release c a") == []


def test_an_unwanted_task_that_nothing_needs_is_forgotten(busy: Stage) -> None:
    assert busy("submit c f ~a ~b(missing)") == []
    assert busy("states") == ["nothing"]


def test_an_empty_submit_is_no_error(busy: Stage) -> None:
    assert busy("submit c f") == []


def test_a_released_result_is_dropped_and_forgotten(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nreplicate o a\nadded w2 a")
    assert busy("release c a") == ["w1 <- drop a", "w2 <- drop a"]
    assert busy("states") == ["nothing"]


def test_results_on_one_worker_are_dropped_by_one_message(busy: Stage) -> None:
    busy("submit c f a\nsubmit c f b workers=w1\ndone w1 a\ndone w1 b")
    assert busy("want d a b") == ["d <- done a b"]
    busy("release d a b")
    assert busy("release c a b") == ["w1 <- drop a b"]


def test_a_task_of_a_lost_worker_can_be_released(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\nleft w1")
    assert stage("release c a\nstates") == ["nothing"]
    assert stage("wait 1") == []


def test_a_result_stays_until_the_last_client_releases_it(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nwant d a")
    assert busy("release c a unknown") == []
    assert busy("release d a") == ["w1 <- drop a"]


def test_a_released_task_is_taken_from_its_worker(busy: Stage) -> None:
    busy("submit c f a b q")
    assert busy("release c a q") == ["w1 <- cancel a"]
    assert busy("states") == ["b PROCESSING"]


def test_a_released_dependency_is_kept_while_it_is_needed(busy: Stage) -> None:
    busy("submit c f a b(a)\nrelease c a")
    assert busy("done w1 a") == ["w1 <- run b#1(a@w1)"]
    assert busy("done w1 b") == ["w1 <- drop a", "c <- done b=result"]


def test_a_released_task_is_computed_again_when_it_is_wanted_again(busy: Stage) -> None:
    busy("submit c f ~a b(a)\ndone w1 a\ndone w1 b")
    assert busy("want d a") == ["w2 <- run a#2 +f"]
    assert busy("why b\nrelease d a") == ["done [w1]: b is done; 1 worker(s) hold it.", "w2 <- cancel a"]


def test_a_ready_task_that_is_needed_no_more_does_not_run(busy: Stage) -> None:
    busy("submit c f ~a b(a)\ndone w1 a s=1\ndone w1 b s=1\nsubmit c f x y\nwant d a")
    assert busy("states\nrelease d a\nstates") == [
        *("a READY", "b MEMORY", "x PROCESSING", "y PROCESSING"),
        *("a RELEASED", "b MEMORY", "x PROCESSING", "y PROCESSING"),
    ]


def test_a_client_that_leaves_releases_what_it_held(busy: Stage) -> None:
    busy("submit c f a\nsubmit c f b\nwant d b")
    assert busy("leave c") == ["w1 <- cancel a"]
    assert busy("states") == ["b PROCESSING"]
    assert busy("leave c\nsubmit c f z") == []


def test_a_client_that_joins_twice_keeps_what_it_holds(busy: Stage) -> None:
    busy("submit c f a\nclient c")
    assert busy("done w1 a") == ["c <- done a=result"]


def test_a_function_is_forgotten_with_its_last_task_and_client(busy: Stage) -> None:
    busy("submit c f a\nwant d a\ndone w1 a")
    assert busy("leave c") == []
    assert busy("release d a") == ["w1 <- drop a", "w1 <- forget f"]


def test_a_function_without_tasks_goes_with_its_client(busy: Stage) -> None:
    busy("submit c f a\ndone w1 a\nrelease c a")
    assert busy("leave c") == ["w1 <- forget f"]


def test_a_function_that_its_client_releases_goes_with_its_last_task(busy: Stage) -> None:
    busy("submit c f a")
    assert busy.from_client("c", ReleaseFunctions([b"f", b"unknown"])) == []
    assert busy("done w1 a\nrelease c a")[-2:] == ["w1 <- drop a", "w1 <- forget f"]


def test_a_function_stays_while_another_client_has_sent_it(busy: Stage) -> None:
    busy("submit c f a\nsubmit d f b\nleave c")
    assert busy("release d b\nleave d")[-2:] == ["w1 <- forget f", "w2 <- forget f"]


def test_a_cancelled_task_takes_its_dependents_along_for_all_clients(busy: Stage) -> None:
    busy("submit c f a b(a) other\nwant d b")
    assert busy("cancel c a") == [
        "w1 <- stop a#1",
        "c <- cancelled a b (cancelled by c)",
        "d <- cancelled b (cancelled by c)",
    ]
    assert busy("states") == ["other PROCESSING"]


def test_a_cancelled_result_is_dropped(busy: Stage) -> None:
    busy("submit c f a b(a)\ndone w1 a\ndone w1 b")
    assert busy("cancel d a b unknown reason=no") == [
        "w1 <- drop a b",
        "d <- cancelled unknown (no)",
        "c <- cancelled a b (no)",
    ]
    assert busy("states") == ["nothing"]


def test_cancelling_lets_go_what_only_the_cancelled_needed(busy: Stage) -> None:
    busy("left w2\nsubmit c f ~a b(a) e(a)\nfailed w1 a\nsubmit c f ~x y(x) keep(x)\ndone w1 x")
    assert busy("cancel c y") == ["w1 <- stop y#1", "c <- cancelled y (cancelled by c)"]
    assert busy("cancel c keep") == ["w1 <- stop keep#1", "w1 <- drop x", "c <- cancelled keep (cancelled by c)"]
    assert busy("cancel c a\nstates") == ["c <- cancelled b e (cancelled by c)", "nothing"]


def test_who_cancels_what_is_not_known_is_told_that_it_is_gone(stage: Stage) -> None:
    stage("client c d\nworker w1\nsubmit d f known")
    assert stage("cancel c known unknown reason=enough") == [
        "w1 <- stop known#1",
        "c <- cancelled unknown (enough)",
        "d <- cancelled known (enough)",
    ]
