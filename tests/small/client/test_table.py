"""Records of keys, the latch, the outbox, graphs: what a client knows and in which order it speaks."""

from __future__ import annotations

import operator
from typing import Any

import pytest

from distributed.client import outbox as outbox_module
from distributed.client.graphs import graph_tasks
from distributed.client.outbox import Outbox
from distributed.client.packing import FunctionCache
from distributed.client.records import KeyRecord, Latch, Status
from distributed.client.table import KeyTable
from distributed.errors import BadRequestError
from distributed.messages import (
    CLIENT,
    CancelKeys,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    Message,
    ReleaseFunctions,
    ReleaseKeys,
    SubmitTasks,
    TaskSpec,
)
from distributed.protocol.serialize import Serialized, TaskRef, loads_payload
from distributed.testing.functions import inc
from distributed.wire import from_wire, halves

FAILURE = ["ValueError", "text", "", None]


@pytest.fixture
def table() -> KeyTable:
    return KeyTable()


def done(*keys: str, payload: Any = b"x") -> KeysDone:
    return KeysDone(list(keys), [payload] * len(keys), [1] * len(keys))


def states(table: KeyTable) -> dict[str, str]:
    return {key: record.status.value for key, record in table.records.items()}


# ---------------------------------------------------------------- records


def test_the_scheduler_decides_records(table: KeyTable) -> None:
    for key in "abcde":
        assert table.admit(key)[1]
    table.on_done(done("a", "unknown"))
    table.on_failed(KeysFailed(["b", "unknown"], [FAILURE] * 2))
    table.on_cancelled(KeysCancelled(["c", "unknown"], "why"))
    table.on_lost(KeysLost(["d", "unknown"], False))
    assert states(table) == {"a": "finished", "b": "error", "c": "cancelled", "d": "lost", "e": "pending"}
    assert table.records["b"].failure == FAILURE and table.records["c"].reason == "why"


def test_a_key_is_sent_again_only_when_the_scheduler_has_forgotten_it(table: KeyTable) -> None:
    for key in "abcd":
        table.admit(key)
    table.on_done(done("a"))
    table.on_failed(KeysFailed(["b"], [FAILURE]))
    table.on_cancelled(KeysCancelled(["c"], "why"))
    table.on_lost(KeysLost(["d"], False))
    assert [table.admit(key)[1] for key in "abcd"] == [False, False, True, True]
    assert states(table) == {"a": "finished", "b": "error", "c": "pending", "d": "pending"}


def test_a_result_that_came_along_is_not_lost(table: KeyTable) -> None:
    for key in "abc":
        table.admit(key)
    table.on_done(done("a"))
    table.on_done(done("b", payload=None))
    table.on_lost(KeysLost(["a", "b", "c"], True))
    assert states(table) == {"a": "finished", "b": "pending", "c": "pending"}


def test_a_failure_that_is_retried_by_anybody_is_pending(table: KeyTable) -> None:
    for key in "ab":
        table.admit(key)
    table.on_failed(KeysFailed(["a"], [FAILURE]))
    table.fail_unsent(["b"], FAILURE)
    table.on_lost(KeysLost(["a", "b"], True))
    assert states(table) == {"a": "pending", "b": "error"}
    assert table.records["a"].failure is None


def test_only_what_failed_and_was_sent_is_retried(table: KeyTable) -> None:
    records = [table.admit(key)[0] for key in "abcd"]
    table.on_done(done("a"))
    table.on_failed(KeysFailed(["b"], [FAILURE]))
    table.fail_unsent(["c"], FAILURE)
    with table.lock:
        assert table.begin_retrying([*records, KeyRecord("b")]) == ["b"]
    assert states(table) == {"a": "finished", "b": "pending", "c": "error", "d": "pending"}


def test_an_answer_to_the_failed_life_of_a_released_key_does_not_count(table: KeyTable) -> None:
    table.admit("a")
    table.on_failed(KeysFailed(["a"], [FAILURE]))
    table.drop(["a"], lambda keys: None)
    assert table.fade(["a"], 7)
    table.admit("a")
    table.on_lost(KeysLost(["a"], True))  # somebody else retried it, before the release came
    table.on_done(done("a"))
    assert states(table) == {"a": "pending"}
    table.confirmed(7)
    table.on_done(done("a"))
    assert states(table) == {"a": "finished"}


