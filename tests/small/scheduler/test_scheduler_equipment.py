"""What every worker gets before its tasks: kept, sent in order, waited for, and answered once."""

from __future__ import annotations

import pytest

from distributed.messages import EquipmentFailed, WorkerEquipped
from distributed.messages.equipment import FILE, PLUGIN, UNPLUG
from distributed.scheduler import equipment
from distributed.scheduler.events import Equip, ForgetTasks
from distributed.testing.scenarios import Stage

FAILURE = ["builtins.ImportError", "no such module", "", None]


def equip(stage: Stage, order: str, name: str, kind: str = FILE, content: bytes = b"one") -> list[str]:
    """A client adds something; what the machine does."""
    return stage.handle(Equip(order, kind, name, content, content, len(content)))


def test_every_worker_gets_it_and_the_order_ends_when_all_have_answered(stage: Stage) -> None:
    stage("worker w1\nworker w2")
    assert equip(stage, "o", "a.py") == [
        "w1 <- equip-worker [1] ['file'] ['a.py'] [b'one']",
        "w2 <- equip-worker [1] ['file'] ['a.py'] [b'one']",
    ]
    assert stage.from_worker("w1", WorkerEquipped([1])) == []
    assert stage.from_worker("w2", WorkerEquipped([1])) == ["order o done: {'failures': {}}"]
    assert stage.from_worker("w2", WorkerEquipped([1])) == []


def test_without_workers_an_order_ends_at_once_and_who_joins_gets_it_before_its_tasks(stage: Stage) -> None:
    stage("client c\nsubmit c f a")
    assert equip(stage, "o", "a.py") == ["order o done: {'failures': {}}"]
    assert equip(stage, "p", "p", PLUGIN) == ["order p done: {'failures': {}}"]
    assert stage("worker w1") == [
        "w1 accepted as w1/1",
        "w1 <- equip-worker [1, 2] ['file', 'plugin'] ['a.py', 'p'] [b'one', b'one']",
        "w1 <- run a#1 +f",
    ]


def test_what_fails_is_told_by_worker_and_tried_again_when_asked_again(stage: Stage) -> None:
    stage("worker w1\nworker w2")
    equip(stage, "o", "a.py")
    stage.from_worker("w1", EquipmentFailed([1], [FAILURE]))
    (done,) = stage.from_worker("w2", WorkerEquipped([1]))
    assert done.startswith("order o done: {'failures': {'w1': ['builtins.ImportError', 'no such module'")
    assert len(equip(stage, "p", "a.py")) == 2  # sent anew
    stage.from_worker("w1", WorkerEquipped([2]))
    assert stage.from_worker("w2", WorkerEquipped([2])) == ["order p done: {'failures': {}}"]


def test_the_same_content_is_sent_once_however_often_it_is_asked_for(stage: Stage) -> None:
    stage("worker w1")
    equip(stage, "o", "a.py")
    assert equip(stage, "again", "a.py") == []
    assert stage.from_worker("w1", WorkerEquipped([1])) == [
        "order o done: {'failures': {}}",
        "order again done: {'failures': {}}",
    ]
    assert equip(stage, "later", "a.py") == ["order later done: {'failures': {}}"]


def test_other_content_takes_the_place_of_the_old(stage: Stage) -> None:
    equip(stage, "o", "a.py")
    equip(stage, "p", "b.py")
    equip(stage, "q", "a.py", content=b"other")
    assert stage("worker w1")[1] == "w1 <- equip-worker [2, 3] ['file', 'file'] ['b.py', 'a.py'] [b'one', b'other']"
    assert stage.machine.state.kit.nbytes == 8


def test_a_worker_that_leaves_is_waited_for_no_longer(stage: Stage) -> None:
    stage("worker w1\nworker w2")
    equip(stage, "o", "a.py")
    stage.from_worker("w1", WorkerEquipped([1]))
    assert stage("left w2 expected") == ["order o done: {'failures': {}}"]


def test_a_failure_of_a_worker_that_joins_later_is_told_to_clients(stage: Stage) -> None:
    stage("client c")
    equip(stage, "o", "a.py")
    stage("worker w1")
    (told,) = stage.from_worker("w1", EquipmentFailed([1], [FAILURE]))
    assert told.startswith("c <- keys-printed ['w1'] ['stderr'] ['this worker goes on without file a.py")


def test_a_plugin_is_taken_away_from_all_and_from_those_to_come(stage: Stage) -> None:
    stage("worker w1")
    equip(stage, "o", "p", PLUGIN)
    stage.from_worker("w1", WorkerEquipped([1]))
    assert equip(stage, "q", "p", UNPLUG, b"") == ["w1 <- equip-worker [2] ['unplug'] ['p'] [b'']"]
    assert stage.from_worker("w1", WorkerEquipped([2])) == ["order q done: {'failures': {}}"]
    assert stage("worker w2") == ["w2 accepted as w2/1"]
    (refused,) = equip(stage, "r", "p", UNPLUG, b"")
    assert "no plugin 'p'; there are: none" in refused


def test_equipment_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equipment, "ITEM_NBYTES_MAX", 10)
    monkeypatch.setattr(equipment, "KIT_NBYTES_MAX", 12)
    monkeypatch.setattr(equipment, "ITEMS_MAX", 2)
    assert "11 B, more than 10 B" in equip(stage, "o", "a.py", content=b"x" * 11)[0]
    equip(stage, "o", "a.py", content=b"x" * 10)
    assert "would pass 12 B" in equip(stage, "o", "b.py", content=b"yyy")[0]
    assert equip(stage, "o", "a.py", content=b"z" * 9)[0] == "order o done: {'failures': {}}"
    equip(stage, "o", "b.py", content=b"y")
    assert "or 2 items" in equip(stage, "o", "c.py", content=b"y")[0]


def test_forgetting_tasks_cancels_everything_for_everybody(stage: Stage) -> None:
    stage("client c d\nworker w1\nsubmit c f a b(a)\nwant d a\nscatter w1 c x")
    told = stage.handle(ForgetTasks("restarted"))
    assert sorted(line for line in told if "cancelled" in line) == [
        "c <- cancelled a b x (restarted)",
        "d <- cancelled a (restarted)",
    ]
    assert stage("states") == ["nothing"]
