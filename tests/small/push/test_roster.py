"""Which workers are alive, who gets the next files, and what becomes of jobs. Times are numbers."""

from __future__ import annotations

import json

import pytest

from distributed.push.roster import MISSES_MAX, Roster, Status
from distributed.push.statuses import parse_status


def status(idle: int = 1, total: int = 1, life: str = "life", jobs: tuple[str, ...] = (), cpu: float = 0.0) -> Status:
    return Status(life, total, idle, cpu, jobs)


def roster(*paths: str, urls: str = "vw", **statuses: Status) -> Roster:
    made = Roster(list(urls))
    for url in urls:
        made.answered(url, statuses.get(url, status()), 0, 0)
    for path in paths:
        made.dispatch.add(path)
    return made


def test_the_least_loaded_worker_gets_the_next_files() -> None:
    """H19: least-loaded choice, by the share of processes that are busy, then by what else the machine does."""
    assert roster(v=status(1, 2), w=status(3, 4)).select(0) == "w"
    assert roster(v=status(1, 1, cpu=90), w=status(1, 1, cpu=5)).select(0) == "w"
    assert roster(v=status(0, 8), w=status(1, 8)).select(0) == "w"
    assert roster(v=status(0, 1), w=status(0, 1)).select(0) is None
    assert roster().select(0) == "v"
    assert roster().select(0, but=["v"]) == "w"


def test_a_worker_gets_no_more_jobs_than_it_has_idle_processes() -> None:
    made = roster("a", "b", "c", urls="v", v=status(2, 2))
    assert made.begin("v", "j1", 1, 1) is not None
    assert made.select(1) == "v"
    assert made.begin("v", "j2", 1, 1) is not None
    assert made.select(1) is None
    made.done(made.workers["v"].jobs["j1"], "a", 2)
    assert made.select(2) == "v"


def test_a_worker_that_misses_polls_is_lost_and_its_files_go_to_others() -> None:
    """H19: dead after missed heartbeats, alive again when it answers."""
    made = roster("a")
    job = made.begin("v", "j", 1, 1)
    assert job is not None
    made.accepted(job, 1)
    for _ in range(MISSES_MAX - 1):
        made.missed("v", "silent")
    assert made.workers["v"].state == "alive"
    assert made.select(2) == "w", "nothing new for a worker that does not answer"
    made.missed("v", "silent")
    assert (made.workers["v"].state, made.workers["v"].reason) == ("lost", "silent")
    again = made.begin("w", "k", 3, 1)
    assert again is not None and list(again.paths) == ["a"]
    made.answered("v", status(), 4, 4)
    assert (made.workers["v"].state, made.workers["v"].reason) == ("alive", "")


def test_a_worker_whose_port_nobody_listens_at_is_lost_at_once() -> None:
    made = roster("a")
    made.begin("v", "j", 1, 1)
    made.missed("v", "refused", is_gone=True)
    assert made.workers["v"].state == "lost"
    assert made.dispatch.waiting_count == 1


def test_a_worker_that_was_started_anew_has_lost_its_jobs() -> None:
    made = roster("a", urls="v")
    job = made.begin("v", "j", 1, 1)
    assert job is not None
    made.accepted(job, 1)
    made.answered("v", status(life="another", jobs=("j",)), 2, 2)
    assert made.dispatch.waiting_count == 1
    assert not made.workers["v"].jobs


def test_a_job_that_was_taken_and_is_in_no_later_status_is_lost() -> None:
    made = roster("a", urls="v")
    job = made.begin("v", "j", 1, 1)
    assert job is not None
    made.answered("v", status(), 0.5, 2)
    assert made.workers["v"].jobs, "it is still being sent"
    made.accepted(job, 3)
    made.answered("v", status(), 2.9, 4)
    assert made.workers["v"].jobs, "this status was asked for before the worker had it"
    made.answered("v", status(0, jobs=("j",)), 5, 6)
    assert made.workers["v"].jobs
    made.answered("v", status(), 7, 8)
    assert not made.workers["v"].jobs
    assert made.dispatch.waiting_count == 1


def test_a_status_does_not_count_processes_that_were_given_away_since_it_was_asked_for() -> None:
    made = roster("a", "b", urls="v", v=status(2, 2))
    made.begin("v", "j", 5, 1)
    made.answered("v", status(2, 2), 4, 6)
    assert made.workers["v"].free == 1


def test_a_worker_that_refuses_is_left_alone_for_as_long_as_it_wants() -> None:
    made = roster("a", urls="v")
    job = made.begin("v", "j", 1, 1)
    assert job is not None
    made.refused(job, 1, 5)
    assert made.select(5.9) is None
    assert made.select(6) == "v"


def test_a_batch_leaves_enough_for_others() -> None:
    made = roster(*map(str, range(100)), v=status(1, 1), w=status(4, 4))
    job = made.begin("v", "j", 0, 256)
    assert job is not None and len(job.paths) == 10  # of 100, for twice five processes
    made.sized(job, {"0": 5}, ["8", "9"])
    assert len(job.paths) == 8
    following = made.begin("w", "k", 0, 1)
    assert following is not None and list(following.paths) == ["8"]


def test_late_outcomes_of_a_job_that_was_taken_away_are_known() -> None:
    made = roster("a", urls="v")
    job = made.begin("v", "j", 0, 1)
    assert job is not None
    made.missed("v", "refused", is_gone=True)
    assert made.job("j") is job
    made.done(job, "a", 9)
    assert made.dispatch.is_settled
    assert made.job("k") is None


def test_a_file_that_was_not_begun_waits_again_and_one_that_failed_is_given_up_in_the_end() -> None:
    made = roster("a", "b", urls="v")
    for number in range(2):
        job = made.begin("v", f"j{number}", 0, 1)
        assert job is not None and list(job.paths) == ["a"]
        assert made.undone(job, "a", None) is None
    reasons = []
    for number in range(10):
        job = made.begin("v", f"k{number}", 0, 1)
        if job is None:
            break
        reasons.append(made.undone(job, next(iter(job.paths)), "bad"))
    assert sorted(filter(None, reasons)) == ["bad (the last of 3 attempts)"] * 2


GOOD = {"name": "n", "id": "i", "processes": {"total": 2, "idle": 1}, "cpu_percent": 1.5, "jobs": ["j"]}


def test_a_status_is_read() -> None:
    assert parse_status(json.dumps(GOOD)) == Status("i", 2, 1, 1.5, frozenset(["j"]))


@pytest.mark.parametrize(
    "change",
    [
        {"id": 5}, {"id": ""}, {"processes": {"total": 0, "idle": 0}}, {"processes": {"total": 1, "idle": 2}},
        {"processes": {"total": True, "idle": 0}}, {"processes": {"total": 1, "idle": -1}}, {"processes": []},
        {"processes": {"total": 10**9, "idle": 1}}, {"cpu_percent": "x"}, {"cpu_percent": None}, {"jobs": "j"},
        {"jobs": [1]}, {"jobs": {}}, {"jobs": ["j" * 101]},
        {"cpu_percent": float("nan")}, {"cpu_percent": float("inf")}, {"cpu_percent": -1}, {"cpu_percent": 10**400},
    ],
)  # fmt: skip
def test_nonsense_is_no_status(change: dict[str, object]) -> None:
    assert parse_status(json.dumps({**GOOD, **change})) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[" * 5000, "5"])
def test_text_that_is_no_json_object_is_no_status(text: str) -> None:
    assert parse_status(text) is None