def test_waiters_are_called_once_when_it_is_decided(table: KeyTable) -> None:
    record, _ = table.admit("a")
    called: list[str] = []
    table.add_waiter(record, lambda record: called.append(record.status.value))
    forgotten = called.append
    table.add_waiter(record, forgotten)
    table.forget_waiter([record, KeyRecord("other")], forgotten)
    table.on_done(done("a", payload=None))
    table.on_lost(KeysLost(["a"], True))
    table.on_done(done("a"))
    table.add_waiter(record, lambda record: called.append("at once"))
    assert called == ["finished", "at once"]


def test_a_waiter_may_ask_for_more(table: KeyTable) -> None:
    record, _ = table.admit("a")
    called: list[str] = []
    table.add_waiter(record, lambda record: (table.admit("b"), table.add_waiter(record, lambda _: called.append("x"))))
    table.on_done(done("a"))
    assert called == ["x"] and "b" in table.records


def test_only_the_answer_decides_what_is_being_cancelled(table: KeyTable) -> None:
    pending, finished, failed = [table.admit(key)[0] for key in "abc"]
    table.on_done(done("b"))
    table.on_failed(KeysFailed(["c"], [FAILURE]))
    stranger = KeyRecord("a")
    stranger.status = Status.FINISHED
    with table.lock:
        asked, decided = table.begin_cancelling([pending, finished, failed, stranger], "why")
    assert asked == ["a", "b", "c", "a"] and not decided
    assert states(table) == dict.fromkeys("abc", "pending") and stranger.status is Status.FINISHED
    table.on_done(done("a", "b"))  # on their way when we cancelled
    table.on_failed(KeysFailed(["c"], [FAILURE]))
    table.on_lost(KeysLost(["a"], False))
    assert states(table) == dict.fromkeys("abc", "pending")
    table.on_cancelled(KeysCancelled(["a", "b", "c"], "why"))
    assert states(table) == dict.fromkeys("abc", "cancelled")
    table.admit("a")
    table.on_done(done("a"))
    assert pending.status is Status.FINISHED, "asked for again"


def test_what_could_not_be_sent_is_cancelled_here(table: KeyTable) -> None:
    unsent, cancelled = [table.admit(key)[0] for key in "ab"]
    table.fail_unsent(["a", "unknown"], FAILURE)
    table.on_cancelled(KeysCancelled(["b"], "first"))
    assert unsent.status is Status.ERROR
    with table.lock:
        asked, decided = table.begin_cancelling([unsent, cancelled], "why")
    assert not asked and decided == [unsent], "the scheduler knows neither"
    assert unsent.status is Status.CANCELLED and unsent.reason == "why" and cancelled.reason == "first"


def test_the_answer_to_a_released_key_does_not_settle_the_next_task_of_that_name(table: KeyTable) -> None:
    table.admit("a")
    table.drop(["a"], lambda keys: None)
    assert table.fade(["a"], 7)
    again, is_news = table.admit("a")
    assert is_news
    table.confirmed(6)
    table.on_done(done("a"))
    table.on_failed(KeysFailed(["a"], [FAILURE]))
    table.on_lost(KeysLost(["a"], True))
    assert again.status is Status.PENDING, "these were about the first one"
    table.confirmed(7)
    table.on_done(done("a"))
    assert again.status is Status.FINISHED


def test_a_key_released_twice_fades_until_the_second_release_is_confirmed(table: KeyTable) -> None:
    for number in (3, 5):
        table.admit("a")
        table.drop(["a"], lambda keys: None)
        assert table.fade(["a"], number)
    again, _ = table.admit("a")
    table.confirmed(4)
    table.on_done(done("a"))
    assert again.status is Status.PENDING
    table.confirmed(5)
    table.on_done(done("a"))
    assert again.status is Status.FINISHED


def test_a_key_released_when_it_was_finished_fades_since_it_may_have_been_lost_and_done_again(table: KeyTable) -> None:
    table.admit("a")
    table.on_done(done("a"))
    table.drop(["a"], lambda keys: None)
    assert table.fade(["a"], 1)
    again, _ = table.admit("a")
    table.on_lost(KeysLost(["a"], True))
    table.on_done(done("a"))
    assert again.status is Status.PENDING, "these were about the first one"


