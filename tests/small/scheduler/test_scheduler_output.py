"""Who hears what a task prints, and how much of it."""

from __future__ import annotations

import dataclasses

from distributed.messages import SubmitTasks, TaskSpec, TasksPrinted
from distributed.scheduler.kit import BURST_NBYTES, RATE_NBYTES
from distributed.testing.scenarios import Stage


def printed(stage: Stage, key: str, text: str = "hi\n") -> list[str]:
    """The worker w1 says that `key` has written `text`."""
    return stage.from_worker("w1", TasksPrinted([key], ["stdout"], [text]))


def submit_child(stage: Stage, client: str, key: str, parent: str) -> None:
    spec = TaskSpec(b"f", parent=parent, depth=1)
    stage.from_client(client, SubmitTasks({b"f": b"code"}, [spec], None, [key], [b""], None))


def test_every_client_that_wants_the_key_hears_it_before_the_result(stage: Stage) -> None:
    stage("client c d e\nworker w1\nsubmit c f a\nwant d a")
    assert printed(stage, "a") == [
        "c <- keys-printed ['a'] ['stdout'] ['hi\\n']",
        "d <- keys-printed ['a'] ['stdout'] ['hi\\n']",
    ]


def test_what_nobody_wants_or_knows_is_dropped(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a\nrelease c a")
    assert printed(stage, "a") == []
    assert printed(stage, "never known") == []


def test_output_inside_a_graph_goes_to_whoever_wants_what_is_made_of_it(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f ~a ~b(a) d(b)")
    assert printed(stage, "a") == ["c <- keys-printed ['a'] ['stdout'] ['hi\\n']"]


def test_output_of_nested_tasks_goes_to_the_client_of_the_topmost(stage: Stage) -> None:
    stage("client c worker\nworker w1\nsubmit c f top")
    submit_child(stage, "worker", "child", "top")
    submit_child(stage, "worker", "grandchild", "child")
    assert printed(stage, "grandchild") == ["c <- keys-printed ['grandchild'] ['stdout'] ['hi\\n']"]
    stage("release c top")
    assert printed(stage, "grandchild") == ["worker <- keys-printed ['grandchild'] ['stdout'] ['hi\\n']"]


def test_tasks_that_name_each_other_as_parents_end_the_search(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2")
    submit_child(stage, "c", "a", "b")
    submit_child(stage, "c", "b", "a")
    assert len(printed(stage, "a")) == 1


def test_a_client_is_told_so_much_and_of_the_rest_how_much_it_was(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a")
    line = "x" * 99_999 + "\n"
    told = 0
    while printed(stage, "a", line):
        told += len(line)
    assert abs(told - BURST_NBYTES) <= 2 * len(line)
    printed(stage, "a", line)
    assert stage("wait 0.9") == []
    (left_out,) = stage("wait 0.2")
    assert (
        left_out
        == "c <- keys-printed ['a'] ['stderr'] ['... 2 lines (200,000 bytes) of this and other tasks left out\\n']"
    )
    assert len(printed(stage, "a", line)) == 1  # a second's worth has come back
    stage("wait 1")
    assert len([0 for _ in range(20) if printed(stage, "a", line)]) <= 2.1 * RATE_NBYTES / len(line) + 1


def test_nothing_is_remembered_of_a_client_that_left(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a")
    while printed(stage, "a", "x" * 1_000_000):
        assert stage.machine.state.printing.allowances
    assert stage.machine.next_wakeup is not None
    stage("leave c")
    assert dataclasses.astuple(stage.machine.state.printing) == ({}, {}, None)
