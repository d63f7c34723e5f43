"""Tasks of a worker: from the scheduler to the executor and back. Copies of other workers' data: test_copies.py."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.errors import InvariantError, ProtocolError
from distributed.messages import (
    CancelTasks,
    DataAdded,
    ForgetFunctions,
    KeysDone,
    ReleaseData,
    RunOptions,
    ServerClosing,
    TasksDone,
    TasksFailed,
    TasksMissingData,
)
from distributed.worker.effects import DropData, DropFunctions, Execute, Keep, ReadyTask, ToScheduler, Withdraw
from distributed.worker.events import DataPut, FromScheduler, Outcome, SchedulerLost, TasksExecuted
from distributed.worker.machine import WorkerMachine
from distributed.worker.records import (
    COPY_TRANSITIONS,
    TASK_TRANSITIONS,
    CopyRecord,
    CopyState,
    TaskRecord,
    TaskState,
    move_copy,
    move_task,
)

FAILURE = ["builtins.ValueError", "no", "", None]


def test_tasks_without_dependencies_go_to_the_executor_at_once_and_in_order(worker: Any) -> None:
    worker.run("a", "b", wanted=[True, False])
    assert worker.take() == [
        Execute(
            [
                ReadyTask("a", 1, b"f", b"blob", b"a", True, None),
                ReadyTask("b", 2, b"f", b"blob", b"b", False, None),
            ]
        )
    ]


def test_each_task_calls_its_own_function(worker: Any) -> None:
    worker.run("a", "b", functions={b"f": b"F", b"g": b"G"}, digests=[b"f", b"g"], digest_of=[1, 0])
    (execute,) = worker.take()
    assert [(task.digest, task.function) for task in execute.tasks] == [(b"g", b"G"), (b"f", b"F")]


def test_a_function_is_known_until_it_is_forgotten(worker: Any) -> None:
    worker.run("a")
    worker.run("b", functions={})
    assert worker.take_executed() == ["a", "b"]
    worker.receive(ForgetFunctions([b"f", b"never known"]))
    assert worker.take() == [DropFunctions([b"f"])]
    worker.run("c", functions={})
    (failed,) = worker.take_messages()
    assert isinstance(failed, TasksFailed)
    assert failed.keys == ["c"]
    assert failed.attempts == [1]
    (name, text, _, _) = failed.failures[0]
    assert name == "distributed.errors.FunctionLoadError"
    assert b"f".hex() in text


def test_an_unknown_function_fails_only_its_own_tasks(worker: Any) -> None:
    worker.run("a", "b", digests=[b"f", b"unknown"], digest_of=[1, 0])
    execute, failed = worker.take()
    assert [task.key for task in execute.tasks] == ["b"]
    assert failed.message.keys == ["a"]


def test_outcomes_are_kept_and_told_in_one_message(worker: Any) -> None:
    worker.run("a", "b", "c", attempt=3)
    worker.take()
    worker.handle(
        TasksExecuted([worker.outcome("b", "B", 7), worker.outcome("a", failure=FAILURE), worker.outcome("c", "C", 8)])
    )
    assert worker.take() == [
        Keep(["b", "c"], ["B", "C"], [7, 8]),
        ToScheduler(TasksDone(["b", "c"], [3, 3], [7, 8], [b"payload"] * 2, [0.25] * 2)),
        ToScheduler(TasksFailed(["a"], [3], [FAILURE], [0.25])),
    ]
    assert worker.machine.state.memory == {"b": 7, "c": 8}
    assert not worker.machine.state.tasks


def test_a_task_whose_data_is_here_runs_at_once(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.finish("a")
    worker.run("b", who_has={"a": ["tcp://me:1"]})
    assert worker.take_executed() == ["b"]


def test_a_task_cancelled_before_it_began_is_withdrawn(worker: Any) -> None:
    worker.run("a", "b")
    worker.take()
    worker.receive(CancelTasks(["a", "unknown"]))
    assert worker.take() == [Withdraw(["a"])]


def test_the_result_of_a_task_cancelled_while_it_ran_is_ignored(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.receive(CancelTasks(["a"]))
    assert worker.take() == [Withdraw(["a"])]
    worker.handle(TasksExecuted([worker.outcome("a")]))
    assert worker.take() == []
    assert not worker.machine.state.memory


def test_the_result_of_a_task_cancelled_just_after_it_ended_is_dropped(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.finish("a")
    worker.receive(CancelTasks(["a"]))
    assert worker.take() == [DropData(["a"])]


def test_a_newer_attempt_replaces_the_one_that_still_runs(worker: Any) -> None:
    worker.run("a", attempt=1)
    worker.take()
    late = worker.outcome("a", "late")
    worker.run("a", attempt=2)
    withdraw, execute = worker.take()
    assert withdraw == Withdraw(["a"])
    assert [task.ticket for task in execute.tasks] == [2]
    worker.handle(TasksExecuted([late]))
    assert worker.take() == []
    worker.handle(TasksExecuted([worker.outcome("a", "new")]))
    keep, done = worker.take()
    assert keep.values == ["new"]
    assert done.message.attempts == [2]


def test_a_late_outcome_after_the_new_one_changes_nothing(worker: Any) -> None:
    worker.run("a", attempt=1)
    worker.take()
    late = worker.outcome("a", "late")
    worker.run("a", attempt=2)
    worker.take()
    worker.finish("a")
    worker.handle(TasksExecuted([late]))
    assert worker.take() == []


def test_the_same_attempt_under_a_new_scheduler_is_another_run(worker: Any) -> None:
    worker.run("a", attempt=1)
    worker.take()
    late = worker.outcome("a", "late")
    worker.handle(SchedulerLost())
    worker.take()
    worker.run("a", attempt=1)
    worker.take()
    worker.handle(TasksExecuted([late]))
    assert worker.take() == []


def test_a_task_said_twice_runs_once(worker: Any) -> None:
    worker.run("a", attempt=2)
    worker.run("a", attempt=2)
    worker.run("a", attempt=1)
    assert worker.take_executed() == ["a"]


def test_a_result_that_is_here_is_computed_again_when_asked(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.finish("a")
    worker.run("a", attempt=2)
    assert worker.take_executed() == ["a"]
    worker.handle(TasksExecuted([worker.outcome("a", "again", 9)]))
    keep, _ = worker.take()
    assert keep == Keep(["a"], ["again"], [9])


def test_released_data_is_dropped_once(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.finish("a")
    worker.receive(ReleaseData(["a", "unknown"]))
    assert worker.take() == [DropData(["a"])]
    worker.receive(ReleaseData(["a"]))
    assert worker.take() == []


def test_a_task_whose_data_went_before_it_began_is_given_back(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.finish("a")
    worker.run("b", who_has={"a": ["tcp://me:1"]})
    worker.take()
    worker.receive(ReleaseData(["a"]))
    worker.take()
    worker.handle(TasksExecuted([worker.outcome("b", missing=["a"])]))
    assert worker.take_messages() == [TasksMissingData(["b"], [1], [["a"]], [[["a", "tcp://me:1"]]])]


def test_scattered_data_is_kept_and_reported_with_its_client(worker: Any) -> None:
    worker.handle(DataPut("client-1", {"x": 1, "y": 2}, {"x": 10, "y": 20}))
    assert worker.take() == [
        Keep(["x", "y"], [1, 2], [10, 20]),
        ToScheduler(DataAdded(["x", "y"], [10, 20], "client-1")),
    ]
    worker.handle(DataPut("client-1", {}, {}))
    assert worker.take() == []


def test_all_is_dropped_when_the_scheduler_is_lost(worker: Any) -> None:
    worker.run("a", "b")
    worker.take()
    worker.finish("a")
    worker.handle(SchedulerLost())
    assert worker.take() == [DropFunctions([b"f"]), Withdraw(["b"]), DropData(["a"])]
    assert not worker.machine.state.functions
    worker.handle(SchedulerLost())
    assert worker.take() == []


def test_the_farewell_of_the_scheduler_changes_nothing_by_itself(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.receive(ServerClosing("maintenance"))
    assert worker.take() == []


def test_a_message_that_is_not_for_workers_is_refused() -> None:
    machine = WorkerMachine("tcp://me:1", 1)
    with pytest.raises(ProtocolError, match="KeysDone"):
        machine.handle(FromScheduler(KeysDone([], [], [])), 0.0)
    assert machine.take_effects() == []


@pytest.mark.parametrize("before", TaskState)
@pytest.mark.parametrize("after", TaskState)
def test_a_task_only_makes_the_moves_of_its_table(before: TaskState, after: TaskState) -> None:
    record = TaskRecord(ReadyTask("a", 1, b"f", b"", b"", True, None), 1, before)
    if after in TASK_TRANSITIONS[before]:
        move_task(record, after)
        assert record.state is after
    else:
        with pytest.raises(InvariantError, match=f"a: {before.name} -> {after.name}"):
            move_task(record, after)


@pytest.mark.parametrize("before", CopyState)
@pytest.mark.parametrize("after", CopyState)
def test_a_copy_only_makes_the_moves_of_its_table(before: CopyState, after: CopyState) -> None:
    record = CopyRecord("a", 1, [], state=before)
    if after in COPY_TRANSITIONS[before]:
        move_copy(record, after)
        assert record.state is after
    else:
        with pytest.raises(InvariantError, match=f"a: {before.name} -> {after.name}"):
            move_copy(record, after)


def test_a_result_that_could_not_be_read_is_here_no_more(worker: Any) -> None:
    worker.handle(DataPut("c", {"x": "X"}, {"x": 5}))
    worker.run("a", dependencies=[["x"]])
    worker.take()
    worker.handle(TasksExecuted([Outcome("a", worker.tickets["a"], None, 0, None, 0.0, None, ["x"])]))
    dropped, missing = worker.take()
    assert dropped == DropData(["x"])
    assert missing.message.gone == [[["x", "tcp://me:1"]]]
    assert worker.machine.state.memory == {}


def test_a_tasks_own_memory_limit_goes_to_the_executor(worker: Any) -> None:
    worker.run("a", "b", options=[RunOptions(), RunOptions(memory_limit_nbytes=7)], option_of=[0, 1])
    (execute,) = worker.take()
    assert [task.options.memory_limit_nbytes for task in execute.tasks] == [0, 7]


def test_what_arrives_can_be_asked_for(worker: Any) -> None:
    assert worker.machine.incoming_nbytes() == 0
    worker.run("a", dependencies=[["x"]], who_has={"x": ["tcp://p:1"]}, nbytes={"x": 50})
    worker.take()
    assert worker.machine.incoming_nbytes() == 50
