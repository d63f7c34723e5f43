"""Pool: the calls of its table, one by one, and none of the faults of its ancestor."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from distributed import Client, Pool, RemoteData, get_worker
from distributed.calls import rpc
from distributed.errors import (
    AddressError,
    BadRequestError,
    CommClosedError,
    ConnectTimeoutError,
    DataGoneError,
    KeyTakenError,
    LostDataError,
)
from distributed.pool import divide_tasks
from distributed.testing.functions import inc
from distributed.testing.processes import wait_until

GATES: dict[str, threading.Event] = {}
BUSY: list[str] = []


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened in the end, whatever happens."""
    GATES["gate"] = threading.Event()
    yield GATES["gate"]
    GATES.pop("gate").set()


def pass_gate(value: Any) -> Any:
    assert GATES["gate"].wait(10)
    return value


def meet(number: int, parties: int) -> str:
    """Where it ran; returns when so many run at once."""
    BUSY.append(get_worker().address)
    wait_until(lambda: len(BUSY) >= parties, lambda: f"only {len(BUSY)} at once")
    return get_worker().address


class Parcel:
    """An object in which nobody looks for data."""

    def __init__(self, content: Any) -> None:
        self.content = content


def holders(pool: Pool, *data: RemoteData) -> list[int]:
    """How many workers have each."""
    pool.sync_center()
    return [len(pool.who_has.get(entry.key, ())) for entry in data]


# ---------------------------------------------------------------- the pool itself


def test_a_pool_is_named_in_many_ways(town: Any) -> None:
    """P04: 'host:port', host and port, a pair, bytes, a canonical address, an rpc; sync_center."""
    address = town.center.address
    port = town.center.port
    spellings = [
        (f"127.0.0.1:{port}",),
        ("127.0.0.1", port),
        ("127.0.0.1", str(port)),
        (("127.0.0.1", port),),
        (address.encode(),),
        (rpc(address),),
    ]
    for spelling in spellings:
        with Pool(*spelling) as pool:
            assert (pool.center_ip, pool.center_port, pool.status) == ("127.0.0.1", port, "running")
            pool.sync_center()
            assert list(pool.ncores.values()) == [2] * 5 and pool.available_cores == pool.ncores
            assert set(pool.has_what) == set(pool.ncores)
        assert pool.status == "closed"


def test_a_host_alone_means_port_8787() -> None:
    assert Pool("127.0.0.1", start=False).center_port == 8787
    assert Pool("[::1]", start=False).center_ip == "::1"


def test_what_is_no_address_or_no_center_is_told(town: Any) -> None:
    for place in ((5,), ("a:b:c",), ("127.0.0.1", "x"), ("127.0.0.1:1", 2)):
        with pytest.raises(AddressError):
            Pool(*place)
    with pytest.raises(ConnectTimeoutError):
        Pool("127.0.0.1:1", timeout=0.05)


def test_a_pool_that_is_not_started_says_so(town: Any) -> None:
    pool = Pool(town.center.address, start=False)
    with pytest.raises(CommClosedError, match=r"call start\(\)"):
        pool.map(inc, [1])
    pool.start()
    pool.start()
    assert pool.apply(inc, [1]).get() == 2
    pool.close()
    pool.close()
    with pytest.raises(CommClosedError, match="closed"):
        pool.scatter([1])
    assert repr(pool) == f"<Pool: 127.0.0.1:{town.center.port}, closed>"


def test_what_was_got_outlives_the_pool(town: Any) -> None:
    with Pool(town.center.address) as pool:
        kept, big = pool.map(bytes, [3, 500_000])
        kept.get()
    assert kept.get() == bytes(3)
    with pytest.raises(CommClosedError):
        big.get()


def test_the_snapshots_are_of_the_last_question(pool: Pool) -> None:
    (data,) = pool.scatter([1])
    (address,) = pool.who_has[data.key]
    assert data.key in pool.has_what[address]
    pool.who_has.clear()  # a copy
    assert data.key in pool.who_has


