"""Bytecode is refused by another minor version of Python, by name, and not run there."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from distributed.errors import PythonMismatchError
from distributed.protocol import bytecode
from distributed.protocol.serialize import dumps_function, dumps_payload, loads_function, loads_payload


def adder(y: int) -> Any:
    def add(x: int) -> int:
        return x + y

    return add


def test_code_comes_back_under_the_version_that_made_it() -> None:
    assert loads_function(dumps_function(adder(2)))(3) == 5
    assert loads_payload(dumps_payload([lambda: 7]))[0]() == 7


def test_the_same_function_has_the_same_bytes_each_time() -> None:
    assert dumps_function(adder(2)) == dumps_function(adder(2))


def test_another_version_refuses_the_code_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = dumps_function(adder(2))
    monkeypatch.setattr(bytecode, "MINOR", "3.99")
    with pytest.raises(PythonMismatchError, match=r"add cannot go from Python 3\.\d+ to Python 3\.99.*a module"):
        loads_function(blob)


def test_what_travels_by_name_is_not_concerned(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = dumps_function(pickle.dumps)
    monkeypatch.setattr(bytecode, "MINOR", "3.99")
    assert loads_function(blob) is pickle.dumps