def test_a_key_that_was_never_sent_does_not_fade(table: KeyTable) -> None:
    table.admit("a")
    table.fail_unsent(["a"], FAILURE)
    table.drop(["a"], lambda keys: None)
    assert not table.fade(["a"], 1)


def test_what_a_new_scheduler_does_not_know_is_cancelled_here(table: KeyTable) -> None:
    here, failed = [table.admit(key)[0] for key in "ab"]
    table.on_done(done("a"))
    table.on_failed(KeysFailed(["b"], [FAILURE]))
    with table.lock:
        table.lose_session("why")
        assert table.begin_cancelling([here, failed], "enough") == ([], [here, failed])
    assert here.status is failed.status is Status.CANCELLED


def test_a_scheduler_that_has_forgotten_us_takes_what_is_not_here(table: KeyTable) -> None:
    pending, here, there, failed = [table.admit(key)[0] for key in "abcd"]
    table.on_done(done("b"))
    table.on_done(KeysDone(["c"], [None], [1]))
    table.on_failed(KeysFailed(["d"], [FAILURE]))
    with table.lock:
        assert table.lose_session("why") == [pending, there]
    assert pending.status is there.status is Status.LOST and there.reason == "why"
    assert here.status is Status.FINISHED and failed.status is Status.ERROR
    assert table.admit("a") == (pending, True) and pending.status is Status.PENDING


def test_what_nobody_holds_is_told_and_forgotten(table: KeyTable) -> None:
    a, _ = table.admit("a")
    table.admit("a")
    b, _ = table.admit("b")
    told: list[list[str]] = []
    waited: list[KeyRecord] = []
    table.add_waiter(b, waited.append)
    table.let_go(["a", "b", "unknown"], told.append)
    assert told == [["b"]] and waited == [b] and b.status is Status.CANCELLED and "released" in b.reason
    table.on_done(done("a"))
    table.let_go(["a"], told.append)
    table.let_go(["a"], told.append)
    assert told == [["b"], ["a"]] and a.status is Status.FINISHED and not table.records


def test_the_end_of_the_connection_decides_what_is_pending(table: KeyTable) -> None:
    for key in "ab":
        table.admit(key)
    table.on_done(done("a"))
    latch = table.latch(list(table.records.values()))
    table.lose_pending()
    assert states(table) == {"a": "finished", "b": "lost"} and latch.wait(0)


def test_a_latch_opens_with_the_last_record() -> None:
    latch = Latch(2)
    record = KeyRecord("a")
    latch.settle(record)
    assert not latch.wait(0)
    latch.settle(record)
    assert latch.wait(0) and Latch(0).wait(0)


def test_a_latch_skips_what_had_settled_before() -> None:
    record = KeyRecord("a")
    for skipped_first in (True, False):
        latch = Latch(5)
        steps = [lambda latch=latch: latch.skip(3), lambda latch=latch: latch.settle(record)]  # type: ignore[misc]
        for step in steps if skipped_first else steps[::-1]:
            step()
            assert not latch.wait(0)
        latch.settle(record)
        assert latch.wait(0)


# ---------------------------------------------------------------- outbox


SPEC, OTHER = TaskSpec(b"f"), TaskSpec(b"g", priority=1)


def task(key: str, spec: TaskSpec = SPEC, needs: list[str] | None = None, payload: Any = b"x") -> Any:
    return (spec, key, payload, needs)


def messages(outbox: Outbox) -> list[Message]:
    """Everything, through the codec's checks."""
    found = []
    while (message := outbox.next_message()) is not None:
        wire = message.to_wire()
        if isinstance(message, SubmitTasks):
            wire[2] = [list(spec) for spec in wire[2]]
        found.append(from_wire(wire, CLIENT))
    return found


def test_tasks_that_follow_each_other_leave_together() -> None:
    outbox = Outbox()
    outbox.add_functions({b"f": b"F", b"g": b"G"})
    for item in (task("a"), task("b", OTHER, ["a"]), task("c"), CancelKeys(["a"], False, None), task("d")):
        outbox.append(item)
    first, cancel, last = messages(outbox)
    assert first == SubmitTasks(
        {b"f": b"F", b"g": b"G"}, [SPEC, OTHER], [0, 1, 0], ["a", "b", "c"], [b"x"] * 3, [None, ["a"], None]
    )
    assert cancel == CancelKeys(["a"], False, None)
    assert last == SubmitTasks({}, [SPEC], None, ["d"], [b"x"], None)


