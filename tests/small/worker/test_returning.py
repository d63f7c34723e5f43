"""Tasks that the scheduler asks back: each is answered once, returned or kept, never both."""

from __future__ import annotations

from typing import Any

from distributed.messages import CancelTasks, ReturnTasks, RunOptions, TasksDone, TasksReturned
from distributed.worker.effects import Fetch, GiveBack, Withdraw
from distributed.worker.events import DataFetched, DataPut, SchedulerLost, TasksExecuted, TasksWithdrawn

P = "tcp://p:1"


def test_a_task_that_waits_for_data_is_returned_at_once(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]}, attempt=3)
    assert worker.take() == [Fetch(P, ["x"])]
    worker.receive(ReturnTasks(["t"], [3]))
    assert worker.take_messages() == [TasksReturned(["t"], [3], [])]
    worker.handle(DataFetched(P, {"x": 1}, {"x": 1}))
    assert worker.take() == []


def test_of_tasks_with_the_executor_those_that_had_not_begun_are_returned(worker: Any) -> None:
    worker.run("a", "b", attempt=2)
    worker.take()
    worker.receive(ReturnTasks(["a", "b"], [2, 2]))
    (give_back,) = worker.take()
    assert give_back == GiveBack({"a": 1, "b": 2})
    worker.handle(TasksWithdrawn(give_back.tickets, ["b"]))
    assert worker.take_messages() == [TasksReturned(["b"], [2], ["a"])]
    worker.handle(TasksExecuted([worker.outcome("a")]))
    assert worker.take()[1].message.keys == ["a"]


def test_what_is_not_known_or_of_another_attempt_is_kept(worker: Any) -> None:
    worker.run("a", attempt=2)
    worker.take()
    worker.receive(ReturnTasks(["a", "never"], [1, 1]))
    assert worker.take_messages() == [TasksReturned([], [], ["a", "never"])]


def test_asking_twice_returns_once(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.receive(ReturnTasks(["a"], [1]))
    worker.receive(ReturnTasks(["a"], [1]))
    first, second = worker.take()
    worker.handle(TasksWithdrawn(first.tickets, ["a"]))
    worker.handle(TasksWithdrawn(second.tickets, []))
    assert worker.take_messages() == [TasksReturned(["a"], [1], []), TasksReturned([], [], ["a"])]


def test_a_task_that_ends_before_the_executor_says_so_is_kept(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.receive(ReturnTasks(["a"], [1]))
    (give_back,) = worker.take()
    worker.handle(TasksExecuted([worker.outcome("a")]))
    worker.handle(TasksWithdrawn(give_back.tickets, []))
    _, done, returned = worker.take()
    assert isinstance(done.message, TasksDone)
    assert returned.message == TasksReturned([], [], ["a"])


def test_a_task_replaced_meanwhile_is_not_returned_in_place_of_the_new_one(worker: Any) -> None:
    worker.run("a", attempt=1)
    worker.take()
    worker.receive(ReturnTasks(["a"], [1]))
    (give_back,) = worker.take()
    worker.run("a", attempt=2)
    withdraw, execute = worker.take()
    assert withdraw == Withdraw(["a"])
    worker.handle(TasksWithdrawn(give_back.tickets, ["a"]))
    assert worker.take_messages() == [TasksReturned([], [], ["a"])]
    worker.handle(TasksExecuted([worker.outcome("a")]))
    assert worker.take()[1].message.attempts == [2]
    assert [task.key for task in execute.tasks] == ["a"]


def test_a_cancelled_task_is_not_returned(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.receive(ReturnTasks(["a"], [1]))
    (give_back,) = worker.take()
    worker.receive(CancelTasks(["a"]))
    assert worker.take() == [Withdraw(["a"])]
    worker.handle(TasksWithdrawn(give_back.tickets, ["a"]))
    assert worker.take_messages() == [TasksReturned([], [], ["a"])]


def test_a_lost_scheduler_gets_nothing_back(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.receive(ReturnTasks(["a"], [1]))
    (give_back,) = worker.take()
    worker.handle(SchedulerLost())
    worker.take()
    worker.handle(TasksWithdrawn(give_back.tickets, ["a"]))
    assert worker.take_messages() == [TasksReturned([], [], ["a"])]


def test_ranks_follow_priority_and_then_dependencies(worker: Any) -> None:
    worker.handle(DataPut("client", {"x": 1}, {"x": 1}))
    worker.take()
    dependencies = [None, ["x"], None, ["x"], None]
    worker.run(
        "r",
        "d",
        "R",
        "D",
        "low",
        who_has={"x": []},
        dependencies=dependencies,
        options=[RunOptions(), RunOptions(9), RunOptions(-1)],
        option_of=[0, 0, 1, 1, 2],
    )
    (execute,) = worker.take()
    assert [task.key for task in sorted(execute.tasks, key=lambda task: task.rank)] == ["D", "R", "d", "r", "low"]
