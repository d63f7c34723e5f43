"""The machine's door: events in, effects out, and the one table of transitions."""

from __future__ import annotations

import pytest

from distributed.errors import InvariantError
from distributed.messages import Heartbeat, KeysLost, ReleaseKeys
from distributed.scheduler.events import ClientJoined, FromClient, FromWorker, WorkerJoined
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.records import TRANSITIONS, TaskState
from distributed.scheduler.state import booked, transition
from distributed.testing.scenarios import Stage


def test_an_unknown_event_is_our_own_fault() -> None:
    with pytest.raises(InvariantError, match="knows no event str"):
        SchedulerMachine().handle("hello", 0.0)  # type: ignore[arg-type]


def test_a_message_from_the_wrong_side_is_our_own_fault() -> None:
    machine = SchedulerMachine()
    machine.handle(ClientJoined("c"), 0.0)
    with pytest.raises(InvariantError, match="'keys-lost' from the wrong side"):
        machine.handle(FromClient("c", KeysLost([], False)), 0.0)


def test_messages_of_strangers_are_ignored() -> None:
    machine = SchedulerMachine()
    machine.handle(FromClient("c", ReleaseKeys(["a"])), 0.0)
    machine.handle(FromWorker("tcp://w:1", "1", Heartbeat([], {})), 0.0)
    machine.handle(WorkerJoined("tcp://w:1", "1", "w", 1, None, None, {}, "h"), 0.0)
    machine.take_effects()
    machine.handle(FromWorker("tcp://w:1", "2", Heartbeat([], {"load": 1.0})), 0.0)
    assert machine.take_effects() == []
    assert machine.state.workers["tcp://w:1"].metrics == {}


def test_effects_are_taken_once(stage: Stage) -> None:
    assert stage("worker w1") == ["w1 accepted as w1/1"]
    assert stage.machine.take_effects() == []


def test_a_story_tells_what_happened(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a b\ndone w1 a\nrelease c a")
    assert stage("story a") == [
        "RELEASED -> READY: c",
        "READY -> PROCESSING: w1",
        "PROCESSING -> MEMORY: w1",
        "MEMORY -> FORGOTTEN: nobody needs it",
    ]


def test_only_ways_in_the_table_can_be_gone(stage: Stage) -> None:
    stage("client c\nsubmit c f a")
    state = stage.machine.state
    task = state.tasks["a"]
    with pytest.raises(InvariantError, match="a: no way from READY to MEMORY"):
        transition(state, task, TaskState.MEMORY, "why not")
    with pytest.raises(InvariantError, match="1 tasks: no way from FORGOTTEN to READY"):
        booked(state, [task], TaskState.FORGOTTEN, TaskState.READY, "why not")


def test_the_table_names_every_state_and_nothing_returns_from_the_forgotten() -> None:
    assert set(TRANSITIONS) == set(TaskState)
    assert not TRANSITIONS[TaskState.FORGOTTEN]
    assert all(TaskState.FORGOTTEN in ways for state, ways in TRANSITIONS.items() if state is not TaskState.FORGOTTEN)


def test_a_record_names_itself_and_its_state(stage: Stage) -> None:
    stage("client c\nsubmit c f a")
    assert repr(stage.machine.state.tasks["a"]) == "<task a READY>"


def test_messages_of_one_event_are_one_per_receiver(stage: Stage) -> None:
    stage("client c\nworker w1 threads=3\nsubmit c f a b\nsubmit c g d")
    assert stage("done w1 a b d") == ["c <- done a=result b=result d=result"]


def test_one_message_may_run_several_functions(stage: Stage) -> None:
    stage("client c\nsubmit c f a ~x y(x)\nsubmit c g b")
    assert stage("worker w1 threads=3") == ["w1 accepted as w1/1", "w1 <- run a#1 ~x#1 b#1 +f +g"]
