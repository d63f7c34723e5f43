"""Events, queues, variables, topics and datasets at the scheduler's machine: nothing is lost, doubled or leaked."""

from __future__ import annotations

import pytest

from distributed.messages import KeysCancelled, KeysDone, ReleaseKeys, SubmitTasks, TasksDone, TaskSpec, WantKeys
from distributed.scheduler.events import FromWorker, WorkerJoined
from distributed.scheduler.records import TaskState
from distributed.scheduler.state import Settings
from distributed.testing.asking import Counter


@pytest.fixture
def counter() -> Counter:
    return Counter()


def put(counter, client, value, **rest):
    return counter.ask(client, "queue", "put", "q", item=value, **rest)


def test_an_event_lets_go_all_who_wait_and_all_who_come(counter):
    asked = [counter.ask(client, "event", "wait", "e") for client in "aba"]
    assert not counter.answers
    setter = counter.ask("c", "event", "set", "e")
    assert counter.answered() == [setter, *asked]
    assert counter.outcome("a", "event", "wait", "e", waits=False).outcome == "done"
    counter.ask("c", "event", "clear", "e")
    assert counter.outcome("a", "event", "look", "e").outcome == "no"
    assert counter.outcome("a", "event", "wait", "e", waits=False).outcome == "no"
    assert not counter.machine.state.coordination.places


def test_items_come_in_order_and_once(counter):
    for value in (b"1", b"2", b"3"):
        put(counter, "a", value)
    counter.answers.clear()
    one, two = counter.ask("b", "queue", "get", "q", number=1), counter.ask("c", "queue", "get", "q", number=2)
    assert counter.answers[one].items == [b"1"]
    assert counter.answers[two].items == [b"2", b"3"]
    three = counter.ask("b", "queue", "get", "q", number=1)
    assert three not in counter.answers
    put(counter, "a", b"4")
    assert counter.answers[three].items == [b"4"]
    counter.take(one, three)
    counter.take(two)
    assert counter.machine.state.coordination.nbytes == 0


def test_an_item_that_was_not_taken_comes_back_to_its_place(counter):
    for value in (b"1", b"2", b"3", b"4"):
        put(counter, "a", value)
    one, two = (counter.ask(client, "queue", "get", "q", number=1) for client in "bc")
    counter.withdraw(two)
    counter.leave("b")
    assert counter.outcome("d", "queue", "look", "q").number == 4
    assert counter.outcome("d", "queue", "get", "q", number=0).items == [b"1", b"2", b"3", b"4"]
    assert one


def test_who_waits_for_several_gives_back_what_he_has_when_he_is_withdrawn(counter):
    several = counter.ask("a", "queue", "get", "q", number=3)
    put(counter, "b", b"1")
    put(counter, "b", b"2")
    single = counter.ask("c", "queue", "get", "q", number=1)
    counter.withdraw(several)
    assert counter.answers[single].items == [b"1"]
    assert counter.outcome("c", "queue", "get", "q").items == [b"2"]


def test_a_full_queue_takes_more_when_there_is_room(counter):
    asked = [put(counter, client, client.encode(), number=2) for client in "abcd"]
    assert counter.answered() == asked[:2]
    got = counter.ask("e", "queue", "get", "q", number=1)
    assert counter.answered() == [got, asked[2]]
    assert counter.outcome("e", "queue", "put", "q", item=b"x", waits=False).outcome == "no"
    counter.withdraw(asked[3])
    assert counter.outcome("e", "queue", "get", "q").items == [b"b", b"c"]


def test_a_queue_that_is_closed_is_empty(counter):
    put(counter, "a", b"1", number=1)
    waits = put(counter, "b", b"2", number=1)
    counter.answers.clear()
    counter.ask("c", "queue", "close", "q")
    assert waits in counter.answered()
    assert counter.outcome("c", "queue", "get", "q").items == [b"2"]


def test_a_variable_is_seen_by_all_and_replaced(counter):
    waits = counter.ask("a", "variable", "get", "v")
    counter.ask("b", "variable", "set", "v", item=b"1")
    assert counter.answers[waits].items == [b"1"]
    counter.ask("b", "variable", "set", "v", item=b"2")
    assert counter.outcome("c", "variable", "get", "v").items == [b"2"]
    counter.ask("c", "variable", "delete", "v")
    assert counter.outcome("c", "variable", "get", "v", waits=False).outcome == "no"
    assert not counter.machine.state.coordination.places


def test_a_subscriber_gets_what_is_published_after_he_came(counter):
    assert counter.outcome("a", "topic", "publish", "t", item=b"0").number == 0
    _, number = counter.ask("b", "topic", "subscribe", "t", number=10)
    for value in (b"1", b"2"):
        assert counter.outcome("a", "topic", "publish", "t", item=value).number == 1
    assert counter.outcome("b", "topic", "next", "t", number=number).items == [b"1", b"2"]
    waits = counter.ask("b", "topic", "next", "t", number=number)
    counter.ask("a", "topic", "publish", "t", item=b"3")
    assert counter.answers[waits].items == [b"3"]


def test_the_oldest_messages_are_dropped_and_that_is_said(counter):
    _, number = counter.ask("b", "topic", "subscribe", "t", number=2)
    for value in (b"1", b"2", b"3", b"4"):
        counter.ask("a", "topic", "publish", "t", item=value)
    answer = counter.outcome("b", "topic", "next", "t", number=number)
    assert (answer.items, answer.number) == ([b"3", b"4"], 2)
    counter.ask("a", "topic", "publish", "t", item=b"5")
    assert counter.outcome("b", "topic", "next", "t", number=number).number == 0


