"""Locks and semaphores at the scheduler's machine: one holder, first come first served, nothing held by the dead."""

from __future__ import annotations

import pytest

from distributed.messages import Coordinate
from distributed.scheduler.state import Settings
from distributed.testing.asking import Counter


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_a_free_lock_is_had_at_once(counter):
    one = counter.ask("a", "lock", "acquire", "x")
    assert counter.answers[one].outcome == "done"
    assert counter.answers[one].names == ["x"]
    assert counter.outcome("b", "lock", "look", "x").outcome == "done"
    assert counter.outcome("b", "lock", "look", "y").outcome == "no"


def test_who_waits_the_longest_is_next(counter):
    asked = [counter.ask(client, "lock", "acquire", "x") for client in "abcb"]
    order = counter.answered()
    while order[-1] != asked[-1]:
        client, number = order[-1]
        assert counter.outcome(client, "lock", "release", "x", number=number).outcome == "done"
        order += counter.answered()
    assert order == asked


def test_who_does_not_wait_hears_no(counter):
    counter.ask("a", "lock", "acquire", "x")
    assert counter.outcome("b", "lock", "acquire", "x", waits=False).outcome == "no"
    assert counter.outcome("b", "lock", "acquire", "y", waits=False).outcome == "done"


def test_a_holder_that_leaves_holds_nothing(counter):
    counter.ask("a", "lock", "acquire", "x")
    counter.ask("a", "lock", "acquire", "x")  # it waits for itself
    other = counter.ask("b", "lock", "acquire", "x")
    counter.answered()
    counter.leave("a")
    assert counter.answered() == [other]
    counter.leave("b")
    assert not counter.machine.state.coordination.places


def test_a_request_that_is_withdrawn_leaves_the_row_or_gives_back(counter):
    one, two, three = (counter.ask(client, "lock", "acquire", "x") for client in "abc")
    counter.withdraw(two)
    counter.answered()
    counter.withdraw(one)  # it was granted, and the client did not want it any more
    assert counter.answered() == [three]
    assert counter.outcome("a", "lock", "release", "x", number=one[1]).outcome == "unknown"


def test_a_request_that_comes_twice_counts_once(counter):
    asked = counter.ask("a", "lock", "acquire", "x")
    counter.answers.clear()
    counter.tell("a", Coordinate(asked[1], "lock", ["x"], "acquire", None, True, 0, [], []))
    assert not counter.answers
    counter.outcome("a", "lock", "release", "x", number=asked[1])
    assert counter.outcome("b", "lock", "acquire", "x", waits=False).outcome == "done"


def test_only_the_holder_can_release(counter):
    asked = counter.ask("a", "lock", "acquire", "x")
    counter.ask("b", "event", "set", "e")
    assert counter.outcome("b", "lock", "release", "x", number=asked[1]).outcome == "unknown"
    assert counter.outcome("b", "lock", "look", "x").outcome == "done"


def test_several_locks_are_had_together_or_not_at_all(counter):
    one = counter.ask("a", "lock", "acquire", "x")
    both = counter.ask("b", "lock", "acquire", "x", "y", "x")
    other = counter.ask("c", "lock", "acquire", "y")
    assert counter.answered() == [one]  # c waits behind b, though y is free
    counter.ask("a", "lock", "release", "x", number=one[1])
    assert both in counter.answered()
    counter.ask("b", "lock", "release", "x", number=both[1])
    assert other in counter.answered()


def test_some_of_several_locks_do(counter):
    one = counter.ask("a", "lock", "acquire", "x")
    two = counter.ask("b", "lock", "acquire", "x", "y", "z", number=2)
    assert counter.answers[two].names == ["y", "z"]
    three = counter.ask("c", "lock", "acquire", "x", "y", number=1)
    counter.answers.clear()
    counter.leave("b")
    assert counter.answers[three].names == ["y"]
    assert counter.outcome("a", "lock", "acquire", "x", number=2).outcome == "refused"
    assert one


def test_opposite_orders_of_locks_never_wait_in_a_circle(counter):
    first = counter.ask("a", "lock", "acquire", "x", "y")
    second = counter.ask("b", "lock", "acquire", "y", "x")
    counter.answered()
    counter.ask("a", "lock", "release", "x", number=first[1])
    assert second in counter.answered()


