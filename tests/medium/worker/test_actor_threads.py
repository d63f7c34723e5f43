"""The threads of actors: started when called, bounded, given to others, ended when idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from distributed.actors.calling import RAISED, RETURNED
from distributed.messages import RunOptions
from distributed.protocol.serialize import dumps_payload, loads_payload
from distributed.testing.processes import wait_until
from distributed.worker.actor_calls import ActorCall
from distributed.worker.actors import Actors, House, housed
from distributed.worker.context import current_key
from distributed.worker.effects import ReadyTask

PATIENCE_S = 10.0


class Probe:
    """Tells which thread it runs in, and may be made to wait."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def where(self) -> int:
        return threading.get_ident()

    def key(self) -> str | None:
        return current_key()

    def wait(self) -> str:
        self.begun.set()
        self.go.wait(PATIENCE_S)
        return "went"

    def __del__(self) -> None:
        ENDED.append(threading.get_ident())


ENDED: list[int] = []


class Answers:
    """In the place of a caller's stream: what was answered, by number."""

    def __init__(self) -> None:
        self.answers: dict[int, tuple[int, Any]] = {}

    def answer(self, number: int, kind: int, value: Any) -> None:
        self.answers[number] = (kind, value)

    def wait(self, number: int) -> Any:
        wait_until(lambda: number in self.answers, "it is so")
        kind, value = self.answers[number]
        return loads_payload(value) if kind == RETURNED else value


class Stage:
    """Actors without a worker."""

    def __init__(self, actors: Actors) -> None:
        self.actors = actors
        self.caller = Answers()
        self.houses: dict[str, House] = {}
        self._number = 0

    def make(self, key: str) -> Probe:
        probe = Probe()
        task = ReadyTask(key, 1, b"", None, None, True, None, 0, RunOptions(actor=True))
        house = self.houses[key] = housed(task, probe, "tcp://me:1", 0.0).actor
        self.actors.keep({key: house})
        return probe

    def call(self, key: str, name: str) -> int:
        self._number += 1
        call = ActorCall(self.caller, self._number, name, False, dumps_payload(((), {})))  # type: ignore[arg-type]
        self.actors.submit(key, self.houses[key].actor, call)
        return self._number


def threads_of_actors() -> int:
    return sum(thread.name.startswith("distributed-actor-") for thread in threading.enumerate())


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """At most two threads, which end after the time given, else never."""
    ENDED.clear()
    before = threads_of_actors()
    stage = Stage(Actors("tcp://me:1", threads_max=2, idle_s=getattr(request, "param", 1000.0)))
    yield stage
    stage.actors.close()
    wait_until(lambda: not (threads_of_actors() > before), "it is so")
    assert threads_of_actors() == before


def test_an_actor_has_one_thread_and_its_context(stage: Stage) -> None:
    stage.make("a")
    assert threads_of_actors() == 0
    first, second = (stage.caller.wait(stage.call("a", "where")) for _ in range(2))
    assert first == second != threading.get_ident()
    assert stage.caller.wait(stage.call("a", "key")) == "a"
    assert threads_of_actors() == 1


@pytest.mark.parametrize("stage", [0.001], indirect=True)
def test_an_idle_thread_ends_and_another_one_takes_over(stage: Stage) -> None:
    stage.make("a")
    for _ in range(3):
        assert stage.caller.wait(stage.call("a", "where"))
        wait_until(lambda: not (threads_of_actors()), "it is so")
        assert not threads_of_actors()


def test_an_idle_thread_makes_room_for_an_actor_that_waits(stage: Stage) -> None:
    for key in "abcdef":
        stage.make(key)
        assert stage.caller.wait(stage.call(key, "key")) == key
        assert threads_of_actors() <= 2
    assert stage.caller.wait(stage.call("a", "key")) == "a"


def test_of_more_actors_than_threads_some_wait_for_their_turn(stage: Stage) -> None:
    busy = [stage.make(key) for key in "ab"]
    waiting = [stage.call(key, "wait") for key in "ab"]
    for probe in busy:
        assert probe.begun.wait(PATIENCE_S)
    stage.make("c")
    third = stage.call("c", "key")
    assert threads_of_actors() == 2 and third not in stage.caller.answers
    busy[0].go.set()
    assert stage.caller.wait(third) == "c"
    busy[1].go.set()
    assert [stage.caller.wait(number) for number in waiting] == ["went", "went"]


def test_the_object_goes_in_a_thread_of_its_own(stage: Stage) -> None:
    stage.make("a")
    where = stage.caller.wait(stage.call("a", "where"))
    stage.houses.clear()
    stage.actors.end(["a"], "it was released")
    wait_until(lambda: ENDED, "it is so")
    assert [where] == ENDED


def test_calls_that_wait_fail_with_their_actor(stage: Stage) -> None:
    probe = stage.make("a")
    running, waiting = stage.call("a", "wait"), stage.call("a", "where")
    assert probe.begun.wait(PATIENCE_S)
    stage.actors.end(["a"], "it was released")
    late = stage.call("a", "where")
    assert stage.caller.wait(late)[0] == "distributed.errors.ActorLostError"
    probe.go.set()
    for call in (running, waiting):  # it waited in C, where the interrupt comes behind the wait only
        assert stage.caller.wait(call)[0] == "distributed.errors.ActorLostError"
    assert stage.caller.answers[waiting][0] == RAISED