def test_a_subscription_ends_with_its_client_or_when_he_says(counter):
    _, first = counter.ask("b", "topic", "subscribe", "t", number=2)
    counter.ask("c", "topic", "subscribe", "t", number=2)
    waits = counter.ask("b", "topic", "next", "t", number=first)
    counter.ask("b", "topic", "unsubscribe", "t", number=first)
    assert counter.answers[waits].outcome == "unknown"
    counter.ask("a", "topic", "publish", "t", item=b"1")
    counter.leave("c")
    assert not counter.machine.state.coordination.places
    assert counter.outcome("b", "topic", "next", "t", number=first).outcome == "unknown"


def test_a_dataset_is_found_by_name_until_it_is_unpublished(counter):
    assert counter.outcome("a", "dataset", "publish", "d", item=b"1").outcome == "done"
    assert counter.outcome("b", "dataset", "publish", "d", item=b"2").outcome == "taken"
    assert counter.outcome("b", "dataset", "publish", "d", item=b"3", number=1).outcome == "done"
    counter.leave("a")
    counter.leave("b")
    assert counter.outcome("c", "dataset", "get", "d").items == [b"3"]
    assert counter.outcome("c", "dataset", "list", "-").names == ["d"]
    assert counter.outcome("c", "dataset", "unpublish", "d").outcome == "done"
    assert counter.outcome("c", "dataset", "unpublish", "d").outcome == "unknown"
    assert counter.outcome("c", "dataset", "get", "d").outcome == "unknown"


def test_there_is_a_limit_of_bytes(counter):
    counter = Counter(Settings(coordination_nbytes_max=3_000))
    assert counter.outcome("a", "variable", "set", "v", item=bytes(2_000)).outcome == "done"
    answer = counter.outcome("a", "queue", "put", "q", item=bytes(2_000))
    assert answer.outcome == "limit"
    assert "2,256 bytes of items are kept, 3,000 at most" in answer.text
    counter.ask("a", "variable", "delete", "v")
    assert counter.outcome("a", "queue", "put", "q", item=bytes(2_000)).outcome == "done"


# ---------------------------------------------------------------- futures in items


def submit(counter, client, *keys):
    counter.ask(client, "event", "clear", "joined")
    counter.tell(client, SubmitTasks({b"f": b"code"}, [TaskSpec(b"f")], None, list(keys), [b""] * len(keys), None))


def state_of(counter, key):
    task = counter.machine.state.tasks.get(key)
    return None if task is None else task.state


def test_a_future_in_an_item_is_held_until_whoever_gets_it_holds_it(counter):
    submit(counter, "a", "k")
    put(counter, "a", b"ref", keys=("k",))
    counter.tell("a", ReleaseKeys(["k"]))
    assert state_of(counter, "k") is TaskState.READY
    counter.leave("a")
    got = counter.ask("b", "queue", "get", "q", number=1)
    assert counter.answers[got].item_keys == [["k"]]
    assert state_of(counter, "k") is TaskState.READY
    counter.tell("b", WantKeys(["k"]))
    counter.take(got)
    assert state_of(counter, "k") is TaskState.READY
    counter.tell("b", ReleaseKeys(["k"]))
    assert state_of(counter, "k") is None


def test_a_future_in_an_item_that_was_not_taken_is_held_on(counter):
    submit(counter, "a", "k")
    put(counter, "a", b"ref", keys=("k",))
    counter.tell("a", ReleaseKeys(["k"]))
    counter.ask("b", "queue", "get", "q", number=1)
    counter.leave("b")
    assert state_of(counter, "k") is TaskState.READY
    counter.ask("c", "queue", "close", "q")
    assert state_of(counter, "k") is None


def test_futures_in_variables_and_datasets_are_held_while_they_are_there(counter):
    submit(counter, "a", "k", "l")
    counter.ask("a", "variable", "set", "v", item=b"ref", keys=("k",))
    counter.ask("a", "dataset", "publish", "d", item=b"refs", keys=("k", "l"))
    counter.leave("a")
    assert state_of(counter, "l") is TaskState.READY
    counter.ask("b", "dataset", "unpublish", "d")
    assert (state_of(counter, "k"), state_of(counter, "l")) == (TaskState.READY, None)
    got = counter.ask("b", "variable", "get", "v")
    counter.ask("c", "variable", "set", "v", item=b"other")
    assert state_of(counter, "k") is TaskState.READY  # on its way to b
    counter.take(got)
    assert state_of(counter, "k") is None


def test_a_cancelled_future_in_an_item_is_cancelled_for_whoever_gets_it(counter):
    put(counter, "a", b"ref", keys=("unknown",))
    counter.ask("b", "queue", "get", "q", number=1)
    counter.tell("b", WantKeys(["unknown"]))
    assert counter.told == [("b", KeysCancelled(["unknown"], "the scheduler does not know this key"))]


def test_nobody_is_told_of_results_in_the_name_of_items(counter):
    counter.handle(WorkerJoined("tcp://w:1", "w/1", "w", 1, None, None, {}, "w"))
    submit(counter, "a", "k")
    put(counter, "a", b"ref", keys=("k",))
    attempt = counter.machine.state.tasks["k"].attempt
    counter.handle(FromWorker("tcp://w:1", "w/1", TasksDone(["k"], [attempt], [1], [b"1"], [0.1])))
    assert counter.told == [("a", KeysDone(["k"], [b"1"], [1]))]
    counter.leave("a")
    assert state_of(counter, "k") is TaskState.MEMORY
