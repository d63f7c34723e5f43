"""Copies that the scheduler ordered, holders that are busy, and who is asked next."""

from __future__ import annotations

from typing import Any

from distributed.messages import (
    AskHolders,
    CancelTasks,
    CopiesFailed,
    CopyData,
    DataAdded,
    HoldersKnown,
    ReleaseData,
    TasksMissingData,
)
from distributed.worker import copies
from distributed.worker.effects import Fetch, Keep, ToScheduler
from distributed.worker.events import DataFetched, DataPut, FetchBusy, FetchFailed, SchedulerLost, TasksExecuted
from distributed.worker.machine import WorkerMachine
from distributed.worker.records import WorkerState

P, Q, R, ME = "tcp://p:1", "tcp://q:1", "tcp://r:1", "tcp://me:1"


def fetched(address: str, *keys: str) -> DataFetched:
    return DataFetched(address, dict.fromkeys(keys, "data"), dict.fromkeys(keys, 5))


# ---------------------------------------------------------------- ordered by the scheduler


def test_a_copy_that_was_ordered_is_fetched_kept_and_reported(worker: Any) -> None:
    worker.receive(CopyData(["x"], [5], [[P]]))
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x"))
    assert worker.take() == [Keep(["x"], ["data"], [5]), ToScheduler(DataAdded(["x"], [5], None))]
    assert not worker.machine.state.copies


def test_an_ordered_copy_that_is_here_is_reported_at_once(worker: Any) -> None:
    worker.handle(DataPut("client", {"x": 1}, {"x": 7}))
    worker.take()
    worker.receive(CopyData(["x", "y"], [7, 5], [[P], []]))
    assert worker.take_messages() == [DataAdded(["x"], [7], None), CopiesFailed(["y"], [[]])]


def test_an_ordered_copy_that_nobody_gives_is_reported_with_those_who_did_not(worker: Any) -> None:
    worker.receive(CopyData(["x"], [5], [[P, Q]]))
    worker.take()
    worker.handle(FetchFailed(P, ["x"], "refused"))
    assert worker.take() == [Fetch(Q, ["x"])]
    worker.handle(DataFetched(Q, {}, {}, ["x"]))
    assert worker.take_messages() == [CopiesFailed(["x"], [[["x", P], ["x", Q]]])]


