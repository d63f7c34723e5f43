"""A task that takes long is tried a second time where a thread has nothing to do; the first result counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distributed.errors import InvariantError
from distributed.messages import TaskSpec
from distributed.scheduler.events import Tick
from distributed.scheduler.invariants import check_idlers, check_seconds
from distributed.scheduler.records import Room, Second
from distributed.scheduler.snapshot import story_of
from distributed.scheduler.state import SchedulerState, Settings
from distributed.testing.clockwork import Clockwork
from distributed.testing.scenarios import Stage

LEAST_S = Settings().redundant_least_s


@pytest.fixture
def slow(stage: Stage) -> Stage:
    """`a` runs on w1 and w2 idles; tasks of its function took 10 ms so far."""
    stage("client c\nworker w1\nworker w2\nsubmit c f warm other\ndone w1 warm s=0.01\ndone w2 other s=0.01")
    stage("submit c f a redundant=yes\nrelease c warm other")
    return stage


@pytest.fixture
def twice(slow: Stage) -> Stage:
    """`a` runs on w1 and, as its second attempt, on w2."""
    assert slow(f"wait {LEAST_S}") == ["w2 <- run a#2"]
    return slow


# ---------------------------------------------------------------- when


def test_p10_a_task_that_takes_longer_than_usual_is_tried_where_a_thread_idles(slow: Stage) -> None:
    """P10: stealing + redundant end-game"""
    assert slow(f"wait {LEAST_S * 0.9}") == []
    assert slow(f"wait {LEAST_S * 0.2}") == ["w2 <- run a#2"]
    assert slow("why a")[0].startswith("redundant [w1 w2]")


def test_only_what_was_submitted_for_it_is_tried_twice(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f warm\ndone w1 warm s=0.01\nsubmit c f a")
    assert stage("wait 20") == []


def test_long_is_measured_by_what_its_function_usually_takes(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f warm\ndone w1 warm s=10\nsubmit c f a redundant=yes")
    assert stage("wait 19") == []
    assert stage("wait 2") == ["w1 <- run a#2"]  # w1 idles, a is on w2


def test_a_function_that_has_never_ended_may_take_for_ever(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f a redundant=yes")
    assert stage("wait 20") == []


def test_there_is_one_second_attempt(twice: Stage) -> None:
    twice("worker w3")
    assert twice("wait 20") == []


def test_the_second_attempt_takes_a_thread(twice: Stage) -> None:
    assert twice("submit c f b")[0].startswith("w1 <- run b#1") or twice("why b")  # wherever it queues, it is behind
    assert twice.machine.state.workers["tcp://w2:1"].ntaken == 1
    assert not twice.machine.state.idle


def test_what_can_begin_for_the_first_time_goes_before(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nworker w2\nsubmit c f warm\ndone w1 warm s=0.001")
    stage("submit c f a b redundant=yes")
    assert stage("submit c f d e") != []  # all threads have something to do
    assert not any("#2" in line for line in stage("wait 20"))


@pytest.mark.parametrize("restriction", ["workers=w1,w2", "limit=5", "platform=any", "actor=yes"])
def test_what_may_not_run_anywhere_runs_once(stage: Stage, restriction: str) -> None:
    stage("client c\nworker w1 memory=9 tags=any\nworker w2 memory=9 tags=any\nsubmit c f warm\ndone w1 warm s=0.001")
    stage(f"submit c f a redundant=yes {restriction}")
    assert stage("wait 20") == []


def test_the_one_that_has_run_longest_is_tried_first(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nworker w3\nsubmit c f x y z\ndone w1 x s=1\ndone w2 y s=1\ndone w3 z s=1")
    stage("submit c f a redundant=yes\nwait 1\nsubmit c f b redundant=yes")
    (line,) = stage("wait 1.5")
    assert line.endswith("run a#2")


def test_the_worker_with_most_of_the_data_is_taken(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nworker w3\nsubmit c f x\ndone w1 x s=0.01 nbytes=1000")
    stage("submit c g big(x) workers=w3\nadded w3 x\ndone w3 big nbytes=9")
    stage("submit c f a(x) redundant=yes")
    (line,) = stage("wait 1")
    assert line.startswith("w3 <- run a#2(x@w3")


def test_data_that_only_a_hung_worker_has_moves_nowhere(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nworker w2\nsubmit c f x\ndone w1 x s=0.01\nsubmit c f a(x) redundant=yes")
    assert stage("wait 0.01\nalive w1") == []
    stage("wait 4\nalive w1\nwait 0.1")
    assert not any("a#2" in line for line in stage("wait 20"))


# ---------------------------------------------------------------- what becomes of them


def test_the_first_attempt_wins_and_the_second_is_stopped(twice: Stage) -> None:
    assert twice("done w1 a#1") == ["w2 <- stop a#2", "c <- done a=result"]
    assert twice("done w2 a#2") == []  # it had ended already; being told to stop it drops the result
    assert twice("stopped w2 a#2") == []
    assert twice("release c a") == ["w1 <- drop a"]


def test_the_second_attempt_wins_and_the_first_is_stopped(twice: Stage) -> None:
    assert twice("done w2 a#2") == ["w1 <- stop a#1", "c <- done a=result"]
    assert twice("failed w1 a#1\nstopped w1 a#1") == []
    assert twice("release c a") == ["w2 <- drop a"]


def test_what_was_stopped_has_its_thread_until_it_says_that_it_has_stopped(twice: Stage) -> None:
    twice("done w2 a#2")
    assert twice.machine.state.workers["tcp://w1:1"].ntaken == 1
    twice("stopped w1 a#1")
    assert twice.machine.state.workers["tcp://w1:1"].ntaken == 0


def test_attempts_that_come_later_have_higher_numbers(twice: Stage) -> None:
    twice("done w1 a#1\nstopped w2 a#2")
    lines = twice("left w1 expected")
    assert any(line == "w2 <- run a#3" for line in lines)


@pytest.mark.parametrize(("dead", "left"), [("w1", "w2 a#2"), ("w2", "w1 a#1")])
def test_the_death_of_one_leaves_the_other_and_blames_nobody(twice: Stage, dead: str, left: str) -> None:
    lines = twice(f"left {dead}")
    assert not any("run a" in line for line in lines)
    assert twice.machine.state.tasks["a"].deaths == 0
    assert "c <- done a=result" in twice(f"done {left}")


def test_the_death_of_both_counts_once(twice: Stage) -> None:
    twice("worker w3\nleft w2")
    assert "w3 <- run a#3 +f" in twice("left w1")
    assert twice.machine.state.tasks["a"].deaths == 1


@pytest.mark.parametrize(("one", "other"), [("w1 a#1", "w2 a#2"), ("w2 a#2", "w1 a#1")])
def test_the_first_raise_counts_and_the_other_one_is_stopped(twice: Stage, one: str, other: str) -> None:
    worker, _, attempt = other.partition(" ")
    assert twice(f"failed {one}") == [f"{worker} <- stop {attempt}", "c <- failed a: ValueError: a is bad"]


@pytest.mark.parametrize(("one", "other"), [("w1 a#1", "w2 a#2"), ("w2 a#2", "w1 a#1")])
def test_a_raise_with_retries_left_costs_one_and_the_other_goes_on(stage: Stage, one: str, other: str) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f warm other\ndone w1 warm s=0.01\ndone w2 other s=0.01")
    stage(f"submit c f a redundant=yes retries=1\nwait {LEAST_S}")
    assert stage(f"failed {one}") == []
    assert stage.machine.state.tasks["a"].retries_left == 0
    assert stage(f"failed {other}") == ["c <- failed a: ValueError: a is bad"]


def test_a_cancel_stops_both(twice: Stage) -> None:
    lines = twice("cancel c a")
    assert "w1 <- stop a#1" in lines
    assert "w2 <- stop a#2" in lines


def test_a_cancel_with_force_is_forced_on_both(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nworker w2 nanny\nsubmit c f x y\ndone w1 x s=0.01\ndone w2 y s=0.01")
    stage(f"submit c f a redundant=yes\nwait {LEAST_S}\ncancel c a force=yes")
    assert len([line for line in stage("wait 0.4") if "replaces" in line]) == 2


def test_what_nobody_holds_any_more_is_given_up_at_both(twice: Stage) -> None:
    lines = twice("release c a")
    assert {"w1 <- cancel a", "w2 <- cancel a"} <= set(lines)


def test_what_is_given_back_goes_on_as_its_second_attempt(twice: Stage) -> None:
    assert twice("returned w1 a#1") == []
    assert twice("done w2 a#2") == ["c <- done a=result"]


@pytest.mark.parametrize("event", ["retire o1 w2", "retiring w2"])
def test_a_worker_that_retires_has_no_second_attempts(twice: Stage, event: str) -> None:
    assert "w2 <- stop a#2" in twice(event)
    assert "c <- done a=result" in twice("done w1 a#1")


def test_a_worker_that_pauses_goes_on_with_it(twice: Stage) -> None:
    assert twice("paused w2") == []
    assert "c <- done a=result" in twice("done w2 a#2")


def test_a_task_that_waits_for_others_runs_once(twice: Stage) -> None:
    assert twice("lent w1 a#1") == ["w2 <- stop a#2"]
    assert twice("wait 20") == []


def test_a_second_attempt_that_waits_for_others_is_stopped(twice: Stage) -> None:
    assert twice("lent w2 a#2") == ["w2 <- stop a#2"]


def test_a_hung_worker_has_no_second_attempts(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nworker w2 nanny\nsubmit c f x y\ndone w1 x s=1\ndone w2 y s=1")
    stage("submit c f a redundant=yes")
    assert stage("wait 2.5") == ["w2 <- run a#2"]
    assert "w2 <- stop a#2" in stage("wait 3.5\nalive w2\nwait 0.1")
    assert "c <- done a=result" in stage("done w1 a#1")


def test_nothing_is_tried_at_a_worker_that_is_found_hung_in_the_same_moment(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nworker w2 nanny\nsubmit c f x y\ndone w1 x s=1.6\ndone w2 y s=1.6")
    stage("submit c f a redundant=yes\nwait 3.1\nalive w2")
    stage.now += 1  # the timer fires late, when both are due: w2 counts as hung, and `a` takes long
    assert not any("w2 <- run" in line for line in stage.handle(Tick()))


def test_the_next_attempt_after_one_for_nothing_has_a_new_number(twice: Stage) -> None:
    twice("lent w2 a#2\nstopped w2 a#2")
    assert twice("returned w1 a#1")[0].endswith("run a#3")


def test_a_second_attempt_that_misses_data_is_over(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f x\ndone w1 x s=0.01\nsubmit c f a(x) redundant=yes")
    assert stage("wait 1") == ["w2 <- run a#2(x@w1) +f"]
    stage("missing w2 a#2 x@w1")
    assert "a PROCESSING" in stage("states")
    assert stage.machine.state.tasks["a"].misses == 0
    assert "c <- done a=result" in stage("done w1 a#1")


def test_a_late_word_of_a_second_attempt_changes_nothing(twice: Stage) -> None:
    twice("lent w2 a#2\nstopped w2 a#2")
    assert twice("failed w2 a#2") == []
    assert "c <- done a=result" in twice("done w1 a#1")


def test_the_story_tells_of_both(twice: Stage) -> None:
    twice("done w2 a#2")
    assert twice("story a")[-2:] == ["PROCESSING -> PROCESSING: w2", "PROCESSING -> MEMORY: w2"]


# ---------------------------------------------------------------- what it is for


def test_one_slow_machine_does_not_hold_up_the_end_of_a_map() -> None:
    """P10: stealing + redundant end-game: the last tasks run twice, and the map ends before the slow one does."""
    begun: dict[str, int] = {}

    def cost(key: str) -> tuple[float, int]:
        begun[key] = begun.get(key, 0) + 1
        return (30.0 if key == "k39" and begun[key] == 1 else 0.5), 8

    def run(redundant: bool) -> float:
        begun.clear()
        clock = Clockwork([1, 1, 1, 1], cost)
        clock.submit([f"k{i}" for i in range(40)], specs={"f": TaskSpec(b"f", redundant=redundant)})
        return clock.run()

    assert run(redundant=False) > 30
    assert run(redundant=True) < 8
    assert sum(begun.values()) == 41


def test_the_story_names_the_attempt_that_counted() -> None:
    stage = Stage()
    stage("client c\nworker w1\nworker w2\nsubmit c f x y\ndone w1 x s=0.01\ndone w2 y s=0.01")
    stage(f"submit c f a redundant=yes\nwait {LEAST_S}\ndone w1 a#1")
    steps = story_of(stage.machine.state, "a")
    assert [(step["worker"], step["attempt"]) for step in steps[1:]] == [
        ("tcp://w1:1", 1),
        ("tcp://w2:1", 2),
        ("tcp://w1:1", 1),
    ]


# ---------------------------------------------------------------- rules


def second(state: SchedulerState) -> Second:
    return state.seconds[state.tasks["a"]]


BREAKAGES: list[tuple[str, Callable[[SchedulerState], object]]] = [
    ("only a PROCESSING task has had", lambda s: s.seconds.update({s.tasks["done"]: second(s)})),
    ("a number of its own", lambda s: setattr(second(s), "attempt", 1)),
    ("known to its worker, which is another", lambda s: s.workers["tcp://w2:1"].seconds.clear()),
    ("stays, and says what it does", lambda s: setattr(s.workers["tcp://w2:1"], "is_hung", True)),
    ("may run twice, and anywhere", lambda s: setattr(s.tasks["a"], "spec", TaskSpec(b"f"))),
    ("waits for nobody", lambda s: s.children.update(a={})),
    ("a worker's second attempts know it", lambda s: s.seconds.clear()),
    ("what was stopped is no second", lambda s: s.workers["tcp://w2:1"].stopping.update({("a", 2): None})),
]


@pytest.mark.parametrize(("rule", "break_it"), BREAKAGES, ids=[rule for rule, _ in BREAKAGES])
def test_a_broken_rule_is_named(twice: Stage, rule: str, break_it: Callable[[SchedulerState], object]) -> None:
    twice("submit c g done workers=w9")
    check_seconds(twice.machine.state)
    break_it(twice.machine.state)
    with pytest.raises(InvariantError, match=rule):
        check_seconds(twice.machine.state)


def test_a_worker_that_could_do_more_is_known_to_idle(stage: Stage) -> None:
    stage("worker w1")
    state = stage.machine.state
    state.workers["tcp://w1:1"].room = Room.CLOSED
    with pytest.raises(InvariantError, match="a thread free and nothing against it idles"):
        check_idlers(state)
