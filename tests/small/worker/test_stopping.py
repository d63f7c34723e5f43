"""What a worker's machine does when tasks are to stop, and with data that its nanny has rescued."""

from __future__ import annotations

from typing import Any

from distributed.messages import DataRescued as RescuedMessage
from distributed.messages import StopTasks, TasksStopped
from distributed.worker.effects import DropData, Execute, Keep, Stop, ToScheduler
from distributed.worker.events import DataRescued, SchedulerLost, StopBegun, TasksExecuted


def stop(worker: Any, *pairs: tuple[str, int]) -> None:
    worker.receive(StopTasks([key for key, _ in pairs], [attempt for _, attempt in pairs]))


def test_what_may_run_is_stopped_and_answered_when_it_has_ended(worker: Any) -> None:
    worker.run("a")
    worker.take()
    outcome = worker.outcome("a")
    stop(worker, ("a", 1))
    assert worker.take() == [Stop({"a": outcome.ticket})]
    worker.handle(StopBegun([]))
    assert worker.take() == []
    worker.handle(TasksExecuted([outcome]))
    assert worker.take_messages() == [TasksStopped(["a"], [1])]


def test_what_had_not_begun_has_stopped_at_once(worker: Any) -> None:
    worker.run("a", "b")
    worker.take()
    stop(worker, ("a", 1), ("b", 1))
    worker.take()
    worker.handle(StopBegun([worker.tickets["b"]]))
    assert worker.take_messages() == [TasksStopped(["b"], [1])]
    worker.handle(TasksExecuted([worker.outcome("a")]))
    assert worker.take_messages() == [TasksStopped(["a"], [1])]


def test_what_waits_for_data_has_stopped_at_once(worker: Any) -> None:
    worker.run("t", who_has={"x": ["tcp://peer:1"]})
    worker.take()
    stop(worker, ("t", 1))
    assert worker.take_messages() == [TasksStopped(["t"], [1])]


def test_what_has_ended_has_stopped_and_its_result_is_dropped(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.finish("a")
    stop(worker, ("a", 1), ("unknown", 3))
    effects = worker.take()
    assert effects == [DropData(["a"]), ToScheduler(TasksStopped(["a", "unknown"], [1, 3]))]


def test_a_stop_that_is_said_twice_is_answered_once_for_what_runs(worker: Any) -> None:
    worker.run("a")
    worker.take()
    stop(worker, ("a", 1))
    worker.take()
    stop(worker, ("a", 1))
    assert worker.take() == []
    worker.handle(TasksExecuted([worker.outcome("a")]))
    assert worker.take_messages() == [TasksStopped(["a"], [1])]


def test_an_older_attempt_does_not_stop_a_newer_one(worker: Any) -> None:
    worker.run("a", attempt=2)
    worker.take()
    stop(worker, ("a", 1))
    assert worker.take_messages() == [TasksStopped(["a"], [1])]
    worker.finish("a")


def test_a_stopped_task_that_is_sent_again_is_stopped_first(worker: Any) -> None:
    worker.run("a")
    worker.take()
    old = worker.outcome("a")
    stop(worker, ("a", 1))
    worker.take()
    worker.run("a", attempt=2)
    [effect] = worker.take()
    assert isinstance(effect, Execute)
    worker.handle(TasksExecuted([old, worker.outcome("a")]))
    kinds = [type(effect) for effect in worker.take()]
    assert kinds == [Keep, ToScheduler, ToScheduler]


def test_a_new_scheduler_hears_nothing_of_what_the_old_one_stopped(worker: Any) -> None:
    worker.run("a")
    worker.take()
    stop(worker, ("a", 1))
    worker.take()
    worker.handle(SchedulerLost())
    worker.take()
    worker.handle(TasksExecuted([worker.outcome("a")]))
    assert worker.take() == []


def test_rescued_data_is_kept_and_told(worker: Any) -> None:
    worker.handle(DataRescued({"x": "value"}, {"x": 5}))
    assert worker.take() == [Keep(["x"], ["value"], [5]), ToScheduler(RescuedMessage(["x"], [5]))]
    worker.handle(DataRescued({}, {}))
    assert worker.take() == []