def test_an_order_and_a_task_share_a_fetch_and_its_failure(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.receive(CopyData(["x"], [5], [[P]]))
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(FetchFailed(P, ["x"], "refused"))
    gone = [["x", P]]
    assert worker.take_messages() == [
        TasksMissingData(["t"], [1], [["x"]], [gone]),
        CopiesFailed(["x"], [gone]),
    ]


def test_an_ordered_copy_outlives_the_task_that_wanted_it(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.receive(CopyData(["x"], [5], [[P]]))
    worker.take()
    worker.receive(CancelTasks(["t"]))
    worker.handle(fetched(P, "x"))
    assert [type(effect) for effect in worker.take()] == [Keep, ToScheduler]


def test_releasing_ends_an_order_queued_or_under_way(worker: Any) -> None:
    worker.receive(CopyData(["x"], [5], [[P]]))
    worker.receive(CopyData(["y"], [5], [[P]]))
    assert worker.take() == [Fetch(P, ["x"])]
    worker.receive(ReleaseData(["x", "y"]))
    assert worker.take_messages() == [CopiesFailed(["x", "y"], [[], []])]
    worker.handle(fetched(P, "x"))
    assert worker.take() == []
    assert not worker.machine.state.copies


def test_an_ordered_result_that_is_computed_here_is_reported_too(worker: Any) -> None:
    worker.run("x")
    worker.receive(CopyData(["x"], [5], [[P]]))
    worker.take()
    worker.handle(TasksExecuted([worker.outcome("x")]))
    assert worker.take()[2] == ToScheduler(DataAdded(["x"], [5], None))
    worker.handle(fetched(P, "x"))
    assert worker.take() == []


def test_orders_of_a_lost_scheduler_are_forgotten(worker: Any) -> None:
    worker.receive(CopyData(["x"], [5], [[P]]))
    worker.receive(CopyData(["y"], [5], [[P]]))
    worker.take()
    worker.handle(SchedulerLost())
    worker.handle(fetched(P, "x"))
    assert worker.take() == []
    assert not worker.machine.state.peers


# ---------------------------------------------------------------- busy holders


def test_another_holder_is_asked_when_one_is_busy(worker: Any) -> None:
    worker.run("t", who_has={"x": [P, Q]})
    worker.take()
    worker.handle(FetchBusy(P))
    assert worker.take() == [Fetch(Q, ["x"])]
    worker.handle(fetched(Q, "x"))
    worker.take()
    worker.sleep()
    assert not worker.machine.state.peers


def test_when_all_are_busy_the_scheduler_is_asked_and_they_are_asked_again_later(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.take()
    pauses = []
    for _ in range(8):
        worker.handle(FetchBusy(P))
        assert worker.take_messages() == [AskHolders(["x"])]
        pauses.append(worker.sleep())
        assert worker.take() == [Fetch(P, ["x"])]
    assert pauses == sorted(pauses)
    assert copies.PAUSE_S <= pauses[0] <= 2 * copies.PAUSE_S
    assert copies.PAUSE_S_MAX <= pauses[-1] <= 2 * copies.PAUSE_S_MAX
    worker.handle(fetched(P, "x"))
    worker.take()
    assert worker.machine.next_wakeup is None


def test_new_holders_are_asked_at_once(worker: Any) -> None:
    worker.receive(CopyData(["x"], [5], [[P]]))
    worker.take()
    worker.handle(FetchBusy(P))
    worker.take()
    worker.receive(HoldersKnown(["x", "unknown"], [[P, R, ME], [Q]]))
    assert worker.take() == [Fetch(R, ["x"])]
    worker.handle(DataFetched(R, {}, {}, ["x"]))
    assert worker.take() == []  # the busy one is left
    worker.sleep()
    assert worker.take() == [Fetch(P, ["x"])]
    worker.handle(fetched(P, "x"))
    worker.take()


def test_what_else_is_wanted_of_a_busy_peer_waits_with_it(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.take()
    worker.handle(FetchBusy(P))
    worker.run("u", who_has={"y": [P]})
    worker.take()
    worker.sleep()
    assert worker.take() == [Fetch(P, ["x", "y"])]
    worker.handle(fetched(P, "x", "y"))
    worker.take()


def test_a_holder_that_is_busy_for_ever_is_given_up_but_not_called_gone(worker: Any) -> None:
    worker.receive(CopyData(["x"], [5], [[P]]))
    worker.take()
    for _ in range(copies.REFUSALS_MAX - 1):
        worker.handle(FetchBusy(P))
        worker.take_messages()
        worker.sleep()
        worker.take()
    worker.handle(FetchBusy(P))
    assert worker.take_messages() == [CopiesFailed(["x"], [[]])]
    assert worker.now > 60


def test_an_answer_ends_the_count_of_refusals(worker: Any) -> None:
    worker.run("t", who_has={"x": [P]})
    worker.take()
    worker.handle(FetchBusy(P))
    worker.run("u", who_has={"y": [P]}, nbytes={"y": copies.FETCH_NBYTES_MAX + 1})
    worker.take()
    worker.sleep()
    worker.handle(fetched(P, "x"))
    worker.take()
    assert worker.machine.state.peers[P].refusals == 0
    worker.handle(fetched(P, "y"))
    worker.take()


def test_takers_of_big_data_ask_different_holders() -> None:
    holders = [f"tcp://holder{number}:1" for number in range(4)]
    asked = []
    for number in range(100):
        machine = WorkerMachine(f"tcp://taker{number}:1", 1)
        assert copies.order_copy(machine.state, "x", copies.BIG_NBYTES, holders)
        asked += [fetch.address for fetch in copies.start_fetches(machine.state)]
    assert min(asked.count(holder) for holder in holders) >= 10


def test_small_data_is_asked_from_the_holder_named_first() -> None:
    state = WorkerState(ME)
    assert copies.order_copy(state, "x", copies.BIG_NBYTES - 1, [R, Q, P])
    assert copies.start_fetches(state) == [Fetch(R, ["x"])]
