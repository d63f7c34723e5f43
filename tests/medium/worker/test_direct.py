"""The ops by which a program uses a worker without a scheduler's plan."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from distributed import Client
from distributed.calls import rpc
from distributed.errors import BadRequestError, UnpicklableError
from distributed.protocol.serialize import TaskRef, to_serialize
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster
from distributed.testing.functions import inc
from distributed.worker.server import Worker

ONE = [("127.0.0.1", 1)]
GATES: dict[str, threading.Event] = {}
NOBODY = "tcp://127.0.0.1:1"


def pass_gate(name: str) -> str:
    assert GATES[name].wait(10)
    return name


def add(x: Any, y: Any = 0) -> Any:
    return x + y


def divide(x: Any, y: Any) -> Any:
    return x / y


def lock(x: Any) -> Any:
    return threading.Lock()


async def values(worker: Worker, *keys: str) -> dict[str, Any]:
    """What `worker` gives to whoever asks."""
    async with rpc(worker.address) as link:
        return {key: value.load() for key, value in (await link.get_data(keys=list(keys))).items()}


# ---------------------------------------------------------------- compute


@gen_cluster(ONE)
async def test_a_result_is_kept_under_its_key(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        answer = await link.compute(
            key="x", function=to_serialize(add), args=to_serialize((1,)), kwargs=to_serialize({"y": 2})
        )
    assert (answer["status"], answer["key"]) == ("OK", "x")
    assert answer["nbytes"] > 0 and answer["duration_s"] >= 0
    assert await values(a, "x") == {"x": 3} and not a._direct._runs


@gen_cluster(ONE)
async def test_a_function_may_be_called_without_arguments(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        assert (await link.compute(key="x", function=to_serialize(dict)))["status"] == "OK"
    assert await values(a, "x") == {"x": {}}


@gen_cluster(ONE)
async def test_what_is_kept_here_is_no_business_of_the_scheduler(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        await link.compute(key="x", function=to_serialize(dict))
        await link.update_data(data={"y": to_serialize(1)})
    assert scheduler.who_has(None) == {} and scheduler.has_what(None) == {a.address: []}


@gen_cluster(ONE * 2)
async def test_references_become_values_fetched_from_peers(scheduler: Scheduler, a: Worker, b: Worker) -> None:
    async with rpc(a.address) as left, rpc(b.address) as right:
        await left.update_data(data={"x": to_serialize(1)})
        await right.update_data(data={"y": to_serialize(2)})
        answer = await right.compute(
            key="z",
            function=to_serialize(sum),
            args=to_serialize(([TaskRef("x"), TaskRef("y")],)),
            who_has={"x": [a.address], "y": []},
        )
    assert answer["status"] == "OK"
    assert await values(b, "x", "y", "z") == {"x": 1, "y": 2, "z": 3}


@gen_cluster(ONE * 2)
async def test_compute_says_which_data_is_missing_and_runs_nothing(scheduler: Scheduler, a: Worker, b: Worker) -> None:
    async with rpc(a.address) as link:
        who_has = {"x": [b.address], "y": []}
        answer = await link.compute(key="z", function=to_serialize(dict), who_has=who_has)
    assert answer == {"status": "missing-data", "key": "z", "keys": ["x", "y"]}
    assert len(a.store) == 0 and not a._direct._runs


@gen_cluster(ONE)
async def test_an_error_keeps_its_type_and_the_lines_where_it_was_raised(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        with pytest.raises(ZeroDivisionError) as caught:
            await link.compute(key="x", function=to_serialize(divide), args=to_serialize((1, 0)))
    assert "return x / y" in str(caught.value.__cause__)
    assert "x" not in a.store and not a._direct._runs


@gen_cluster(ONE)
async def test_a_reference_to_nothing_named_is_a_key_error(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        with pytest.raises(KeyError, match="x"):
            await link.compute(key="z", function=to_serialize(inc), args=to_serialize((TaskRef("x"),)))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("function", {"function": "sum"}),
        ("function", {"function": None}),
        ("args", {"function": to_serialize(inc), "args": [1]}),
        ("kwargs", {"function": to_serialize(inc), "kwargs": {"x": 1}}),
    ],
)
@gen_cluster(ONE)
async def test_compute_refuses_what_is_not_wrapped(
    scheduler: Scheduler, a: Worker, *, name: str, fields: dict[str, Any]
) -> None:
    async with rpc(a.address) as link:
        with pytest.raises(BadRequestError, match=f"compute: wrap {name}"):
            await link.compute(key="x", **fields)


@gen_cluster(ONE)
async def test_a_result_that_cannot_be_pickled_serves_here_and_fails_whoever_fetches(
    scheduler: Scheduler, a: Worker
) -> None:
    async with rpc(a.address) as link:
        assert (await link.compute(key="x", function=to_serialize(lock), args=to_serialize((1,))))["status"] == "OK"
        args, who_has = to_serialize((TaskRef("x"),)), {"x": [a.address]}
        await link.compute(key="t", function=to_serialize(str), args=args, who_has=who_has)
    assert "lock" in (await values(a, "t"))["t"]
    with pytest.raises(UnpicklableError, match="the result of x"):
        await values(a, "x")


@gen_cluster(ONE, client=True)
async def test_direct_runs_and_the_schedulers_tasks_share_the_threads(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    GATES["shared"] = threading.Event()
    futures = [client.submit(pass_gate, "shared"), *client.map(inc, range(20))]
    async with rpc(a.address) as link:
        calls = [
            link.compute(key=f"d{n}", function=to_serialize(inc), args=to_serialize((n,)))  # behind the gate
            for n in range(5)
        ]
        GATES["shared"].set()
        assert [(await call)["status"] for call in calls] == ["OK"] * 5
    assert await client.gather(futures) == ["shared", *range(1, 21)]
    assert await values(a, "d0", "d4") == {"d0": 1, "d4": 5} and not a._direct._runs


# ---------------------------------------------------------------- gather


@gen_cluster(ONE * 2)
async def test_gather_brings_data_here(scheduler: Scheduler, a: Worker, b: Worker) -> None:
    async with rpc(a.address) as left, rpc(b.address) as right:
        await left.update_data(data={"x": to_serialize(1), "y": to_serialize(bytes(100_000))})
        assert await right.gather(who_has={"x": [a.address], "y": [a.address]}) == {"status": "OK"}
        await left.delete_data(keys=["x", "y"])
    assert await values(b, "x", "y") == {"x": 1, "y": bytes(100_000)}


@gen_cluster(ONE * 2)
async def test_gather_says_what_nobody_had_and_keeps_the_rest(scheduler: Scheduler, a: Worker, b: Worker) -> None:
    async with rpc(a.address) as left, rpc(b.address) as right:
        await left.update_data(data={"x": to_serialize(1)})
        answer = await right.gather(who_has={"x": [a.address], "y": [a.address]})
    assert answer == {"status": "missing-data", "keys": ["y"]}
    assert await values(b, "x", "y") == {"x": 1}


@gen_cluster(ONE * 2)
async def test_a_holder_that_is_gone_is_passed_over(
    scheduler: Scheduler, a: Worker, b: Worker, *, change_settings: Any
) -> None:
    change_settings(connect_timeout_s="50ms")
    async with rpc(a.address) as left, rpc(b.address) as right:
        await left.update_data(data={"x": to_serialize(1)})
        answer = await right.gather(who_has={"x": [NOBODY, a.address], "y": [NOBODY]})
    assert answer == {"status": "missing-data", "keys": ["y"]}
    assert await values(b, "x") == {"x": 1}


# ---------------------------------------------------------------- update_data, delete_data


@gen_cluster(ONE)
async def test_values_put_here_are_replaced_and_dropped(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        answer = await link.update_data(data={"x": to_serialize(1), "y": to_serialize(2)}, report=False)
        assert answer["status"] == "OK" and list(answer["nbytes"]) == ["x", "y"]
        await link.update_data(data={"x": to_serialize(3)})
        assert await link.delete_data(keys=["y", "unknown"]) == "OK"
    assert await values(a, "x", "y") == {"x": 3}
    assert a.store.nbytes == answer["nbytes"]["x"]


@gen_cluster(ONE)
async def test_update_data_refuses_what_is_not_wrapped_and_keeps_nothing(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        with pytest.raises(BadRequestError, match="update_data: wrap every value"):
            await link.update_data(data={"x": to_serialize(1), "y": 2})
    assert len(a.store) == 0
