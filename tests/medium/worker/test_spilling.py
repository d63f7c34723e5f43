"""Results on their way to disk and back, while they are dropped, replaced and asked for."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distributed.errors import UnpicklableError
from distributed.protocol.serialize import dumps_payload, loads_payload
from distributed.worker.spill import SpillDisk, Spilled, SpillReadError
from distributed.worker.store import SPILL_NBYTES_MIN, Lent, Packed, Store, payload_of

BIG = 100_000


def spill(store: Store, disk: SpillDisk, nbytes: int = 10**9) -> list[str]:
    """Keys in the order in which they went."""
    lent = store.choose(nbytes)
    for entry in lent:
        store.settle(entry.key, entry.ticket, disk.write(entry.key, payload_of(entry)))
    return [entry.key for entry in lent]


@pytest.fixture
def disk(tmp_path: Path) -> SpillDisk:
    return SpillDisk(str(tmp_path))


@pytest.mark.parametrize(
    "value",
    [
        b"x" * BIG,
        "x" * BIG,
        ["y" * 10] * BIG,
        {"a": bytes(20_000), "b": bytearray(30_000)},
        numpy.arange(BIG),
        "",
        None,
    ],
    ids=["bytes", "text", "list", "buffers", "array", "empty", "none"],
)
def test_what_comes_from_disk_is_what_went_there(disk: SpillDisk, value: Any) -> None:
    spilled = disk.write("a", dumps_payload(value))
    back = spilled.load()
    assert type(back) is type(value)
    assert numpy.array_equal(back, value) if isinstance(value, numpy.ndarray) else back == value
    assert os.stat(spilled.path).st_size == spilled.nbytes
    payload = spilled.payload()
    again = loads_payload(payload)
    assert numpy.array_equal(again, value) if isinstance(value, numpy.ndarray) else again == value


def test_files_and_folder_are_for_their_owner_only_and_go_with_it(disk: SpillDisk, tmp_path: Path) -> None:
    spilled = disk.write("a", b"x")
    assert stat.S_IMODE(os.stat(spilled.path).st_mode) == 0o600
    assert disk.folder is not None
    assert stat.S_IMODE(os.stat(disk.folder).st_mode) == 0o700
    disk.close()
    disk.remove(spilled)  # gone already
    assert list(tmp_path.iterdir()) == []


def test_arrays_from_disk_are_writable_aligned_and_their_file_stays_as_it_was(disk: SpillDisk) -> None:
    spilled = disk.write("a", dumps_payload([numpy.zeros(BIG), numpy.zeros(BIG, "u1")]))
    first, second = spilled.load()
    assert first.ctypes.data % 64 == 0
    assert second.ctypes.data % 64 == 0
    first[:] = 1
    assert spilled.load()[0].sum() == 0
    disk.remove(spilled)
    assert first.sum() == BIG  # an object that was loaded stays whole


def test_a_file_that_is_gone_or_cut_is_an_error_and_no_crash(disk: SpillDisk) -> None:
    spilled = disk.write("a", dumps_payload(numpy.zeros(BIG)))
    os.truncate(spilled.path, 1_000)
    with pytest.raises(SpillReadError, match="shorter"):
        spilled.load()
    os.unlink(spilled.path)
    with pytest.raises(SpillReadError, match="No such file"):
        spilled.payload()


def test_a_disk_that_takes_only_a_part_keeps_nothing_of_it(disk: SpillDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def pwrite(descriptor: int, view: memoryview, start: int) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(start)
        return 1_000

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space"):
        disk.write("a", dumps_payload(numpy.zeros(BIG)))
    assert disk.folder is not None
    assert os.listdir(disk.folder) == []


def test_the_least_recently_used_go_first_and_no_more_than_asked(disk: SpillDisk) -> None:
    store = Store(disk.remove)
    for key in "abcd":
        store.put(key, key * BIG, BIG)
    store.put("small", "s", SPILL_NBYTES_MIN - 1)
    store.get("a")
    assert spill(store, disk, BIG + 1) == ["b", "c"]
    assert (store.managed_nbytes, store.away_nbytes) == (2 * BIG + SPILL_NBYTES_MIN - 1, 2 * BIG)
    assert spill(store, disk) == ["d", "a"]
    assert store.spillable_nbytes == 0
    assert [store.get(key)[0] for key in "abcd"] == list("abcd")


def test_what_was_loaded_again_counts_again_and_goes_without_writing(disk: SpillDisk) -> None:
    store = Store(disk.remove)
    store.put("text", "t" * BIG, BIG)
    store.put("array", numpy.zeros(BIG), 8 * BIG)
    spill(store, disk)
    assert store.managed_nbytes == 0
    text = store.get("text")
    assert store.get("text") is text
    assert store.managed_nbytes == store.spillable_nbytes == BIG
    assert store.get("array").nbytes == 8 * BIG
    assert store.managed_nbytes == BIG  # the array's pages are those of its file
    assert store.choose(10**9) == []
    assert store.managed_nbytes == 0
    assert store.get("text") == text


def test_a_payload_of_a_spilled_value_is_its_file_and_none_is_kept_of_what_went(disk: SpillDisk) -> None:
    store = Store(disk.remove)
    store.put("a", ["a" * BIG], BIG)
    first = store.get_payload("a")
    assert store.get_payload("a") is first
    spill(store, disk)
    assert store._payloads == {}
    assert loads_payload(store.get_payload("a")) == ["a" * BIG]
    assert store.managed_nbytes == 0  # it was not loaded for that


def test_a_value_that_nobody_loaded_is_written_as_it_came(disk: SpillDisk) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return pytest.fail, ("loaded",)

    store = Store(disk.remove)
    store.put("a", Packed(dumps_payload([Trap(), "x" * BIG])), BIG)
    assert spill(store, disk) == ["a"]


@pytest.mark.parametrize("replaced", [True, False])
def test_what_was_dropped_or_replaced_on_its_way_leaves_no_file(disk: SpillDisk, replaced: bool) -> None:
    store = Store(disk.remove)
    value = "a" * BIG
    store.put("a", value, BIG)
    (lent,) = store.choose(1)
    spilled = disk.write("a", payload_of(lent))
    if replaced:
        store.put("a", value, BIG)  # even by the very same object: it may have changed meanwhile
    else:
        store.drop(["a"])
    assert not store.settle("a", lent.ticket, spilled)
    assert not os.path.exists(spilled.path)
    assert store.spilling_nbytes == store.spilled_nbytes == store.away_nbytes == 0
    assert store.managed_nbytes == (BIG if replaced else 0)


def test_a_value_that_could_not_be_written_stays_and_is_chosen_again_unless_it_never_can(disk: SpillDisk) -> None:
    store = Store(disk.remove)
    store.put("a", "a" * BIG, BIG)
    (lent,) = store.choose(1)
    assert store.choose(1) == []  # it is on its way
    store.take_back("a", lent.ticket, for_good=False)
    (lent,) = store.choose(1)
    store.take_back("a", lent.ticket, for_good=True)
    assert store.choose(1) == []
    assert store.get("a") == "a" * BIG
    assert store.managed_nbytes == BIG


def test_what_cannot_be_pickled_says_so() -> None:
    with pytest.raises(UnpicklableError, match="the result of a of type lock"):
        payload_of(Lent("a", threading.Lock(), 10, 1))


def test_a_result_whose_file_was_lost_is_told_apart_from_one_that_never_was(disk: SpillDisk) -> None:
    store = Store(disk.remove)
    store.put("a", "a" * BIG, BIG)
    spill(store, disk)
    assert disk.folder is not None
    shutil.rmtree(disk.folder)
    with pytest.raises(SpillReadError):
        store.get("a")
    with pytest.raises(KeyError):
        store.get("b")
    store.drop(["a"])
    assert store.nbytes == store.spilled_nbytes == 0


KEYS = st.sampled_from("abc")


class Spilling(RuleBasedStateMachine):
    """A store beside a dict that says what it has to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="distributed-test-")
        self.disk = SpillDisk(self.folder)
        self.store = Store(self.disk.remove)
        self.model: dict[str, tuple[Any, int]] = {}
        self.lent: list[Lent] = []
        self.arrived: list[tuple[Lent, Spilled]] = []
        self.number = 0

    @rule(key=KEYS, nbytes=st.sampled_from([10, SPILL_NBYTES_MIN, 20_000]), packed=st.booleans())
    def put(self, key: str, nbytes: int, packed: bool) -> None:
        self.number += 1
        value = [self.number, "x" * nbytes, numpy.full(nbytes, self.number % 251, "u1")]
        self.model[key] = value, 2 * nbytes
        self.store.put(key, Packed(dumps_payload(value)) if packed else value, 2 * nbytes)

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        self.model.pop(key, None)
        self.store.drop([key])

    @rule(nbytes=st.sampled_from([1, 30_000, 10**6]))
    def choose(self, nbytes: int) -> None:
        self.lent += self.store.choose(nbytes)

    @precondition(lambda self: self.lent)
    @rule(index=st.integers(0, 10))
    def write(self, index: int) -> None:
        lent = self.lent.pop(index % len(self.lent))
        self.arrived.append((lent, self.disk.write(lent.key, payload_of(lent))))

    @precondition(lambda self: self.arrived)
    @rule(index=st.integers(0, 10))
    def settle(self, index: int) -> None:
        lent, spilled = self.arrived.pop(index % len(self.arrived))
        self.store.settle(lent.key, lent.ticket, spilled)

    @precondition(lambda self: self.lent)
    @rule(for_good=st.booleans())
    def fail(self, for_good: bool) -> None:
        lent = self.lent.pop(0)
        self.store.take_back(lent.key, lent.ticket, for_good)

    @rule(key=KEYS, as_payload=st.booleans())
    def ask(self, key: str, as_payload: bool) -> None:
        if key not in self.model:
            with pytest.raises(KeyError):
                self.store.get(key)
            return
        value = loads_payload(self.store.get_payload(key)) if as_payload else self.store.get(key)
        assert (value[0], value[1]) == (self.model[key][0][0], self.model[key][0][1])
        assert numpy.array_equal(value[2], self.model[key][0][2])

    @invariant()
    def accounts_are_right(self) -> None:
        store = self.store
        assert store.nbytes == sum(nbytes for _, nbytes in self.model.values())
        assert 0 <= store.spillable_nbytes + store.spilling_nbytes <= store.managed_nbytes <= store.nbytes
        files = [value for value in store._values.values() if type(value) is Spilled]
        assert store.spilled_nbytes == sum(spilled.nbytes for spilled in files)
        on_disk = {entry.name for entry in os.scandir(self.disk.folder)} if self.disk.folder else set()
        known = {os.path.basename(spilled.path) for spilled in [*files, *(spilled for _, spilled in self.arrived)]}
        assert on_disk == known
        if not files:
            assert store.away_nbytes == 0

    def teardown(self) -> None:
        self.store.drop(list(self.model))
        assert (self.store.nbytes, self.store.away_nbytes, self.store.spillable_nbytes) == (0, 0, 0)
        shutil.rmtree(self.folder)


