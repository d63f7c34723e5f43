"""What the machine of a worker does with the objects of actors; their threads: tests/medium/worker."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.messages import CancelTasks, ReleaseData, TasksDone
from distributed.worker.effects import DropData, EndActors, Keep, KeepActors, ToScheduler, Withdraw
from distributed.worker.events import SchedulerLost, TasksExecuted


@pytest.fixture
def made(worker: Any) -> Any:
    """The object "house" of the actor `a` lives here."""
    worker.run("a")
    worker.handle(TasksExecuted([worker.outcome("a", "proxy", actor="house")]))
    worker.take()
    return worker


def test_the_object_of_an_actor_stays_beside_its_proxy(worker: Any) -> None:
    worker.run("a")
    worker.take_executed()
    worker.handle(TasksExecuted([worker.outcome("a", "proxy", actor="house")]))
    assert worker.take() == [
        KeepActors({"a": "house"}),
        Keep(["a"], ["proxy"], [5]),
        ToScheduler(TasksDone(["a"], [1], [5], [b"payload"], [0.25])),
    ]
    assert worker.machine.state.actors == {"a": None}


def test_a_released_actor_ends(made: Any) -> None:
    made.receive(ReleaseData(["a"]))
    assert made.take() == [EndActors(["a"], "it was released"), DropData(["a"])]
    assert made.machine.state.actors == {}


def test_a_cancelled_actor_ends(made: Any) -> None:
    made.receive(CancelTasks(["a"]))
    assert made.take() == [EndActors(["a"], "it was released"), DropData(["a"])]


def test_other_data_goes_without_a_word_to_actors(made: Any) -> None:
    made.run("b")
    made.take()
    made.finish("b")
    made.receive(ReleaseData(["b"]))
    assert made.take() == [DropData(["b"])]
    assert made.machine.state.actors == {"a": None}


def test_actors_end_when_the_scheduler_is_lost(made: Any) -> None:
    made.handle(SchedulerLost())
    assert EndActors(["a"], "its worker has lost the scheduler") in made.take()
    assert made.machine.state.actors == {}


def test_an_actor_that_was_cancelled_while_it_was_made_never_lives(worker: Any) -> None:
    worker.run("a")
    worker.take()
    outcome = worker.outcome("a", "proxy", actor="house")
    worker.receive(CancelTasks(["a"]))
    assert worker.take() == [Withdraw(["a"])]
    worker.handle(TasksExecuted([outcome]))
    assert worker.take() == []
    assert worker.machine.state.actors == {}


def test_an_actor_that_is_made_again_takes_the_place_of_the_old_one(made: Any) -> None:
    made.run("a", attempt=2)
    made.take()
    made.handle(TasksExecuted([made.outcome("a", "proxy", actor="new house")]))
    effects = made.take()
    assert effects.index(EndActors(["a"], "it was released")) < effects.index(KeepActors({"a": "new house"}))