def test_connections_may_be_closed_between_calls(pool: Pool) -> None:
    (data,) = pool.map(bytes, [300_000])
    assert len(data.get()) == 300_000
    pool.close_connections()
    (more,) = pool.map(bytes, [300_001])
    assert len(more.get()) == 300_001


def test_the_engine_is_at_hand(pool: Pool) -> None:
    assert isinstance(pool.client, Client)
    assert pool.client.submit(inc, pool.apply(inc, [1]).future()).result() == 3


# ---------------------------------------------------------------- map


def test_map_waits_for_all_and_leaves_results_where_they_are(pool: Pool) -> None:
    """P05: a RemoteData for each item, in order."""
    data = pool.map(lambda x: x * 10, (n for n in (1, 2, 3)))
    assert [type(entry) for entry in data] == [RemoteData] * 3
    assert all(entry.future().done() and not entry.is_here for entry in data)
    assert holders(pool, *data) == [1, 1, 1]
    assert [entry.get() for entry in data] == [10, 20, 30]
    assert pool.map(inc, []) == []


def test_map_gives_keywords_to_every_call_whatever_they_are_called(pool: Pool) -> None:
    """P05: also those that the engine's own options are called."""

    def told(x: int, func: str, seq: str, key: Any, timeout: int = 0, **rest: Any) -> Any:
        return x, func, seq, key, timeout, sorted(rest)

    data = pool.map(told, [1, 2], func="f", seq="s", key=["k"], timeout=5, self=1, function=2, workers=3)
    rest = ["function", "self", "workers"]
    assert pool.gather(data) == [(n, "f", "s", ["k"], 5, rest) for n in (1, 2)]


def test_data_is_given_at_any_depth(pool: Pool) -> None:
    """P05: RemoteData in lists, tuples, sets, dicts and keywords stand for their values."""
    a, b = pool.map(inc, [1, 2])
    nested = {"list": [a, [b]], "tuple": (a,), "set": {b}}
    assert pool.apply(lambda x, y: (x, y), [nested], {"y": (b, {1: a})}).get() == (
        {"list": [2, [3]], "tuple": (2,), "set": {3}},
        (3, {1: 2}),
    )
    assert pool.gather(pool.map(sum, [[a, b], (b, b)], start=a)) == [7, 8]


def test_the_session_of_the_readme(pool: Pool) -> None:
    squares = pool.map(lambda x: x**2, range(10))
    negated = pool.map(lambda x: -x, squares)
    assert pool.apply(sum, [negated]).get() == -285
    assert pool.gather(negated) == [-(x**2) for x in range(10)]


def test_a_text_that_equals_a_key_stays_a_text(pool: Pool) -> None:
    (data,) = pool.scatter([1], key="name")
    assert data.key == "name-0"
    assert pool.apply(lambda x: x, ["name-0"]).get() == "name-0"


def test_what_holds_itself_travels_as_it_is(pool: Pool) -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    assert pool.apply(lambda x: x[1][1][0], [circle]).get() == 1


def test_ten_cores_are_all_used(pool: Pool) -> None:
    """P14: ten calls run at once on five workers with two cores each."""
    BUSY.clear()
    places = Counter(pool.gather(pool.map(meet, range(10), parties=10)))
    assert len(places) == 5 and set(places.values()) == {2}


@pytest.mark.parametrize("nbytes", [1, 20_000])
def test_a_second_map_runs_where_its_input_is(pool: Pool, nbytes: int) -> None:
    """P09: over 80 % of it, also when it is much wider than the cluster."""
    spread = pool.scatter(range(300))  # evenly: who has nothing helps others, and should
    where = pool.map(lambda x, nbytes: (get_worker().address, bytes(nbytes)), spread, nbytes=nbytes)
    stayed = pool.gather(pool.map(lambda x: x[0] == get_worker().address, where))
    assert sum(stayed) > 240


# ---------------------------------------------------------------- apply