TestSpilling = Spilling.TestCase
TestSpilling.settings = settings(max_examples=60, stateful_step_count=40)


def test_threads_that_ask_while_values_come_and_go_never_see_a_wrong_one(disk: SpillDisk) -> None:
    store = Store(disk.remove)
    faults: list[Any] = []
    is_over = threading.Event()

    def ask() -> None:
        try:
            while not is_over.is_set():
                for key in "abcd":
                    value = store.get(key)
                    if value[0] != key or len(value) != BIG:
                        faults.append(value)
        except BaseException as error:
            faults.append(error)

    for key in "abcd":
        store.put(key, key * BIG, BIG)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(200):
        if number % 3 == 0:
            store.put("abcd"[number % 4], "abcd"[number % 4] * BIG, BIG)
        spill(store, disk, 2 * BIG)
    is_over.set()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.parametrize("ask", [Store.get, Store.get_payload])
def test_who_asks_while_a_file_goes_gets_the_value_that_takes_its_place(disk: SpillDisk, ask: Any) -> None:
    answers: list[Any] = []

    def answer() -> None:
        try:
            answers.append(ask(store, "a"))
        except BaseException as error:
            answers.append(error)

    def remove(spilled: Spilled) -> None:
        disk.remove(spilled)
        asking.start()
        asking.join(0.1)  # time enough to take the missing file for a lost one

    asking = threading.Thread(target=answer)
    store = Store(remove)
    store.put("a", b"a" * BIG, BIG)
    spill(store, disk)
    store.put("a", b"b" * BIG, BIG)
    asking.join(10)
    assert [answer if ask is Store.get else loads_payload(answer) for answer in answers] == [b"b" * BIG]
