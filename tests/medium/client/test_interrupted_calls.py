"""Calls of a client that Ctrl-C, or an interrupt of the task that makes them, ends halfway: the next ones work."""

from __future__ import annotations

from typing import Any

import pytest

from distributed import Client
from distributed.actors.calling import ActorCalls
from distributed.client.link import SchedulerLink
from distributed.testing.functions import inc

PATIENCE_S = 20


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


class BreakingLoop:
    """A loop whose next wake-up is interrupted."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.is_broken = False

    def call_soon_threadsafe(self, *args: Any) -> Any:
        if not self.is_broken:
            self.is_broken = True
            raise KeyboardInterrupt
        return self._loop.call_soon_threadsafe(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@pytest.fixture
def client(background: Any) -> Any:
    with Client(background.address) as client:
        yield client


def test_a_wake_up_that_was_interrupted_is_made_by_the_next_call(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    link: SchedulerLink = client._live().link
    first = client.submit(inc, 1)  # held, since letting go wakes the loop too
    assert first.result(PATIENCE_S) == 2
    client.nthreads()  # has been to the loop and back
    assert not link._awake
    breaking: Any = BreakingLoop(link._loop)
    monkeypatch.setattr(link, "_loop", breaking)
    with pytest.raises(KeyboardInterrupt):
        client.submit(inc, 2)
    assert breaking.is_broken
    assert client.submit(inc, 3).result(PATIENCE_S) == 4


def test_a_call_of_an_actor_that_was_interrupted_leaves_with_the_next(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = client.submit(Counter, actor=True).result(PATIENCE_S)
    assert actor.add().result(PATIENCE_S) == 1
    calls: ActorCalls = client._live().actors.actor_calls
    breaking: Any = BreakingLoop(None)
    for line in calls._links.values():
        breaking._loop = line._loop
        monkeypatch.setattr(line, "_loop", breaking)
        monkeypatch.setattr(line, "_shortcut", None)
    with pytest.raises(KeyboardInterrupt):
        actor.add()
    assert breaking.is_broken
    assert actor.add().result(PATIENCE_S) == 3


def test_a_submit_that_was_interrupted_leaves_no_key_that_is_never_sent(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client._live()
    admit, admitted = session.table.admit, []

    def interrupted(key: str) -> Any:
        if len(admitted) == 2:
            raise KeyboardInterrupt
        admitted.append(key)
        return admit(key)

    monkeypatch.setattr(session.table, "admit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.map(inc, range(5))
    monkeypatch.undo()
    assert client.gather(client.map(inc, range(5))) == [1, 2, 3, 4, 5]
    assert client.submit(inc, 7).result(PATIENCE_S) == 8  # what was released has been told before
    assert not any(key in session.table.records for key in admitted)
