"""The decorator: what it keeps of a function, what it refuses, and options."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import pickle
from typing import Any

import pytest

import distributed as package
from distributed import Distributed, distributed
from distributed.crews.options import CallOptions
from distributed.errors import ConfigError, UndistributableError


@distributed
def documented(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


documented.colour = "red"  # type: ignore[attr-defined]


@distributed(platform=["linux-*", "darwin"], threads=2, memory="1 GiB", strict=True, retries=3, redistribute="relayed")
def demanding() -> None:
    """Nothing."""


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @distributed
    def times(self, value: int) -> int:
        return self.factor * value

    @staticmethod
    @distributed
    def double(value: int) -> int:
        return 2 * value

    @classmethod
    @distributed
    def named(cls, value: int) -> str:
        return f"{cls.__name__}{value}"


def test_the_decorator_is_bare_or_has_options() -> None:
    """D01: bare, and with platform, threads, memory, strict and more."""
    assert documented.options == CallOptions()
    assert demanding.options == CallOptions(("linux-*", "darwin"), 2, 2**30, True, 3, "relayed")
    assert distributed()(math.sqrt).options == CallOptions()
    assert distributed(platform="linux")(math.sqrt).options.platform == ("linux",)


def test_a_decorated_function_looks_like_the_function() -> None:
    assert (documented.__name__, documented.__doc__, documented.__module__) == ("documented", "Add.", __name__)
    assert str(inspect.signature(documented)) == "(a: 'int', b: 'int' = 2) -> 'int'"
    assert documented.name == f"{__name__}/documented"
    assert documented.__wrapped__(1) == documented.local(1) == 3
    assert isinstance(documented, Distributed)
    assert repr(documented) == f"<Distributed: {__name__}/documented>"


def test_methods_are_bound_and_static_and_class_methods_work() -> None:
    assert Scale(3).times.local(4) == 12
    assert Scale.times.local(Scale(3), 4) == 12
    assert Scale.double.local(4) == 8
    assert "Scale.times" in repr(Scale(3).times)
    assert Scale(3).times.options == CallOptions()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Scale, "decorate its methods"),
        (staticmethod(math.sqrt), "below @staticmethod"),
        (classmethod(math.sqrt), "below @classmethod"),
        (property(math.sqrt), "below @property"),
        (documented, "once"),
        (Scale(3).times, "once"),
        ("linux", "by name"),
    ],
)
def test_what_cannot_be_decorated_is_refused_with_what_to_write(given: Any, text: str) -> None:
    with pytest.raises(UndistributableError, match=text):
        distributed(given)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": "2"},
        {"threads": -2},
        {"platform": ()},
        {"platform": [5]},
        {"memory": "much"},
        {"retries": -1},
        {"redistribute": "somehow"},
        {"nested": "maybe"},
        {"strict": 1},
    ],
)
def test_an_option_that_cannot_be_is_refused_where_it_is_written(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        distributed(**options)


def test_a_decorated_function_travels_by_name_or_with_its_code() -> None:
    assert pickle.loads(pickle.dumps(documented)) is documented
    assert copy.deepcopy(documented) is documented
    again = pickle.loads(pickle.dumps(distributed(threads=3)(math.sqrt)))
    assert (again.__wrapped__, again.options.threads) == (math.sqrt, 3)


def test_partials_and_builtins_can_be_decorated() -> None:
    assert distributed(math.sqrt).local(9) == 3
    assert distributed(functools.partial(pow, 2)).local(5) == 32


def test_the_decorator_is_there_whatever_else_was_imported() -> None:
    import distributed.core
    import distributed.utils

    assert package.distributed is distributed.distributed is type(documented).__init__.__globals__["distributed"]
