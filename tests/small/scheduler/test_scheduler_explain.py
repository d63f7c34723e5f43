"""Why a task is where it is, and what people may see of the state."""

from __future__ import annotations

import pickle

import pytest

from distributed.scheduler import snapshot
from distributed.scheduler.explain import why
from distributed.testing.scenarios import Stage
from distributed.why import BLOCKERS_MAX, Why


@pytest.fixture
def small(stage: Stage) -> Stage:
    """Client c, worker w1 with one thread."""
    stage("client c\nworker w1")
    return stage


@pytest.mark.parametrize(
    ("story", "reason", "blockers", "words"),
    [
        ("states", "unknown", [], "never submitted, released or cancelled"),
        ("submit c f a", "with-worker", ["tcp://w1:1"], "(attempt 1)"),
        ("submit c f a\ndone w1 a", "done", ["tcp://w1:1"], "1 worker(s) hold it"),
        ("submit c f a\nfailed w1 a", "failed", [], "ValueError: a is bad"),
        ("submit c f ~a b(a)\ndone w1 a\ndone w1 b", "released", [], "computed again"),
        ("submit c f x y a(x,y)", "dependencies", ["x", "y"], "waits for 2 dependencies, first x"),
        ("submit c f x a", "busy", [], "all 1 workers are busy"),
        ("left w1\nsubmit c f a", "no-workers", [], "there are no workers"),
        ("submit c f a workers=w7", "no-match", [], "may only run on w7; none of the 1 workers"),
        ("submit c f a gpu:2", "no-match", [], "with gpu=2"),
        ("submit c f a workers=w1 gpu:2", "no-match", [], "on tcp://w1:1 with gpu=2"),
        ("submit c f x\nsubmit c f a workers=w1", "busy", ["tcp://w1:1"], "all 1 matching workers are busy"),
        ("submit c f x\nworker w2 gpu:1\nsubmit c f y a gpu:1", "busy", ["tcp://w2:1"], "with gpu=1"),
        ("worker w2 gpu:1 threads=2\nsubmit c f y a gpu:1", "resources", ["tcp://w2:1"], "others use them now"),
        (
            "submit c f a\nleft w1\nsubmit c f b\nworker w2 name=x\nsubmit c f z",
            "with-worker",
            ["tcp://w2:1"],
            "attempt 2",
        ),
        ("worker w2\nsubmit c f a x\nleft w1", "suspect", ["tcp://w2:1"], "ran when 1 worker(s) died"),
    ],
)
def test_the_reason_why_is_told(small: Stage, story: str, reason: str, blockers: list[str], words: str) -> None:
    small(story)
    answer = why(small.machine.state, "a")
    assert (answer.reason, answer.blockers) == (reason, blockers)
    assert words in answer
    assert answer.startswith("a ") and answer.rstrip(".") and "\n" not in answer


