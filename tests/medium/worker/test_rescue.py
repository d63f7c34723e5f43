"""Scattered data that outlives its process: the log of the worker, the nanny's copy, the next life."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from distributed.protocol.serialize import Serialized, dumps_payload
from distributed.worker import rescue as rescue_module
from distributed.worker.rescue import RescueLog, load_rescued, log_path, rescue
from distributed.worker.spill import SpillDisk
from distributed.worker.store import Packed, Store, payload_of


class Worker:
    """A store and its log."""

    def __init__(self, folder: Path) -> None:
        self.running_path = str(folder / "running")
        self.log = RescueLog(self.running_path)
        self.disk = SpillDisk(str(folder))
        self.store = Store()
        self.store.on_spilled = self.log.spilled

    def put(self, **values: Any) -> dict[str, Packed]:
        packed = {key: Packed(dumps_payload(value), is_original=True) for key, value in values.items()}
        self.log.drop(list(packed))
        self.store.put_columns(list(packed), list(packed.values()), [100_000] * len(packed))
        self.log.put(packed, self.store)
        return packed

    def drop(self, *keys: str) -> None:
        self.log.drop(keys)
        self.store.drop(list(keys))

    def spill(self, key: str) -> None:
        for lent in self.store.choose(10**9):
            if lent.key == key:
                self.store.settle(key, lent.ticket, self.disk.write(key, payload_of(lent)))
            else:
                self.store.take_back(lent.key, lent.ticket, False)

    def rescued(self, folder: Path) -> dict[str, Any]:
        """What another life has of this one."""
        folder.mkdir()
        keys = rescue(os.getpid(), log_path(self.running_path), str(folder))
        values, nbytes = load_rescued(str(folder))
        assert list(values) == keys == list(nbytes)
        return {key: value.load() for key, value in values.items()}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path)
    yield worker
    worker.log.close()
    worker.disk.close()


VALUES: dict[str, Any] = {
    "small": {"a": [1, None, "x"]},
    "middle": list(range(5_000)),
    "text": "y" * 100_000,
    "blob": bytes(range(256)) * 1_000,
}


def test_values_of_all_sizes_come_back(worker: Worker, tmp_path: Path) -> None:
    array = numpy.arange(300_000.0)
    worker.put(**VALUES, array=array, empty=numpy.zeros(0))
    found = worker.rescued(tmp_path / "place")
    assert (found.pop("array") == array).all()
    assert found.pop("empty").shape == (0,)
    assert found == VALUES


def test_what_was_loaded_and_used_comes_back_too(worker: Worker, tmp_path: Path) -> None:
    packed = worker.put(**VALUES)
    assert {key: value.load() for key, value in packed.items()} == VALUES
    assert worker.rescued(tmp_path / "place") == VALUES


def test_what_was_dropped_or_replaced_does_not(worker: Worker, tmp_path: Path) -> None:
    worker.put(a=1, b=2, c=3)
    worker.drop("a", "unknown")
    worker.put(b=4)
    assert worker.rescued(tmp_path / "place") == {"c": 3, "b": 4}


def test_what_was_written_to_disk_is_linked(worker: Worker, tmp_path: Path) -> None:
    array = numpy.arange(30_000.0)
    worker.put(array=array, other="z" * 50_000)
    worker.spill("array")
    assert worker.store.away_nbytes
    found = worker.rescued(tmp_path / "place")
    worker.disk.close()
    assert (found["array"] == array).all()
    assert found["other"] == "z" * 50_000


def test_rescued_arrays_may_be_written_to(worker: Worker, tmp_path: Path) -> None:
    worker.put(array=bytearray(100_000))
    found = worker.rescued(tmp_path / "place")
    found["array"][0] = 1
    again = load_rescued(str(tmp_path / "place"))[0]["array"].load()
    assert again[0] == 0


def test_a_log_that_grows_is_written_anew(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescue_module, "LOG_NBYTES_MIN", 2_000)
    worker.put(kept="k" * 40_000)
    for number in range(500):
        worker.put(passing=number)
    assert os.path.getsize(log_path(worker.running_path)) < 4_000
    assert worker.rescued(tmp_path / "place") == {"kept": "k" * 40_000, "passing": 499}


def test_a_log_that_was_cut_short_gives_what_is_whole(worker: Worker, tmp_path: Path) -> None:
    worker.put(a=1)
    size = os.path.getsize(log_path(worker.running_path))
    worker.put(b=2)
    os.truncate(log_path(worker.running_path), size + 3)
    assert worker.rescued(tmp_path / "place") == {"a": 1}


def test_a_value_that_cannot_be_read_stays_out_and_others_do_not(worker: Worker, tmp_path: Path) -> None:
    worker.put(a="a" * 50_000, b="b" * 50_000)
    worker.log._write([["put", "a", [[8, 100_000]], True]])  # nothing lies there
    assert worker.rescued(tmp_path / "place") == {"b": "b" * 50_000}


def test_without_a_nanny_nothing_is_told(tmp_path: Path) -> None:
    log = RescueLog(None)
    store = Store()
    log.put({"a": Packed(b"", is_original=True)}, store)
    assert list(tmp_path.iterdir()) == []
    assert log.keys == {}


def test_a_folder_without_a_log_gives_nothing(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    assert rescue(os.getpid(), str(tmp_path / "nothing"), str(place)) == []
    assert load_rescued(str(place)) == ({}, {})


def test_a_copy_that_can_be_computed_again_gives_up_its_pickle() -> None:
    packed = Packed(Serialized([b"", b"x" * 20_000]))
    packed.load()
    assert packed.payload is None


def test_a_folder_that_is_gone_costs_the_data_and_no_worker(
    worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker.put(a=1)
    assert load_rescued(str(tmp_path / "nothing")) == ({}, {})
    assert "cannot be read" in caplog.text
