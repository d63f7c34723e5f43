"""Calls as bytes: functions, arguments, keys; and the structures of futures."""

from __future__ import annotations

import types
from collections import namedtuple
from functools import partial
from typing import Any

import pytest

from distributed.client import packing
from distributed.client.futures import Future, FutureSequence
from distributed.client.packing import FunctionCache, PackedFunction, pack_arguments, pure_key
from distributed.client.records import KeyRecord, Status
from distributed.client.structures import filled, flatten, listed, records_in, shaped_like
from distributed.client.table import KeyTable
from distributed.errors import UnpicklableError
from distributed.protocol.serialize import BUFFER_NBYTES_MIN, Serialized, TaskRef, loads_payload
from distributed.testing.functions import inc

Pair = namedtuple("Pair", "left right")


class FakeSession:
    """Enough of a session to hold futures."""

    def __init__(self) -> None:
        self.table = KeyTable()
        self.released: list[str] = []

    def release(self, keys: Any) -> None:
        self.released.extend(keys)

    def future(self, key: str) -> Future:
        self.table.admit(key)
        return Future(self, self.table.records[key])  # type: ignore[arg-type]

    def sequence(self, *keys: str) -> FutureSequence:
        for key in keys:
            self.table.admit(key)
        return FutureSequence(self, list(keys))  # type: ignore[arg-type]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


def by_value(source: str, name: str = "f", module: str = "nowhere") -> types.FunctionType:
    """A function of a module that cannot be imported, so it is pickled by value."""
    known: dict[str, Any] = {"__name__": module}
    exec(source, known)
    return known[name]


# ---------------------------------------------------------------- functions


def test_a_function_is_pickled_once() -> None:
    cache = FunctionCache()
    assert cache.pack(inc) is cache.pack(inc)
    f = by_value("def f(x): return x")
    assert cache.pack(f) is cache.pack(f)


def test_a_name_is_short_and_says_what_it_is() -> None:
    cache = FunctionCache()
    names = [cache.pack(function).name for function in (inc, lambda: 1, partial(partial(inc), 1), int, "x".join)]
    assert names == ["inc", "<lambda>", "inc", "int", "join"]
    assert len(cache.pack(by_value(f"def {'f' * 500}(): pass", "f" * 500)).name) == 60


