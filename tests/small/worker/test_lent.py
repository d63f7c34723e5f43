"""What a worker's machine tells of tasks that lend their slot, and in which order tasks run."""

from __future__ import annotations

from typing import Any

from distributed.messages import CancelTasks, RunOptions, TasksDone, TasksLent, TasksRejoined
from distributed.worker.effects import Execute
from distributed.worker.events import TasksExecuted, TasksLending
from distributed.worker.records import DEPTH_MAX, rank_of


def lend(worker: Any, is_lent: bool, *keys: str) -> None:
    worker.handle(TasksLending({key: (worker.tickets[key], is_lent) for key in keys}))


def test_the_scheduler_hears_of_tasks_that_lend_and_go_on(worker: Any) -> None:
    worker.run("a", "b", attempt=3)
    worker.take()
    lend(worker, True, "a", "b")
    assert worker.take_messages() == [TasksLent(["a", "b"], [3, 3])]
    lend(worker, False, "b")
    assert worker.take_messages() == [TasksRejoined(["b"], [3])]


def test_what_the_scheduler_knows_is_not_said_again(worker: Any) -> None:
    worker.run("a")
    worker.take()
    lend(worker, False, "a")
    assert worker.take_messages() == []
    lend(worker, True, "a")
    worker.take()
    lend(worker, True, "a")
    assert worker.take_messages() == []


def test_a_task_that_has_ended_says_enough(worker: Any) -> None:
    worker.run("a", "b")
    worker.take()
    worker.handle(TasksExecuted([worker.outcome("a")]))
    worker.receive(CancelTasks(["b"]))
    lend(worker, True, "a", "b")
    assert not any(isinstance(message, TasksLent) for message in map(_message, worker.take()))


def test_an_older_run_of_the_same_key_says_nothing(worker: Any) -> None:
    worker.run("a")
    old = worker.tickets["a"]
    worker.run("a", attempt=2)
    worker.take()
    worker.handle(TasksLending({"a": (old, True)}))
    assert worker.take_messages() == []


def test_the_end_of_a_task_that_lends_is_told_as_any(worker: Any) -> None:
    worker.run("a")
    worker.take()
    lend(worker, True, "a")
    worker.take()
    worker.handle(TasksExecuted([worker.outcome("a")]))
    assert TasksDone in [type(_message(effect)) for effect in worker.take()]


def test_rank_goes_by_priority_then_depth_then_dependencies(worker: Any) -> None:
    options = [RunOptions(), RunOptions(depth=1), RunOptions(priority=1), RunOptions(priority=-1, depth=DEPTH_MAX + 5)]
    worker.run("top", "child", "urgent", "last", options=options, option_of=[0, 1, 2, 3])
    (execute,) = worker.take()
    assert isinstance(execute, Execute)
    assert [task.key for task in sorted(execute.tasks, key=lambda task: task.rank)] == [
        "urgent",
        "child",
        "top",
        "last",
    ]
    assert rank_of(RunOptions()) == 0 and all(task.rank % 2 == 0 for task in execute.tasks)


def _message(effect: Any) -> Any:
    return getattr(effect, "message", None)
