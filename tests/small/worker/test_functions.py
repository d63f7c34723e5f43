"""Functions are loaded once, for a bounded number of them."""

from __future__ import annotations

import operator
import pickle
from collections import OrderedDict
from typing import Any

import pytest

from distributed.worker.functions import Functions


class Callback:
    """Runs `inside` while it is loaded."""

    inside: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return load_callback, ()


def load_callback() -> Any:
    inside, Callback.inside = Callback.inside, None
    if inside is not None:
        inside()
    return lambda: None


BLOB = pickle.dumps(Callback())


def test_a_function_is_loaded_once() -> None:
    functions = Functions()
    assert functions.get(b"d", BLOB) is functions.get(b"d", b"not looked at")


def test_the_last_used_are_kept() -> None:
    functions = Functions(functions_max=2)
    a, b = functions.get(b"a", BLOB), functions.get(b"b", BLOB)
    functions.get(b"a", BLOB)
    functions.get(b"c", BLOB)
    assert len(functions) == 2
    assert functions.get(b"a", BLOB) is a
    assert functions.get(b"b", BLOB) is not b


def test_a_forgotten_function_is_loaded_again() -> None:
    functions = Functions()
    old = functions.get(b"a", BLOB)
    functions.forget([b"a", b"unknown"])
    assert functions.get(b"a", BLOB) is not old


def test_what_cannot_be_loaded_is_not_kept() -> None:
    functions = Functions()
    with pytest.raises(pickle.UnpicklingError):
        functions.get(b"a", b"no pickle")
    assert len(functions) == 0


def test_all_get_the_function_that_was_loaded_first() -> None:
    functions = Functions()
    seen: list[Any] = []
    Callback.inside = lambda: seen.append(functions.get(b"a", BLOB))
    assert functions.get(b"a", BLOB) is seen[0]


class LosesIt(OrderedDict[bytes, Any]):
    """Another thread forgets the function between the two steps of `Functions.get`."""

    def move_to_end(self, key: bytes, last: bool = True) -> None:
        del self[key]
        super().move_to_end(key, last)


def test_a_function_forgotten_at_that_moment_still_serves() -> None:
    functions = Functions()
    functions._loaded = LosesIt({b"a": operator.neg})
    assert functions.get(b"a", BLOB) is operator.neg
    assert len(functions) == 1
