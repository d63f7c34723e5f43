"""Objects as payloads: what stays out of band, what travels by value, what is refused."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np
import pytest

from distributed.errors import UnpicklableError
from distributed.protocol.serialize import (
    Serialized,
    TaskRef,
    dumps_function,
    dumps_payload,
    loads_function,
    loads_payload,
    payload_nbytes,
    raiser,
    to_serialize,
)

BIG = 16 * 1024


class Refuses:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


@pytest.mark.parametrize("value", [None, 5, "x", b"small", {"a": {1, 2}}, b"x" * BIG, "y" * BIG, bytearray(BIG), 1j])
def test_a_value_comes_back(value: Any) -> None:
    loaded = loads_payload(dumps_payload(value))
    assert loaded == value
    assert type(loaded) is type(value)


def test_small_values_are_bytes_and_big_ones_frames() -> None:
    assert type(dumps_payload([1, 2])) is bytes
    assert type(dumps_payload("x" * BIG)) is Serialized
    assert len(dumps_payload(np.zeros(BIG, "u1")).frames) == 2
    assert type(dumps_payload(np.zeros(10))) is bytes


def test_big_bytes_are_not_even_pickled() -> None:
    data = b"x" * BIG
    assert dumps_payload(data).frames[1] is data


@pytest.mark.parametrize("take", [lambda a: a, np.asfortranarray, lambda a: a[::2], lambda a: a.T])
def test_arrays_of_any_layout_come_back(take: Any) -> None:
    array = take(np.arange(40_000).reshape(200, 200))
    assert (loads_payload(dumps_payload(array)) == array).all()


def test_a_pickle_buffer_goes_out_of_band_without_a_copy() -> None:
    data = bytearray(BIG)
    payload = dumps_payload(pickle.PickleBuffer(data))
    assert np.shares_memory(np.frombuffer(payload.frames[1], "u1"), np.frombuffer(data, "u1"))


def test_a_buffer_with_holes_is_sent_as_a_copy() -> None:
    class Holes:
        def __reduce_ex__(self, protocol: Any) -> Any:
            return bytes, (pickle.PickleBuffer(memoryview(bytearray(2 * BIG))[::2]),)

    with pytest.raises(UnpicklableError, match="Holes"):  # pickle itself cannot copy what is not contiguous
        dumps_payload(Holes())


def test_lambdas_and_local_classes_travel_by_value() -> None:
    class Local:
        x = 3

    assert loads_payload(dumps_payload(Local)).x == 3
    assert loads_function(dumps_function(lambda x: x + 1))(1) == 2
    assert loads_function(dumps_function(len)) is len


def test_what_seems_to_be_of_the_callers_script_travels_by_value_too() -> None:
    assert loads_payload(dumps_payload(["__main__", 5])) == ["__main__", 5]


@pytest.mark.parametrize("value", [threading.Lock(), Refuses()], ids=["lock", "refuses"])
def test_what_cannot_be_pickled_is_refused_with_its_role_and_type(value: Any) -> None:
    with pytest.raises(UnpicklableError, match=r"a result of type (lock|Refuses) cannot be pickled") as caught:
        dumps_payload(value, "a result")
    assert caught.value.what == "a result"
    with pytest.raises(UnpicklableError, match="a function"):
        dumps_function(lambda: value)


def test_a_payload_that_is_wrapped_stays_opaque() -> None:
    wrapped = to_serialize([1])
    assert repr(wrapped) == f"<Serialized {wrapped.nbytes} bytes in 1 frames>"
    assert payload_nbytes(wrapped) == wrapped.nbytes
    assert payload_nbytes(b"abc") == 3
    assert pickle.loads(pickle.dumps(Serialized([b"a", memoryview(b"bc")]))).frames == [b"a", b"bc"]


def test_a_task_ref_survives_and_shows_its_key() -> None:
    assert repr(loads_payload(dumps_payload(TaskRef("x-1")))) == "TaskRef('x-1')"


def test_what_stands_for_a_value_that_could_not_be_pickled_raises_when_loaded() -> None:
    with pytest.raises(UnpicklableError, match="a result of type lock"):
        raiser(UnpicklableError("a result", "lock", "no")).load()