def test_a_semaphore_lets_in_so_many(counter):
    asked = [counter.ask(client, "semaphore", "acquire", "s", number=2) for client in "abcd"]
    assert counter.answered() == asked[:2]
    assert counter.outcome("e", "semaphore", "look", "s").number == 2
    counter.ask("b", "semaphore", "release", "s", number=asked[1][1])
    assert asked[2] in counter.answered()
    counter.leave("a")
    assert counter.answered() == [asked[3]]


def test_all_must_agree_how_many_a_semaphore_lets_in(counter):
    counter.ask("a", "semaphore", "acquire", "s", number=2)
    answer = counter.outcome("b", "semaphore", "acquire", "s", number=3)
    assert (answer.outcome, answer.text) == ("refused", "others use 's' with max_leases=2, not 3")
    assert counter.outcome("b", "semaphore", "acquire", "t", number=0).outcome == "refused"


def test_a_long_wait_is_told_once_with_the_name_of_the_holder(counter):
    counter.ask("a", "lock", "acquire", "x", task="f-1")
    counter.wait(5)
    asked = counter.ask("b", "lock", "acquire", "x", task="g-2")
    counter.wait(9.9)
    assert not counter.warnings
    counter.wait(0.2)
    assert counter.warnings == {asked: "task g-2 has waited for 10 s at lock 'x': a (task f-1) has held it for 15 s"}
    counter.warnings.clear()
    counter.wait(100)
    assert not counter.warnings
    assert counter.machine.next_wakeup is None


def test_it_can_be_asked_for_whom_a_task_waits(counter):
    counter.ask("a", "lock", "acquire", "x", task="f-1")
    counter.ask("b", "lock", "acquire", "x", task="g-2")
    counter.ask("b", "event", "wait", "e", task="g-2")
    counter.wait(2)
    waits = counter.waits_of("g-2")
    assert [(wait.kind, wait.name, wait.blockers, wait.waited_s) for wait in waits] == [
        ("lock", "x", ["f-1"], 2.0),
        ("event", "e", [], 2.0),
    ]
    assert waits[1].text == "task g-2 has waited for 2 s at event 'e': nobody has set it"
    assert counter.waits_of("f-1") == []


@pytest.mark.parametrize(
    ("kind", "verb", "names"),
    [
        ("door", "open", ["x"]),
        ("lock", "open", ["x"]),
        ("lock", "acquire", []),
        ("lock", "acquire", [""]),
        ("lock", "acquire", ["x" * 1001]),
        ("event", "set", ["x", "y"]),
        ("queue", "put", ["q"]),
        ("lock", "acquire", [str(number) for number in range(1001)]),
    ],
)
def test_what_makes_no_sense_is_refused_and_harms_nobody(counter, kind, verb, names):
    assert counter.outcome("a", kind, verb, *names).outcome == "refused"
    assert not counter.machine.state.coordination.places


def test_there_is_a_limit_of_names(counter, monkeypatch):
    monkeypatch.setattr("distributed.scheduler.coordination.requests.NAMES_MAX", 3)
    for name in "xyz":
        counter.ask("a", "event", "set", name)
    assert counter.outcome("a", "event", "set", "w").outcome == "limit"


def test_there_is_a_limit_of_those_who_wait(counter, monkeypatch):
    monkeypatch.setattr("distributed.scheduler.coordination.answering.REQUESTS_MAX", 2)
    for _ in range(3):
        counter.ask("a", "lock", "acquire", "x")
    answer = counter.outcome("b", "lock", "acquire", "x")
    assert answer.outcome == "limit"
    assert "requests wait already" in answer.text


def test_the_time_of_a_long_wait_can_be_set():
    counter = Counter(Settings(long_wait_s=0.5))
    asked = counter.ask("a", "event", "wait", "e")
    counter.wait(0.5)
    assert list(counter.warnings) == [asked]
    assert counter.warnings[asked].startswith("this program has waited for 500 ms at event 'e'")


def test_there_is_a_limit_of_what_a_client_holds(counter, monkeypatch):
    monkeypatch.setattr("distributed.scheduler.coordination.requests.HELD_MAX", 2)
    for _ in range(2):
        counter.ask("a", "semaphore", "acquire", "s", number=1000)
    assert counter.outcome("a", "semaphore", "acquire", "s", number=1000).outcome == "limit"
    assert counter.outcome("b", "semaphore", "acquire", "s", number=1000).outcome == "done"
    assert counter.outcome("a", "semaphore", "look", "s").number == 3


def test_the_key_of_a_task_is_no_place_for_data(counter):
    assert counter.outcome("a", "lock", "acquire", "x", task="x" * 1001).outcome == "refused"