def test_a_task_of_a_lost_worker_names_it(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\nleft w1")
    answer = why(stage.machine.state, "a")
    assert (answer.reason, answer.state, answer.blockers) == ("lost", "processing", ["tcp://w1:1"])


def test_blockers_are_bounded(small: Stage) -> None:
    keys = [f"k{number}" for number in range(50)]
    small(f"submit c f {' '.join(keys)} a({','.join(keys)})")
    answer = why(small.machine.state, "a")
    assert "50 dependencies" in answer
    assert len(answer.blockers) == BLOCKERS_MAX


def test_an_answer_is_a_text_that_survives_a_pickle() -> None:
    answer = Why("because", "ready", "busy", ["w"])
    copy = pickle.loads(pickle.dumps(answer))
    assert (copy, copy.state, copy.reason, copy.blockers) == ("because", "ready", "busy", ["w"])


def test_a_restriction_to_nobody_is_said(small: Stage) -> None:
    small("submit c f a workers=")
    assert "no-match" in small("why a")[0]


def test_workers_are_shown_in_joining_order(stage: Stage) -> None:
    stage("client c\nworker w2 threads=2 gpu:1 nanny\nworker w1\nheartbeat w1 load=2\nsubmit c f a gpu:1")
    info = snapshot.workers_info(stage.machine.state)
    assert list(info) == ["tcp://w2:1", "tcp://w1:1"]
    assert info["tcp://w2:1"] == {
        "type": "Worker",
        "id": "w2",
        "name": "w2",
        "address": "tcp://w2:1",
        "host": "w2",
        "incarnation": "w2/1",
        "nanny": "tcp://nanny:1",
        "nthreads": 2,
        "memory_limit": None,
        "resources": {"gpu": 1.0},
        "resources_free": {"gpu": 0.0},
        "processing": 1,
        "holds": 0,
        "occupancy_s": 0.05,
        "status": "running",
        "metrics": {},
    }
    assert info["tcp://w1:1"]["metrics"] == {"load": 2.0}
    lost = stage.machine.state.workers["tcp://w2:1"]
    stage("left w2")
    assert snapshot.worker_info(lost)["status"] == "lost"


def test_tables_are_shown_in_full_or_by_name(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nworker w2\nsubmit c f a b\nsubmit c f d(a)\ndone w1 a nbytes=7")
    state = stage.machine.state
    assert snapshot.ncores(state) == {"tcp://w1:1": 2, "tcp://w2:1": 1}
    assert snapshot.ncores(state, ["tcp://w2:1", "tcp://none:1"]) == {"tcp://w2:1": 1}
    assert snapshot.who_has(state) == {"a": ["tcp://w1:1"], "b": [], "d": []}
    assert snapshot.who_has(state, ["a", "zzz"]) == {"a": ["tcp://w1:1"], "zzz": []}
    assert snapshot.has_what(state) == {"tcp://w1:1": ["a"], "tcp://w2:1": []}
    assert snapshot.has_what(state, ["tcp://w1:1", "tcp://none:1"]) == {"tcp://w1:1": ["a"], "tcp://none:1": []}
    assert snapshot.processing(state) == {"tcp://w1:1": ["b", "d"], "tcp://w2:1": []}
    assert snapshot.nbytes_of(state) == {"a": 7}
    assert snapshot.nbytes_of(state, ["a", "b", "zzz"]) == {"a": 7}
    assert snapshot.clients_info(state) == {"c": {"wanted": 3, "functions": 1}}
    assert snapshot.counts(state) == {
        "released": 0,
        "waiting": 0,
        "ready": 0,
        "processing": 2,
        "memory": 1,
        "erred": 0,
        "forgotten": 0,
    }


def test_one_task_is_shown_without_its_payloads(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a\ndone w1 a\nsubmit c f b(a) workers=w1,w2 gpu:1 priority=3 retries=2")
    assert snapshot.task_info(stage.machine.state, "b") == {
        "key": "b",
        "state": "ready",
        "attempt": 0,
        "deaths": 0,
        "retries_left": 2,
        "priority": 3,
        "workers": ["tcp://w1:1", "w2"],
        "resources": {"gpu": 1.0},
        "nbytes": 0,
        "dependencies": ["a"],
        "dependents": [],
        "wanted_by": ["c"],
        "who_has": [],
        "processing_on": None,
    }
    stage("submit c f d")
    shown = snapshot.task_info(stage.machine.state, "d")
    assert shown is not None and shown["processing_on"] == "tcp://w1:1" and shown["workers"] is None
    assert snapshot.task_info(stage.machine.state, "zzz") is None


def test_a_story_has_times_workers_and_attempts(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f a retries=1\nwait 2\nfailed w1 a s=1\nwait 1\ndone w1 a")
    steps = snapshot.story_of(stage.machine.state, "a")
    assert [(step["at"], step["start"], step["finish"], step["worker"], step["attempt"]) for step in steps] == [
        (0.0, "released", "ready", None, None),
        (0.0, "ready", "processing", "tcp://w1:1", 1),
        (2.0, "processing", "ready", "tcp://w1:1", 1),
        (2.0, "ready", "processing", "tcp://w2:1", 2),
    ]


def test_an_earlier_life_of_a_key_has_no_numbers(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a\ndone w1 a\nrelease c a\nsubmit c f a")
    attempts = [step["attempt"] for step in snapshot.story_of(stage.machine.state, "a")]
    assert attempts == [None, None, None, None, None, 1]


def test_what_waits_for_a_task_that_cannot_run_says_so(small: Stage) -> None:
    small("submit c f a workers=w7\nsubmit c f b(a) d(b)")
    answer = why(small.machine.state, "d")
    assert answer.reason == "dependencies"
    assert answer == "d waits for 1 dependencies, first b. a may only run on w7; none of the 1 workers is such a one."