def test_a_function_leaves_once() -> None:
    outbox = Outbox()
    for key in "ab":
        outbox.add_functions({b"f": b"F"})
        outbox.append(task(key))
        (message,) = messages(outbox)
        assert isinstance(message, SubmitTasks) and message.functions == ({b"f": b"F"} if key == "a" else {})
    outbox.unsend_functions({b"f": b"F"})
    outbox.add_functions({b"f": b"F"})
    outbox.append(task("c"))
    (message,) = messages(outbox)
    assert isinstance(message, SubmitTasks) and message.functions == {b"f": b"F"}


def test_functions_that_were_used_longest_ago_are_released_behind_the_tasks_that_need_them() -> None:
    outbox = Outbox(functions_max=2)
    for digest in (b"f", b"g", b"f", b"h"):
        outbox.add_functions({digest: digest.upper()})
        outbox.append(task(digest.decode()))
    first, release, last = messages(outbox)
    assert isinstance(first, SubmitTasks) and list(first.functions) == [b"f", b"g", b"h"]
    assert release == ReleaseFunctions([b"g"])
    assert isinstance(last, SubmitTasks) and last.functions == {}
    outbox.add_functions({b"g": b"G"})  # sent again, and now it is f that goes
    outbox.append(task("again"))
    release, again = messages(outbox)
    assert release == ReleaseFunctions([b"f"])
    assert isinstance(again, SubmitTasks) and again.functions == {b"g": b"G"}


def test_functions_are_released_by_size_too_but_none_that_is_needed_now() -> None:
    outbox = Outbox(functions_nbytes_max=10)
    outbox.add_functions({b"f": bytes(6)})
    outbox.add_functions({b"g": bytes(20)})
    assert messages(outbox) == [ReleaseFunctions([b"f"])]


def test_a_function_that_is_used_again_before_its_release_has_left_is_sent_again_after_it() -> None:
    outbox = Outbox(functions_max=1)
    for digest in (b"f", b"g", b"f"):
        outbox.add_functions({digest: digest.upper()})
        outbox.append(task(digest.decode()))
    first, one, second, other, last = messages(outbox)
    assert isinstance(first, SubmitTasks) and list(first.functions) == [b"f", b"g"]
    assert isinstance(second, SubmitTasks) and list(second.functions) == [b"f"]
    assert isinstance(last, SubmitTasks) and not last.functions
    assert (one, other) == (ReleaseFunctions([b"f"]), ReleaseFunctions([b"g"]))


def test_messages_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "BATCH_COUNT_MAX", 3)
    monkeypatch.setattr(outbox_module, "BATCH_NBYTES_MAX", 100)
    outbox = Outbox()
    for number in range(7):
        outbox.append(task(str(number)))
    for number in range(3):
        outbox.append(task(f"big-{number}", payload=Serialized([bytes(60)])))
    counts = [len(message.keys) for message in messages(outbox) if isinstance(message, SubmitTasks)]
    assert counts == [3, 3, 3, 1]


def graph_of(count: int) -> list[Any]:
    unwanted = SPEC._replace(wanted=False)
    return [task(str(n), SPEC if n == count - 1 else unwanted, [str(n - 1)] if n else None) for n in range(count)]


def test_a_graph_leaves_in_one_message_of_its_own() -> None:
    outbox = Outbox()
    outbox.append(task("before"))
    outbox.add_functions({b"f": b"F"})
    outbox.append_graph(graph_of(3))
    outbox.append(task("after"))
    before, graph, after = messages(outbox)
    assert isinstance(graph, SubmitTasks) and graph.keys == ["0", "1", "2"]
    assert [spec.wanted for spec in graph.specs] == [False, True] and graph.spec_of == [0, 0, 1]
    assert isinstance(before, SubmitTasks) and before.functions == {b"f": b"F"}
    assert isinstance(after, SubmitTasks) and after.keys == ["after"]


def test_functions_leave_with_a_graph_too() -> None:
    outbox = Outbox()
    outbox.add_functions({b"f": b"F"})
    outbox.append_graph(graph_of(1))
    (graph,) = messages(outbox)
    assert isinstance(graph, SubmitTasks) and graph.functions == {b"f": b"F"}


