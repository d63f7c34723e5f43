"""What ran when, worked out from what workers say of many tasks at once."""

from __future__ import annotations

from typing import Any, cast

import pytest

from distributed.scheduler import ended
from distributed.scheduler.ended import EndedTasks
from distributed.testing.scenarios import Stage


def add(tasks: EndedTasks, *batch: Any) -> None:
    tasks.batches.append(cast(Any, batch))
    tasks.count += len(batch[3])
    if tasks.count >= tasks.trim_at:
        tasks.trim()


def test_tasks_of_a_thread_follow_each_other() -> None:
    tasks = EndedTasks()
    add(tasks, "w", 1, 10.0, ["a", "b"], [1.0, 2.0], "finished")
    _, runs = tasks.runs(0, 100)
    assert [(run.key, run.thread, run.start, run.stop) for run in runs] == [("a", 0, 7.0, 8.0), ("b", 0, 8.0, 10.0)]


def test_tasks_of_several_threads_overlap() -> None:
    tasks = EndedTasks()
    add(tasks, "w", 2, 10.0, ["a", "b", "c"], [1.0, 2.0, 1.5], "finished")
    _, runs = tasks.runs(0, 100)
    assert [(run.key, run.thread, run.start, run.stop) for run in runs] == [
        ("a", 0, 7.5, 8.5),
        ("b", 1, 8.0, 10.0),
        ("c", 0, 8.5, 10.0),
    ]


def test_threads_are_told_apart_over_messages() -> None:
    tasks = EndedTasks()
    add(tasks, "w", 2, 10.0, ["a"], [1.0], "finished")
    add(tasks, "w", 2, 10.001, ["b"], [1.0], "finished")
    add(tasks, "w", 2, 11.0, ["c"], [1.0], "error")
    add(tasks, "v", 1, 11.0, ["d"], [1.0], "finished")
    add(tasks, "w", 2, 11.5, ["late"], [1.0], "finished")  # more than threads at a time: its message took its time
    _, runs = tasks.runs(0, 100)
    assert [(run.key, run.thread) for run in runs] == [("a", 0), ("b", 1), ("c", 1), ("d", 0), ("late", 0)]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "TASKS_MAX", 10)
    monkeypatch.setattr(ended, "SLACK", 1)
    tasks = EndedTasks(trim_at=10)
    for number in range(8):
        add(tasks, "w", 1, float(number), [f"{number}a", f"{number}b", f"{number}c"], [0.1] * 3, "finished")
    following, runs = tasks.runs(0, 100)
    assert following == tasks.count == 24
    assert [run.key for run in runs] == [f"{number}{letter}" for number in (5, 6, 7) for letter in "abc"]


def test_runs_come_in_pieces() -> None:
    tasks = EndedTasks()
    for number in range(4):
        add(tasks, "w", 1, float(number), [f"{number}a", f"{number}b"], [0.1] * 2, "finished")
    following, runs = tasks.runs(1, 2)
    assert (following, [run.key for run in runs]) == (4, ["0b", "1a", "1b"])
    assert [run.key for run in tasks.runs(following, 100)[1]] == ["2a", "2b", "3a", "3b"]
    assert tasks.first_since(2.0) == 4 and tasks.first_since(99.0) == 8 and tasks.rate(3.0, 2.0) == 3.0


def test_the_machine_remembers_what_returned_and_what_raised(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f a b\ndone w1 a s=0.5\nfailed w1 b")
    _, runs = stage.machine.state.ended.runs(0, 10)
    assert [(run.key, run.worker, run.status) for run in runs] == [
        ("a", "tcp://w1:1", "finished"),
        ("b", "tcp://w1:1", "error"),
    ]
    stage("done w1 a#1")
    assert stage.machine.state.ended.count == 2, "a late answer does not count twice"