def test_apply_waits_and_gives_data(pool: Pool) -> None:
    """P06: apply, with arguments, keywords and a key."""
    data = pool.apply(divmod, (7, 2))
    assert isinstance(data, RemoteData) and data.get() == (3, 1)
    assert pool.apply(int, args=["ff"], kwargs={"base": 16}).get() == 255
    named = pool.apply(int, key="zero")
    assert named.key == "zero" and named.get() == 0


def test_apply_async_returns_at_once(pool: Pool, gate: threading.Event) -> None:
    """P06: PendingComputation.status and get."""
    pending = pool.apply_async(pass_gate, (5,))
    assert pending.status == b"running" and "running" in repr(pending)
    with pytest.raises(TimeoutError):
        pending.get(timeout=0.01)
    gate.set()
    data = pending.get()
    assert pending.status == b"success" and data.key == pending.key
    assert pending.get() is data and data.get() == 5


def test_arguments_are_a_tuple_or_a_list(pool: Pool) -> None:
    for wrong in (5, "text", {1: 2}, None, iter([1])):
        with pytest.raises(TypeError, match="tuple or a list"):
            pool.apply_async(inc, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="function to call"):
        pool.apply_async(5)  # type: ignore[arg-type]


def test_a_key_names_one_thing_only(pool: Pool, town: Any) -> None:
    kept = pool.apply(inc, [1], key="mine")
    with pytest.raises(KeyTakenError, match="choose another key"):
        pool.apply_async(inc, [2], key="mine")
    with Pool(town.center.address) as other, pytest.raises(KeyTakenError, match="mine"):
        other.apply(inc, [2], key="mine")
    with pytest.raises(BadRequestError, match="cannot be a key"):
        pool.apply(inc, [2], key=5)  # type: ignore[arg-type]
    assert kept.get() == 2
    kept.delete()
    assert pool.apply(inc, [2], key="mine").get() == 3


# ---------------------------------------------------------------- errors


class OwnError(Exception):
    """As users define them."""


def raise_own(text: str) -> None:
    raise OwnError(text)


def test_an_error_is_raised_by_get_with_its_type(pool: Pool) -> None:
    """P11: the original type, with the remote traceback; map itself goes on."""
    good, bad = pool.map(lambda x: 1 / x, [1, 0])
    assert good.get() == 1
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            bad.get()
    assert "1 / x" in str(caught.value.__cause__) or "lambda" in str(caught.value.__cause__)
    pending = pool.apply_async(raise_own, ["mine"])
    failed = pending.get()
    assert pending.status == b"error"
    with pytest.raises(OwnError, match="mine"):
        failed.get()
    with pytest.raises(OwnError):
        pool.gather([good, failed])
    with pytest.raises(ZeroDivisionError):
        pool.apply(inc, [bad]).get()  # what is computed from an error is that error


# ---------------------------------------------------------------- scatter, gather, RemoteData


def test_scattered_data_goes_round_by_cores(pool: Pool) -> None:
    """P07: scatter: keys key-0 ..., each worker as often as it has cores."""
    data = pool.scatter(range(20), key="number")
    assert [entry.key for entry in data] == [f"number-{n}" for n in range(20)]
    pool.sync_center()
    places = Counter(pool.who_has[entry.key][0] for entry in data)
    assert set(places.values()) == {4} and len(places) == 5
    assert pool.gather(data) == list(range(20))
    assert pool.gather(iter(data[3:5])) == [3, 4]
    assert pool.scatter([]) == [] and pool.gather([]) == []


def test_a_dict_names_what_is_scattered(pool: Pool) -> None:
    data = pool.scatter({"left": 1, "right": [2]})
    assert list(data) == ["left", "right"] and data["right"].get() == [2]
    with pytest.raises(KeyTakenError, match="left"):
        pool.scatter({"left": 3})
    assert data["left"].get() == 1


def test_a_value_is_brought_once(pool: Pool) -> None:
    """P07: get gives the same object every time."""
    (data,) = pool.scatter([[1, 2]])
    first = data.get()
    assert first == [1, 2] and data.get() is first and pool.gather([data])[0] is first


