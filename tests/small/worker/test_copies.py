"""Data of other workers: asked from one holder at a time, once for all who need it, and given up when none has it."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.messages import CancelTasks, DataAdded, ReleaseData, TasksMissingData
from distributed.worker import copies
from distributed.worker.effects import DropData, Execute, Fetch, Keep, ToScheduler, Withdraw
from distributed.worker.events import DataFetched, DataPut, FetchFailed, SchedulerLost, TasksExecuted

P, Q, R, ME = "tcp://p:1", "tcp://q:1", "tcp://r:1", "tcp://me:1"


def fetched(address: str, *keys: str, missing: tuple[str, ...] = ()) -> DataFetched:
    return DataFetched(address, dict.fromkeys(keys, "data"), dict.fromkeys(keys, 5), list(missing))


def test_missing_data_is_fetched_kept_reported_and_then_the_task_runs(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x"))
    keep, execute, added = worker.take()
    assert keep == Keep(["x"], ["data"], [5])
    assert [(task.key, task.dependencies) for task in execute.tasks] == [("t", ["x"])]
    assert added == ToScheduler(DataAdded(["x"], [5], None))


def test_a_copy_stays_until_it_is_released(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.handle(fetched(P, "x"))
    worker.take()
    worker.finish("t")
    worker.run("u", who_has={"x": [P, ME]})
    assert worker.take_executed() == ["u"]
    worker.finish("u")
    worker.receive(ReleaseData(["x"]))
    assert worker.take() == [DropData(["x"])]


def test_a_task_that_waits_does_not_hold_up_those_behind_it(worker: Any) -> None:
    worker.run("t", "u", who_has={"x": [P]}, dependencies=[["x"], None])
    execute, fetch = worker.take()
    assert [task.key for task in execute.tasks] == ["u"]
    assert fetch == Fetch(P, ["x"])


def test_tasks_that_become_ready_together_run_in_the_order_they_came(worker: Any) -> None:
    worker.run("t", "u", "v", who_has={"x": [P], "y": [P]}, dependencies=[["y"], ["x"], ["y", "x"]])
    worker.handle(fetched(P, "x", "y"))
    execute = worker.take()[2]
    assert [task.key for task in execute.tasks] == ["t", "u", "v"]


def test_a_key_many_tasks_want_is_fetched_once(worker: Any) -> None:
    worker.run("t", "u", who_has={"x": [P]})
    worker.run("v", who_has={"x": [Q]})
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x"))
    assert [task.key for task in worker.take()[1].tasks] == ["t", "u", "v"]


def test_one_fetch_per_peer_at_a_time(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.run("u", who_has={"y": [P]})
    worker.run("v", who_has={"z": [P]})
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x"))
    assert worker.take()[2] == Fetch(P, ["y", "z"])
    worker.handle(fetched(P, "y", "z"))
    worker.take()


def test_fetches_are_bounded_in_all_and_peers_take_turns(worker: Any) -> None:
    peers = [f"tcp://peer{number}:1" for number in range(copies.FETCHES_MAX + 2)]
    for number, peer in enumerate(peers):
        worker.run(f"t{number}", who_has={f"x{number}": [peer]})
    assert worker.take() == [Fetch(peers[number], [f"x{number}"]) for number in range(copies.FETCHES_MAX)]
    worker.run("again", who_has={"more": [peers[0]]})
    worker.handle(fetched(peers[0], "x0"))
    assert worker.take()[2] == Fetch(peers[copies.FETCHES_MAX], [f"x{copies.FETCHES_MAX}"])
    worker.handle(fetched(peers[1], "x1"))
    assert worker.take()[2] == Fetch(peers[-1], [f"x{copies.FETCHES_MAX + 1}"])
    worker.handle(fetched(peers[2], "x2"))
    assert worker.take()[2] == Fetch(peers[0], ["more"])


def test_one_fetch_is_bounded_in_bytes_but_takes_at_least_one_key(worker: Any) -> None:
    big = copies.FETCH_NBYTES_MAX
    worker.run("t", who_has={"x": [P], "y": [P], "z": [P]}, nbytes={"x": big + 1, "y": big - 1, "z": 2})
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x"))
    assert worker.take()[1] == Fetch(P, ["y"])
    worker.handle(fetched(P, "y"))
    assert worker.take()[1] == Fetch(P, ["z"])


def test_one_fetch_is_bounded_in_keys(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "FETCH_KEYS_MAX", 2)
    worker.run("t", who_has={"x": [P], "y": [P], "z": [P]})
    assert worker.take() == [Fetch(P, ["x", "y"])]


def test_the_holder_with_the_least_to_give_is_asked_first(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]}, nbytes={"x": 100})
    worker.run("u", who_has={"y": [P, Q, R]})
    assert worker.take() == [Fetch(P, ["x"]), Fetch(Q, ["y"])]


@pytest.mark.parametrize(
    "failure",
    [FetchFailed(P, ["x"], "refused"), fetched(P, missing=("x",)), fetched(P)],
    ids=["failed", "missing", "silent"],
)
def test_the_next_holder_is_asked_when_one_fails(worker: Any, failure: Any) -> None:
    worker.run("t", who_has={"x": [P, Q]})
    worker.take()
    worker.handle(failure)
    assert worker.take() == [Fetch(Q, ["x"])]
    worker.handle(fetched(Q, "x"))
    assert worker.take()[1].tasks[0].key == "t"


def test_tasks_are_given_back_when_all_holders_failed(worker: Any) -> None:
    worker.run("t", "u", who_has={"x": [P, Q]}, attempt=4)
    worker.handle(FetchFailed(P, ["x"], "refused"))
    worker.take()
    worker.handle(fetched(Q, missing=("x",)))
    gone = [["x", P], ["x", Q]]
    assert worker.take_messages() == [TasksMissingData(["t", "u"], [4, 4], [["x"], ["x"]], [gone, gone])]
    assert not worker.machine.state.copies
    assert not worker.machine.state.tasks


def test_a_task_is_given_back_once_with_all_that_is_lost_at_that_moment(worker: Any) -> None:
    worker.run("t", "u", who_has={"x": [P], "y": [P], "z": [Q]}, dependencies=[["x", "y", "z"], ["y"]])
    worker.take()
    worker.handle(FetchFailed(P, ["x", "y"], "refused"))
    assert worker.take_messages() == [
        TasksMissingData(["t", "u"], [1, 1], [["x", "y"], ["y"]], [[["x", P], ["y", P]], [["y", P]]])
    ]
    worker.handle(fetched(Q, "z"))  # nobody waits for it any more
    assert worker.take() == []


def test_a_task_is_given_back_at_once_when_nobody_is_named(worker: Any) -> None:
    worker.run("t", "u", who_has={"x": [], "y": [P]}, dependencies=[["x", "y"], ["unnamed"]])
    assert worker.take_messages() == [TasksMissingData(["t", "u"], [1, 1], [["x"], ["unnamed"]], [[], []])]


def test_a_holder_that_is_ourselves_and_has_it_not_counts_as_gone(worker: Any) -> None:
    worker.run("t", who_has={"x": [ME, ME]})
    assert worker.take_messages() == [TasksMissingData(["t"], [1], [["x"]], [[["x", ME]]])]


def test_holders_named_later_are_tried_too_but_none_twice(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.run("u", who_has={"x": [P, Q, Q]})
    worker.take()
    worker.handle(FetchFailed(P, ["x"], "refused"))
    assert worker.take() == [Fetch(Q, ["x"])]
    worker.run("v", who_has={"x": [P, Q]})
    worker.handle(FetchFailed(Q, ["x"], "refused"))
    (message,) = worker.take_messages()
    assert message.keys == ["t", "u", "v"]


def test_a_failed_fetch_does_not_condemn_what_is_queued_there(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.run("u", who_has={"y": [P]})
    worker.take()
    worker.handle(FetchFailed(P, ["x"], "timed out"))
    fetch, missing = worker.take()
    assert fetch == Fetch(P, ["y"])
    assert missing.message.keys == ["t"]


def test_a_queued_copy_of_cancelled_tasks_is_not_fetched(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.run("u", "v", who_has={"y": [P]})
    worker.take()
    worker.receive(CancelTasks(["u"]))
    assert "y" in worker.machine.state.copies
    worker.receive(CancelTasks(["v"]))
    assert worker.take() == []
    worker.handle(fetched(P, "x"))
    assert [type(effect) for effect in worker.take()] == [Keep, Execute, ToScheduler]
    assert not worker.machine.state.peers


def test_a_cancelled_copy_leaves_the_others_of_its_queue_in_place(worker: Any) -> None:
    worker.run("t", "u", "v", who_has={"x": [P], "y": [P], "z": [P]}, dependencies=[["x"], ["y"], ["z"]])
    worker.handle(SchedulerLost())  # what is under way stays so, and the next ones have to queue
    worker.run("t", "u", who_has={"y": [P], "z": [P]}, dependencies=[["y"], ["z"]])
    worker.take()
    worker.receive(CancelTasks(["t"]))
    worker.handle(fetched(P, "x", "y", "z"))
    assert worker.take() == [Fetch(P, ["z"])]


def test_a_peer_that_waits_for_its_turn_is_forgotten_with_its_last_copy(worker: Any) -> None:
    for number in range(copies.FETCHES_MAX):
        worker.run(f"t{number}", who_has={f"x{number}": [f"tcp://peer{number}:1"]})
    worker.run("u", who_has={"y": [P]})
    worker.take()
    worker.receive(CancelTasks(["u"]))
    assert worker.take() == []
    assert P not in worker.machine.state.peers


def test_a_copy_under_way_is_dropped_when_nobody_waits_any_more(worker: Any) -> None:
    worker.run("t", who_has={"x": [P, Q]})
    worker.take()
    worker.receive(CancelTasks(["t"]))
    worker.handle(FetchFailed(P, ["x"], "refused"))
    assert worker.take() == []
    assert not worker.machine.state.copies


def test_a_copy_under_way_serves_a_task_that_comes_meanwhile(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.take()
    worker.run("u", who_has={"x": [P]})
    worker.receive(CancelTasks(["t"]))
    assert worker.take() == []
    worker.handle(fetched(P, "x"))
    assert worker.take()[1].tasks[0].key == "u"


@pytest.mark.parametrize("peer", [P, Q])
def test_a_copy_under_way_that_nobody_waits_for_is_not_taken_for_newer_data_of_that_key(worker: Any, peer: str) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.take()
    worker.receive(CancelTasks(["t"]))
    worker.run("u", who_has={"x": [peer]})
    asked = worker.take()
    worker.handle(DataFetched(P, {"x": "old"}, {"x": 5}))
    asked += worker.take()
    assert asked == [Fetch(peer, ["x"])]  # from the same peer: after its first answer
    worker.handle(DataFetched(peer, {"x": "new"}, {"x": 5}))
    assert worker.take()[0] == Keep(["x"], ["new"], [5])


def test_a_waiting_task_is_replaced_by_a_newer_attempt(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]}, attempt=1)
    worker.take()
    worker.run("t", attempt=2)
    assert worker.take_executed() == ["t"]
    worker.handle(fetched(P, "x"))
    assert worker.take() == []


@pytest.mark.parametrize("is_under_way", [True, False])
def test_data_that_arrives_another_way_is_not_waited_for(worker: Any, is_under_way: bool) -> None:
    if not is_under_way:
        worker.run("other", who_has={"other data": [P]})
    worker.run("t", who_has={"x": [P]})
    worker.take()
    worker.handle(DataPut("client-1", {"x": "scattered"}, {"x": 5}))
    assert [task.key for task in worker.take()[1].tasks] == ["t"]
    worker.handle(fetched(P, "x", "other data"))
    keeps = [effect.keys for effect in worker.take() if isinstance(effect, Keep)]
    assert keeps == ([] if is_under_way else [["other data"]])


def test_data_that_is_computed_here_meanwhile_is_not_waited_for(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.run("x")
    worker.take()
    worker.handle(TasksExecuted([worker.outcome("x")]))
    keep, execute, _ = worker.take()
    assert keep.keys == ["x"]
    assert [task.key for task in execute.tasks] == ["t"]


def test_data_released_under_a_waiting_task_is_missed_only_when_it_runs(worker: Any) -> None:
    worker.handle(DataPut("client-1", {"x": 1}, {"x": 1}))
    worker.run("t", who_has={"x": [ME], "y": [P]})
    worker.take()
    worker.receive(ReleaseData(["x", "y"]))
    assert worker.take() == [DropData(["x"])]
    worker.handle(fetched(P, "y"))
    worker.take()
    worker.handle(TasksExecuted([worker.outcome("t", missing=["x"])]))
    assert worker.take_messages() == [TasksMissingData(["t"], [1], [["x"]], [[["x", ME]]])]


def test_an_answer_nobody_asked_for_is_ignored(worker: Any) -> None:
    worker.handle(fetched(P, "x"))
    worker.handle(FetchFailed(P, ["x"], "refused"))
    worker.run("t", who_has={"x": [P]})
    worker.handle(fetched(Q, "x"))
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x", "unasked"))
    keep, _, _ = worker.take()
    assert keep.keys == ["x"]


def test_a_fetch_for_a_lost_scheduler_brings_nothing_and_its_peer_is_not_asked_twice(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.run("u", who_has={"y": [P]})
    worker.run("v")
    worker.take()
    worker.handle(SchedulerLost())
    assert [type(effect) for effect in worker.take()][1:] == [Withdraw]
    worker.run("w", who_has={"x": [P]})
    assert worker.take() == []
    worker.handle(fetched(P, "x"))
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x"))
    assert worker.take()[1].tasks[0].key == "w"
