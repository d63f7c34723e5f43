"""Results by key, and payloads that are loaded when first asked for. Spilling: test_store_spilling.py."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from distributed.errors import UnpicklableError
from distributed.protocol.serialize import dumps_payload, loads_payload
from distributed.worker import store as store_module
from distributed.worker.store import Packed, Store


def test_what_is_put_is_there_until_it_is_dropped() -> None:
    store = Store()
    store.put("a", [1], 10)
    store.put_columns(["b", "c"], ["B", "C"], [20, 30])
    assert (len(store), store.nbytes, "a" in store, "z" in store) == (3, 60, True, False)
    assert store.get("b") == "B"
    store.drop(["a", "unknown", "b"])
    assert store.nbytes_by_key() == {"c": 30}
    assert store.nbytes == 30
    with pytest.raises(KeyError):
        store.get("a")


def test_a_value_put_again_replaces_the_old_one_and_its_size() -> None:
    store = Store()
    store.put("a", "old", 10)
    store.put("a", "new", 3)
    assert store.get("a") == "new"
    assert store.nbytes == 3


def test_a_packed_value_is_loaded_once() -> None:
    store = Store()
    packed = Packed(dumps_payload([1, 2]))
    store.put("a", packed, 10)
    assert store.get_payload("a") is packed.payload
    first = store.get("a")
    assert first == [1, 2]
    assert store.get("a") is first
    assert packed.payload is None
    assert loads_payload(store.get_payload("a")) == [1, 2]


class LoadsInside:
    """While it is loaded for the first time, another thread loads the same payload to the end."""

    packed: Packed | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return make_inside, ()


def make_inside() -> list[str]:
    packed, LoadsInside.packed = LoadsInside.packed, None
    if packed is not None:
        packed.load().append("the one all see")
    return []


def test_two_threads_that_load_at_once_see_the_same_object() -> None:
    packed = LoadsInside.packed = Packed(pickle.dumps(LoadsInside()))
    assert packed.load() == ["the one all see"]
    assert packed.load() is packed.load()


def test_a_value_that_cannot_be_loaded_says_so_each_time() -> None:
    store = Store()
    store.put("a", Packed(b"no pickle"), 9)
    for _ in range(2):
        with pytest.raises(pickle.UnpicklingError):
            store.get("a")


def test_a_payload_is_made_once_while_the_value_stays() -> None:
    store = Store()
    store.put("a", [1], 10)
    first = store.get_payload("a")
    assert store.get_payload("a") is first
    store.put("a", [2], 10)
    assert loads_payload(store.get_payload("a")) == [2]
    store.drop(["a"])
    with pytest.raises(KeyError):
        store.get_payload("a")


def test_the_payloads_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PAYLOADS_NBYTES_MAX", 5_000)
    store = Store()
    for name in "abc":
        store.put(name, [name] * 2 + [bytes(2_000)], 10)
    a, b = store.get_payload("a"), store.get_payload("b")
    assert store.get_payload("a") is a
    store.get_payload("c")  # b is the one not used for the longest time
    assert store.get_payload("a") is a
    assert store.get_payload("b") is not b
    store.put("big", [bytes(6_000)], 10)
    assert store.get_payload("big") is not store.get_payload("big")


class DropsItself:
    def __init__(self, store: Store) -> None:
        self.store = store

    def __reduce__(self) -> tuple[Any, ...]:
        self.store.drop(["a"])
        return list, ()


def test_a_payload_of_a_key_dropped_meanwhile_is_not_kept() -> None:
    store = Store()
    store.put("a", DropsItself(store), 10)
    payload = store.get_payload("a")
    store.put("a", DropsItself(store), 10)
    assert store.get_payload("a") is not payload


def test_what_cannot_be_pickled_is_named_by_key_and_type() -> None:
    store = Store()
    store.put("a", threading.Lock(), 10)
    with pytest.raises(UnpicklableError, match=r"the result of a of type lock"):
        store.get_payload("a")