def test_a_graph_too_large_for_a_message_is_held_until_it_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "BATCH_COUNT_MAX", 2)
    outbox = Outbox()
    outbox.append_graph(graph_of(5))
    *parts, release = messages(outbox)
    assert [part.keys for part in parts if isinstance(part, SubmitTasks)] == [["0", "1"], ["2", "3"], ["4"]]
    assert all(spec.wanted for part in parts if isinstance(part, SubmitTasks) for spec in part.specs)
    assert release == ReleaseKeys(["0", "1", "2", "3"])


def test_a_message_can_be_cut() -> None:
    outbox = Outbox()
    outbox.add_functions({b"f": b"F"})
    for key in "abc":
        outbox.append(task(key, OTHER if key == "b" else SPEC, ["x"] if key == "c" else None))
    (message,) = messages(outbox)
    first, second = halves(message)
    assert first == SubmitTasks({b"f": b"F"}, [SPEC, OTHER], [0], ["a"], [b"x"], [None])
    assert second == SubmitTasks({}, [SPEC, OTHER], [1, 0], ["b", "c"], [b"x", b"x"], [None, ["x"]])
    outbox.put_back([first, second])
    assert messages(outbox) == [first, second]
    functions, rest = halves(first)
    assert functions == SubmitTasks({b"f": b"F"}, [SPEC, OTHER], [], [], [], [])
    assert halves(rest) == [] and halves(functions) == []


def test_what_has_no_columns_cannot_be_cut() -> None:
    assert halves(CancelKeys(["a"], False, None)) == []
    assert halves(CancelKeys(["a", "b"], True, "why")) == [
        CancelKeys(["a"], True, "why"),
        CancelKeys(["b"], True, "why"),
    ]


# ---------------------------------------------------------------- graphs


def build(graph: dict[Any, Any], *wanted: Any) -> dict[str, tuple[bool, Any, list[str] | None]]:
    tasks, blobs, names = graph_tasks(graph, set(wanted), "u", FunctionCache())
    seen: set[str] = set()
    for spec, name, _, needs in tasks:
        assert spec.function in blobs and set(needs or ()) <= seen, "each after those it depends on"
        seen.add(name)
    short = {name: str(key) for key, name in names.items()}
    return {
        short.get(name, name): (spec.wanted, loads_payload(arguments)[0], [short.get(n, n) for n in needs or ()])
        for spec, name, arguments, needs in tasks
    }  # fmt: skip


def test_only_what_is_needed_is_sent() -> None:
    tasks = build({"x": 1, "y": (inc, "x"), "unused": (inc, 1)}, "y")
    assert list(tasks) == ["x", "y"]
    assert tasks["x"] == (False, (1,), [])
    wanted, (argument,), needs = tasks["y"]
    assert wanted and type(argument) is TaskRef and needs == ["x"]


def test_tasks_inside_tasks_are_tasks_before_them() -> None:
    tasks = build({"x": 1, "y": (sum, [(inc, (inc, "x")), {"k": (inc, 5)}])}, "y")
    assert list(tasks) == ["x", "inner-u-2", "inner-u-1", "inner-u-3", "y"]
    assert tasks["inner-u-1"][2] == ["inner-u-2"] and tasks["y"][2] == ["inner-u-1", "inner-u-3"]


def test_keys_that_are_tuples_and_values_that_cannot_be_keys() -> None:
    tasks = build({("x", 0): [1, {2}], "y": (operator.add, ("x", 0), ("x", [1]))}, "y")
    wanted, arguments, needs = tasks["y"]
    assert needs == ["('x', 0)"] and arguments[1] == ("x", [1]) and wanted


def test_deep_graphs_need_no_recursion() -> None:
    assert len(build({"n0": 0, **{f"n{n}": (inc, f"n{n - 1}") for n in range(1, 1_000)}}, "n999")) == 1_000


def test_cycles_and_missing_keys_are_refused() -> None:
    with pytest.raises(BadRequestError, match="'z' is not in the graph"):
        build({"x": 1}, "z")
    with pytest.raises(BadRequestError, match="cycle through 'x'"):
        build({"x": (inc, "x")}, "x")