CHANGES = {
    "a global": "N = 2",
    "a global used in a comprehension": "M = [5]",
    "a function it calls": "def helper(x): return -x",
    "a global of a function it calls": "DEEP = 7",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_function_by_value_is_pickled_again_when_what_it_uses_is_bound_anew(change: str) -> None:
    source = (
        "N, DEEP, M, OTHER = 1000, 2000, [3], 4\n"
        "def helper(x): return x + DEEP\n"
        "def f(x): return [helper(y) + M[0] for y in x] + [N, (lambda: M)()]\n"
    )
    f = by_value(source)
    cache = FunctionCache()
    before = cache.pack(f)
    exec("OTHER = 5", f.__globals__)
    assert cache.pack(f) is before, "it does not use OTHER"
    exec(change, f.__globals__)
    after = cache.pack(f)
    assert after.digest != before.digest and cache.pack(f) is after


def test_a_new_object_with_the_id_of_an_old_one_is_seen() -> None:
    f = by_value("DATA = [1]\ndef f(): return DATA")
    cache = FunctionCache()
    before = cache.pack(f)
    for value in range(2, 10):  # the list before the last is freed each time, and its memory used again
        f.__globals__["DATA"] = [value]
    assert cache.pack(f).digest != before.digest


def test_closures_defaults_and_code_are_looked_at_too() -> None:
    f = by_value(
        "def make():\n    n = 1\n    def f(x=1, *, y=1): return n\n"
        "    def bind(m):\n        nonlocal n\n        n = m\n    return f, bind",
        "make",
    )
    f, bind = f()
    cache = FunctionCache()
    seen = {cache.pack(f).digest}
    for change in (
        lambda: bind(2),
        lambda: setattr(f, "__defaults__", (5,)),
        lambda: setattr(f, "__kwdefaults__", {"y": 5}),
        lambda: setattr(f, "__code__", (lambda x=1, *, y=1: bind).__code__),
    ):
        change()
        digest = cache.pack(f).digest
        assert digest not in seen
        seen.add(digest)


def test_functions_that_call_each_other_and_cells_without_a_value() -> None:
    f = by_value("def g(x): return f(x)\ndef f(x): return g(x)")
    assert FunctionCache().pack(f).is_current()

    def outer() -> Any:
        def inner() -> Any:
            return later

        packed = packing.look_at(inner)
        was_current = packed[0].is_current()
        later = 1
        return was_current, packed[0].is_current(), later

    assert outer() == (True, False, 1)


def test_other_callables_are_pickled_each_time() -> None:
    class Adder:
        n = 1

        def __call__(self) -> int:
            return self.n

    adder, cache = Adder(), FunctionCache()
    before = cache.pack(adder).digest
    adder.n = 2
    assert cache.pack(adder).digest != before
    items = [1]
    total = partial(sum, items)
    before = cache.pack(total).digest
    items.append(1)
    assert cache.pack(total).digest != before
    before = cache.pack(items.index).digest
    items.append(1)
    assert cache.pack(items.index).digest != before


def test_the_cache_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "FUNCTIONS_MAX", 3)
    cache = FunctionCache()
    functions = [by_value(f"def f(): return {n}") for n in range(5)]
    packed = [cache.pack(function) for function in functions]
    assert cache.pack(functions[4]) is packed[4] and cache.pack(functions[0]) is not packed[0]


def test_a_big_function_travels_beside_the_header() -> None:
    f = by_value(f"DATA = b'x' * {BUFFER_NBYTES_MIN}\ndef f(): return DATA")
    packed = PackedFunction(f)
    assert isinstance(packed.blob, Serialized)
    assert loads_payload(packed.blob)() == f()
    assert isinstance(PackedFunction(inc).blob, bytes)


# ---------------------------------------------------------------- arguments and keys


def test_plain_arguments_have_no_dependencies() -> None:
    for args in ((), (1, "x", None), (range(3), int), ([1, {"x": (2,)}],)):
        payload, needs = pack_arguments(args, {"k": 1})
        assert needs is None and loads_payload(payload) == (args, {"k": 1})


def test_futures_become_references_in_order_each_once(session: FakeSession) -> None:
    a, b, c = session.future("a"), session.future("b"), session.future("c")
    payload, needs = pack_arguments(([b, (a, {b})], c), {"k": {"d": a}})
    assert needs == ["b", "a", "c"]
    (first, second), kwargs = loads_payload(payload)
    assert type(first[0]) is TaskRef and first[0].key == "b" and second.key == "c" and kwargs["k"]["d"].key == "a"


def test_a_sequence_is_the_list_of_its_results(session: FakeSession) -> None:
    payload, needs = pack_arguments((session.sequence("a", "b", "a"),), {})
    assert needs == ["a", "b"]
    assert [ref.key for ref in loads_payload(payload)[0][0]] == ["a", "b", "a"]


@pytest.mark.parametrize("hide", [lambda f: Pair(f, 1), lambda f: {"x": {f: 1}}.values(), lambda f: partial(print, f)])
def test_hidden_futures_are_refused(session: FakeSession, hide: Any) -> None:
    future = session.future("a")
    with pytest.raises(UnpicklableError, match=r"hidden inside another object|cannot be pickled"):
        pack_arguments((hide(future),), {})
    with pytest.raises(UnpicklableError, match="pass it as an argument"):
        session.sequence("a").__reduce__()


def test_a_list_that_holds_itself_is_an_argument() -> None:
    loop: list[Any] = []
    loop.append(loop)
    payload, needs = pack_arguments((loop,), {})
    ((found,), _) = loads_payload(payload)
    assert found[0] is found and needs is None


