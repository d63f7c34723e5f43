"""Equipment in the worker's machine: taken in once, in order, before the tasks that came after it."""

from __future__ import annotations

from typing import Any

from distributed.messages import (
    CancelTasks,
    EquipmentFailed,
    EquipWorker,
    ReturnTasks,
    StopTasks,
    TasksReturned,
    TasksStopped,
    WorkerEquipped,
)
from distributed.worker.effects import DropEquipment, Equip, EquipItem
from distributed.worker.events import Equipped, FromScheduler, SchedulerLost

FAILURE = ["builtins.ImportError", "no", "", None]


def equip(worker: Any, *serials: int) -> int:
    """The scheduler sends equipment; the ticket of the effect that follows, which must be the only one."""
    names = [f"item-{serial}" for serial in serials]
    worker.receive(EquipWorker(list(serials), ["plugin"] * len(serials), names, [b"pickle"] * len(serials)))
    (effect,) = worker.take()
    assert effect.items == [EquipItem(s, "plugin", name, b"pickle") for s, name in zip(serials, names, strict=True)]
    ticket: int = effect.ticket
    return ticket


def test_tasks_wait_for_equipment_that_came_before_them(worker: Any) -> None:
    worker.run("before")
    assert worker.take_executed() == ["before"]
    ticket = equip(worker, 1, 2)
    worker.run("after", "later")
    assert worker.take() == []
    worker.handle(Equipped(ticket, {}))
    execute, told = worker.take()
    assert [task.key for task in execute.tasks] == ["after", "later"]
    assert told.message == WorkerEquipped([1, 2])


def test_tasks_wait_until_all_that_is_under_way_is_taken_in(worker: Any) -> None:
    first, second = equip(worker, 1), equip(worker, 2)
    worker.run("a")
    worker.handle(Equipped(first, {}))
    assert worker.take_messages() == [WorkerEquipped([1])]
    worker.handle(Equipped(second, {}))
    execute, _ = worker.take()
    assert [task.key for task in execute.tasks] == ["a"]


def test_what_could_not_be_taken_in_is_told_and_tasks_go_on(worker: Any) -> None:
    ticket = equip(worker, 1, 2, 3)
    worker.run("a")
    worker.handle(Equipped(ticket, {2: FAILURE}))
    execute, taken, failed = worker.take()
    assert [task.key for task in execute.tasks] == ["a"]
    assert taken.message == WorkerEquipped([1, 3])
    assert failed.message == EquipmentFailed([2], [FAILURE])


def test_equipment_said_twice_is_taken_in_once(worker: Any) -> None:
    ticket = equip(worker, 1)
    worker.receive(EquipWorker([1], ["plugin"], ["item-1"], [b"pickle"]))
    assert worker.take() == []
    worker.handle(Equipped(ticket, {}))
    assert worker.take_messages() == [WorkerEquipped([1])]
    worker.handle(Equipped(ticket, {}))
    assert worker.take() == []


def test_a_held_task_that_is_cancelled_never_begins(worker: Any) -> None:
    ticket = equip(worker, 1)
    worker.run("a", "b")
    worker.receive(CancelTasks(["a"]))
    assert worker.take() == []
    worker.handle(Equipped(ticket, {}))
    execute, _ = worker.take()
    assert [task.key for task in execute.tasks] == ["b"]


def test_a_held_task_that_is_asked_back_is_given_back_at_once(worker: Any) -> None:
    equip(worker, 1)
    worker.run("a", attempt=3)
    worker.receive(ReturnTasks(["a"], [3]))
    assert worker.take_messages() == [TasksReturned(["a"], [3], [])]


def test_a_held_task_that_is_to_stop_has_stopped_at_once(worker: Any) -> None:
    ticket = equip(worker, 1)
    worker.run("a", "b")
    worker.receive(StopTasks(["a"], [1]))
    assert worker.take_messages() == [TasksStopped(["a"], [1])]
    worker.handle(Equipped(ticket, {}))
    execute, _ = worker.take()
    assert [task.key for task in execute.tasks] == ["b"]


def test_a_newer_attempt_takes_the_place_of_one_that_is_held(worker: Any) -> None:
    ticket = equip(worker, 1)
    worker.run("a", attempt=1)
    worker.run("a", attempt=2)
    worker.handle(Equipped(ticket, {}))
    execute, _ = worker.take()
    assert [task.ticket for task in execute.tasks] == [worker.machine.state.tasks["a"].task.ticket]


def test_a_lost_scheduler_takes_its_equipment_along(worker: Any) -> None:
    ticket = equip(worker, 1)
    worker.run("a")
    worker.handle(SchedulerLost())
    (drop,) = [effect for effect in worker.take() if isinstance(effect, DropEquipment)]
    assert drop == DropEquipment()
    worker.handle(Equipped(ticket, {}))
    assert worker.take() == []
    again = equip(worker, 1)  # the next scheduler begins its serials anew
    assert again > ticket


def test_a_lost_scheduler_without_equipment_leaves_nothing_to_drop(worker: Any) -> None:
    worker.handle(SchedulerLost())
    assert worker.take() == []


def test_equipment_does_not_hold_what_runs(worker: Any) -> None:
    worker.run("a")
    worker.take()
    worker.handle(FromScheduler(EquipWorker([1], ["file"], ["a.py"], [b""])))
    assert isinstance(worker.take()[0], Equip)
    worker.finish("a")
    assert "a" in worker.machine.state.memory