def test_data_that_is_deleted_is_nowhere(pool: Pool) -> None:
    """P07: delete removes it everywhere and returns when it has; what was computed from it stays."""
    (data,) = pool.scatter([41])
    result = pool.apply(inc, [data])
    pool.client.replicate([data.future()], n=3)
    assert holders(pool, data) == [3]
    data.delete()
    assert holders(pool, data) == [0]
    data.delete()
    with pytest.raises(KeyError, match="it was deleted") as caught:
        data.get()
    assert type(caught.value) is DataGoneError
    with pytest.raises(DataGoneError):
        pool.apply(inc, [data])
    with pytest.raises(DataGoneError):
        pickle.dumps(data)
    assert result.get() == 42


def test_data_goes_with_its_last_reference(pool: Pool) -> None:
    """P07: garbage_collect returns when the workers have dropped what nobody refers to."""
    data = pool.map(bytes, [10, 20])
    keys = [entry.key for entry in data]
    circle: list[Any] = [data.pop()]
    circle.append(circle)
    del data, circle
    gc.disable()
    try:
        RemoteData.garbage_collect()
    finally:
        gc.enable()
    pool.sync_center()
    assert not any(key in pool.who_has for key in keys)


def test_its_repr_shows_center_and_key(pool: Pool) -> None:
    """P07: repr."""
    data = pool.apply(int)
    place = re.escape(f"127.0.0.1:{pool.center_port}")
    assert re.fullmatch(rf"RemoteData<center={place}, key=[0-9a-f]{{8}}-[0-9a-f]\.\.\.>", repr(data))
    (short,) = pool.scatter([1], key="x")
    assert repr(short) == f"RemoteData<center=127.0.0.1:{pool.center_port}, key=x-0>"


def test_a_reference_is_pickled_and_fetches_where_a_pool_is_open(pool: Pool) -> None:
    data = pool.apply(inc, [1])
    for reference in (pickle.loads(pickle.dumps(data)), copy.copy(data), copy.deepcopy([data])[0]):
        assert reference.key == data.key and repr(reference) == repr(data)
        assert reference.get() == 2
        assert pool.apply(inc, [reference]).get() == 3


def test_a_reference_inside_an_object_is_fetched_by_the_task(pool: Pool) -> None:
    data = pool.apply(inc, [1])
    assert pool.apply(lambda parcel: parcel.content.get(), [Parcel(data)]).get() == 2


def test_a_reference_to_what_is_gone_says_so(pool: Pool) -> None:
    data = pool.apply(inc, [1])
    reference = pickle.loads(pickle.dumps(data))
    data.delete()
    for _ in range(2):
        with pytest.raises(DataGoneError, match="nobody holds it"):
            reference.get()


def test_a_reference_needs_a_pool(town: Any) -> None:
    with Pool(town.center.address) as pool:
        data = pool.apply(inc, [1])
        blob = pickle.dumps(data)
        stranger = RemoteData("k", "127.0.0.1:1", "scheduler-of-others")
        with pytest.raises(BadRequestError, match="another center"):
            pool.map(inc, [stranger])
    with pytest.raises(BadRequestError, match=r"open Pool\('127.0.0.1:1'\)"):
        stranger.get()
    assert pickle.loads(blob).key == data.key


def test_only_data_is_gathered(pool: Pool) -> None:
    with pytest.raises(TypeError, match="takes RemoteData, not int"):
        pool.gather([1])  # type: ignore[list-item]


def test_data_that_is_lost_is_a_key_error(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    (data,) = pool.scatter([1])

    def lose(*args: Any, **kwargs: Any) -> Any:
        raise LostDataError(data.key)

    monkeypatch.setattr(type(data.future()), "result", lose)
    monkeypatch.setattr(pool.client, "gather", lose)
    for get in (data.get, lambda: pool.gather([data])):
        with pytest.raises(KeyError, match="has no recipe"):
            get()


def test_shares_are_told_by_the_door_too() -> None:
    shares, extra = divide_tasks({"x": {"Alice"}}, {1: ["x"], 2: []})
    assert shares == {"Alice": [1]} and extra == {2}