def test_equal_calls_have_one_key_and_others_another() -> None:
    cache = FunctionCache()

    def key(function: Any, *args: Any, **kwargs: Any) -> str:
        return pure_key(cache.pack(function), pack_arguments(args, kwargs)[0])

    same = [key(inc, 1, "x"), key(inc, 1, "x")]
    others = [key(inc, 1), key(inc, 1.0), key(inc, "1"), key(inc, x=1), key(int, 1), key(inc, [1]), key(inc, (1,))]
    big = [key(inc, bytes(n)) for n in (100_000, 100_001)]
    assert len(set(same)) == 1 and len({*same, *others, *big}) == 10
    assert key(inc, bytes(100_000)) == big[0] and same[0].startswith("inc-")


# ---------------------------------------------------------------- structures


def test_records_are_found_once_and_in_order(session: FakeSession) -> None:
    a, b, sequence = session.future("a"), session.future("b"), session.sequence("c", "a")
    found = records_in(session, [b, {"x": (a, {b}), "y": sequence}, "text", 5])  # type: ignore[arg-type]
    assert [record.key for record in found] == ["b", "a", "c"]
    assert [record.key for record in records_in(session, sequence)] == ["c", "a"]  # type: ignore[arg-type]


def test_results_take_the_place_of_futures(session: FakeSession) -> None:
    a, b, sequence = session.future("a"), session.future("b"), session.sequence("a", "b")
    values = {"a": 1, "b": 2}
    assert filled([a, (b, {"x": a}), {b}, frozenset({a})], values) == [1, (2, {"x": 1}), {2}, frozenset({1})]
    assert filled(Pair(a, sequence), values) == Pair(1, [1, 2])
    assert filled([a, {"x": a, "y": b}, sequence, "z"], {"b": 2}) == [{"y": 2}, [2], "z"]
    assert filled(a, {}) is None and filled(5, {}) == 5


def test_iterators_and_views_are_lists(session: FakeSession) -> None:
    assert listed(x for x in (1, 2)) == [1, 2] and listed({"a": 1}.values()) == [1] and listed({"a": 1}) == {"a": 1}


def test_keys_of_graphs_keep_their_shape(session: FakeSession) -> None:
    assert list(flatten(["a", ["b", ("c", 1)]])) == ["a", "b", ("c", 1)]
    futures = {key: session.future(str(key)) for key in ("a", "b")}
    assert shaped_like(["a", ["b"]], futures) == [futures["a"], [futures["b"]]]


# ---------------------------------------------------------------- futures and sequences


def test_futures_of_one_record_are_equal(session: FakeSession) -> None:
    a, again, other = session.future("a"), session.future("a"), FakeSession().future("a")
    assert a == again and hash(a) == hash(again) and a != other and a != "a" and len({a, again, other}) == 2


def test_a_future_is_released_once(session: FakeSession) -> None:
    future = session.future("a")
    future.release()
    future.release()
    del future
    assert session.released == ["a"]


def test_a_sequence_holds_each_key_and_its_parts_hold_theirs(session: FakeSession) -> None:
    futures = session.sequence("a", "b", "c")
    part, one = futures[1:], futures[0]
    assert [record.holders for record in session.table.records.values()] == [2, 2, 2]
    assert (len(futures), part.keys, one.key, one in futures, futures.index(one)) == (3, ("b", "c"), "a", True, 0)
    del one, part, futures
    holders = {key: record.holders - session.released.count(key) for key, record in session.table.records.items()}
    assert holders == dict.fromkeys("abc", 0)


def test_texts_for_people(session: FakeSession) -> None:
    record = KeyRecord("a")
    assert repr(session.future("a")) == "<Future: pending, key: a>" and record.status is Status.PENDING
    assert repr(session.sequence()) == "<FutureSequence: 0 futures, first key: >"
