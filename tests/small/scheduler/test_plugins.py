"""Plugins of a scheduler hear what has happened, get no records, and harm nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.scheduler.plugins import FAILURES_MAX, Plugins, SchedulerPlugin
from distributed.testing.scenarios import Stage


class Listener(SchedulerPlugin):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def transition(self, key: str, start: str, finish: str, because: str) -> None:
        self.heard.append((key, start, finish))

    def add_worker(self, worker: dict[str, Any]) -> None:
        self.heard.append(("joined", worker["address"], worker["nthreads"]))
        worker.clear()

    def remove_worker(self, address: str, reason: str) -> None:
        self.heard.append(("gone", address, reason))

    def take(self) -> list[Any]:
        heard, self.heard = self.heard, []
        return heard


class Broken(SchedulerPlugin):
    """Raises whatever it hears."""

    def __init__(self) -> None:
        self.calls = 0

    def transition(self, key: str, start: str, finish: str, because: str) -> None:
        self.calls += 1
        raise ValueError(key)


def plugins_of(stage: Stage) -> tuple[Plugins, list[Callable[[], object]]]:
    """Those of the machine on stage, and what they want called soon."""
    due: list[Callable[[], object]] = []
    return Plugins(stage.machine.state, due.append), due


def test_transitions_are_heard_once_in_order_after_the_event(stage: Stage) -> None:
    plugins, due = plugins_of(stage)
    listener = Listener()
    stage("client c")
    plugins.add(listener)
    stage("submit c f a b(a)\nworker w1\ndone w1 a")
    assert listener.heard == []
    assert len(due) == 1
    due.pop()()
    assert (
        listener.take()
        == [
            ("a", "released", "waiting"),
            ("b", "released", "waiting"),
            ("a", "waiting", "ready"),
            ("a", "ready", "processing"),
            ("a", "processing", "memory"),
            ("b", "waiting", "ready"),
            ("b", "ready", "processing"),
        ]
        or listener.take() == []
    )
    stage("done w1 b")
    due.pop()()
    assert listener.take() == [("b", "processing", "memory")]


def test_the_log_goes_on_as_before(stage: Stage) -> None:
    plugins, _ = plugins_of(stage)
    stage("client c\nsubmit c f a")
    before = stage("story a")
    plugins.add(Listener())
    assert stage("story a") == before
    stage("worker w1")
    assert len(stage("story a")) == len(before) + 1


def test_notices_stand_between_the_transitions_that_came_before_and_after(stage: Stage) -> None:
    plugins, due = plugins_of(stage)
    listener, other = Listener(), Listener()
    plugins.add(listener)
    plugins.add(other)
    stage("client c\nsubmit c f a\nworker w1 threads=2")
    plugins.note_worker("tcp://w1:1")
    stage("done w1 a")
    plugins.note("remove_worker", "tcp://w1:1", "it left")
    due.pop()()
    heard = listener.take()
    assert heard[-3:] == [
        ("joined", "tcp://w1:1", 2),
        ("a", "processing", "memory"),
        ("gone", "tcp://w1:1", "it left"),
    ]
    assert other.take() == heard  # each has its own copy of what it is told


def test_a_plugin_that_raises_harms_nobody_and_is_dropped_after_a_while(stage: Stage) -> None:
    plugins, due = plugins_of(stage)
    broken, listener = Broken(), Listener()
    plugins.add(broken)
    plugins.add(listener)
    stage("client c\nworker w1 threads=20\nsubmit c f " + " ".join(f"t{n}" for n in range(20)))
    due.pop()()
    assert broken.calls == FAILURES_MAX
    assert len(listener.take()) == 40
    stage("done w1 t0")
    due.pop()()
    assert broken.calls == FAILURES_MAX


def test_without_plugins_nothing_is_noted(stage: Stage) -> None:
    plugins, due = plugins_of(stage)
    plugins.note("add_client", "c")
    plugins.note_worker("tcp://w1:1")
    assert due == []


def test_a_plugin_of_the_same_name_takes_the_place_of_the_other_and_can_be_removed(stage: Stage) -> None:
    plugins, due = plugins_of(stage)
    first, second = Listener(), Listener()
    assert plugins.add(first, "p") == plugins.add(second, "p") == "p"
    stage("client c\nsubmit c f a")
    due.pop()()
    assert not first.heard
    assert second.heard
    plugins.remove("p")
    plugins.note("add_client", "d")
    assert due == []
