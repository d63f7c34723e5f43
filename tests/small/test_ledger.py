"""The ledger: every message exactly once, in order, whatever is cut when; and its bounds."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import ProtocolError
from distributed.ledger import ASK_NBYTES, CONFIRM_COUNT, Ledger


class Side:
    """A ledger, what was sent through it, what came, and what is on its way to the other side."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.said: list[Any] = []
        self.heard: list[Any] = []
        self.wire: deque[tuple[str, Any]] = deque()

    def say(self, message: Any, nbytes: int, is_connected: bool) -> None:
        asks = self.ledger.send(message, nbytes)
        self.said.append(message)
        if is_connected:
            self.wire.append(("message", message))
            if asks:
                self.wire.append(("ask", None))

    def hear(self, kind: str, content: Any) -> None:
        if kind == "ack":
            self.ledger.confirmed(content)
            return
        is_due = True
        if kind == "message":
            is_due = self.ledger.receive()
            self.heard.append(content)
        if is_due:
            self.wire.append(("ack", self.ledger.confirm()))


def resume(one: Side, two: Side) -> None:
    """What a new connection begins with."""
    for here, there in ((one, two), (two, one)):
        assert here.ledger.can_resume(there.ledger.received)
        here.wire = deque(("message", message) for message in here.ledger.missing(there.ledger.received))


STEPS = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 1), st.sampled_from([1, 1000, ASK_NBYTES])),
    st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(1, 100)),
    st.tuples(st.just("cut"), st.just(0), st.just(0)),
    st.tuples(st.just("resume"), st.just(0), st.just(0)),
    st.tuples(st.just("idle"), st.integers(0, 1), st.just(0)),
)


@given(st.lists(STEPS, max_size=300))
def test_every_message_arrives_once_and_in_order(steps: list[tuple[str, int, int]]) -> None:
    sides = [Side(), Side()]
    is_connected, count = True, 0
    for step, which, number in steps:
        side, other = sides[which], sides[1 - which]
        if step == "say":
            count += 1
            side.say(count, number, is_connected)
        elif step == "deliver" and is_connected:
            for _ in range(min(number, len(side.wire))):
                other.hear(*side.wire.popleft())
        elif step == "cut":
            is_connected = False
            for cut in sides:
                cut.wire.clear()  # a new connection, or none: nothing of the old one arrives
        elif step == "resume" and not is_connected:
            resume(*sides)
            is_connected = True
        elif step == "idle" and is_connected and side.ledger.owes:
            side.wire.append(("ack", side.ledger.confirm()))
        for here, there in (sides, sides[::-1]):
            assert there.heard == here.said[: len(there.heard)], "in order, none twice, none left out"
    if not is_connected:
        resume(*sides)
    for _ in range(2):  # the second time for confirmations
        for here, there in (sides, sides[::-1]):
            while here.wire:
                there.hear(*here.wire.popleft())
    assert sides[0].heard == sides[1].said and sides[1].heard == sides[0].said


def test_confirmed_messages_are_kept_no_longer() -> None:
    ledger = Ledger()
    for number in range(5):
        ledger.send(number, 10)
    ledger.confirmed(3)
    assert ledger.nbytes == 20
    assert ledger.missing(4) == [4]
    assert ledger.nbytes == 10
    assert not ledger.can_resume(3) and not ledger.can_resume(6) and ledger.can_resume(5)


@pytest.mark.parametrize("count", [1, 6, -1])
def test_a_count_that_cannot_be_is_refused(count: int) -> None:
    ledger = Ledger()
    for number in range(5):
        ledger.send(number, 10)
    ledger.confirmed(2)
    with pytest.raises(ProtocolError, match="5 were sent"):
        ledger.confirmed(count)
    assert ledger.missing(2) == [2, 3, 4], "nothing changed"


def test_a_confirmation_is_due_after_many_messages_or_asked_for_after_many_bytes() -> None:
    ledger = Ledger()
    assert [ledger.receive() for _ in range(CONFIRM_COUNT)] == [False] * (CONFIRM_COUNT - 1) + [True]
    assert ledger.owes and ledger.confirm() == CONFIRM_COUNT and not ledger.owes
    assert not ledger.receive() and ledger.owes
    assert not ledger.send("a", ASK_NBYTES - 1)
    assert ledger.send("b", 1)
    assert not ledger.send("c", 1)
    small = Ledger(count_max=2)
    assert [small.send(number, 1) for number in range(2)] == [False, True], "who may send no more asks"


@pytest.mark.parametrize(("count_max", "nbytes_max"), [(3, 1000), (1000, 30)])
def test_who_cannot_wait_forgets_the_oldest(count_max: int, nbytes_max: int) -> None:
    ledger = Ledger(count_max, nbytes_max)
    for number in range(10):
        ledger.send(number, 10)
        if ledger.is_full:
            ledger.trim()
    assert ledger.nbytes == 20
    assert not ledger.can_resume(7)
    assert ledger.missing(8) == [8, 9]
    with pytest.raises(ProtocolError):
        ledger.confirmed(7)


def test_one_message_may_be_larger_than_all_that_is_kept() -> None:
    ledger = Ledger(nbytes_max=10)
    assert not ledger.is_full
    ledger.send("big", 1000)
    assert ledger.is_full
    ledger.confirmed(1)
    assert not ledger.is_full and ledger.nbytes == 0
