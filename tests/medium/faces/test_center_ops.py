"""The plain ops of a center, and those of its workers, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from distributed import Client
from distributed.calls import connect, read, rpc, write
from distributed.core import Server
from distributed.errors import (
    BadRequestError,
    CoordinationLimitError,
    PermissionDeniedError,
    UnknownOpError,
)
from distributed.faces.center.server import Center
from distributed.protocol.serialize import TaskRef, to_serialize
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, open_servers
from distributed.testing.functions import inc
from distributed.worker.server import Worker

ALICE, BOB = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"
ONE = [("127.0.0.1", 1)]


@asynccontextmanager
async def open_center(workers: int = 0) -> AsyncIterator[tuple[Center, list[Worker], rpc]]:
    async with open_servers(ONE * workers, kind=Center) as (center, started), rpc(center.address) as asked:
        yield center, started, asked
        center.book.check()


async def test_members_register_tell_their_keys_and_leave() -> None:
    """P01: register, add_keys, remove_keys, who_has, has_what, ncores, worker_services, unregister, ping, identity."""
    async with open_center() as (_, _, asked):
        assert await asked.register(address="127.0.0.1:1", ncores=2, keys=["x"], services={"http": 80}) == "OK"
        assert await asked.register(address=["127.0.0.1", 2], ncores=1) == "OK"
        assert await asked.add_keys(address=BOB, keys=["x", "y"]) == "OK"
        assert await asked.remove_keys(address=ALICE, keys=["x", "unknown"]) == "OK"
        assert await asked.who_has() == {"x": [BOB], "y": [BOB]}
        assert await asked.who_has(keys=["y", "z"]) == {"y": [BOB], "z": []}
        assert await asked.has_what() == {ALICE: [], BOB: ["x", "y"]}
        assert await asked.has_what(keys=["127.0.0.1:2"]) == {BOB: ["x", "y"]}
        assert await asked.ncores() == {ALICE: 2, BOB: 1}
        assert await asked.ncores(addresses=["127.0.0.1:1", "127.0.0.1:3"]) == {ALICE: 2}
        assert await asked.nthreads() == {}, "members run no tasks"
        assert await asked.worker_services() == {ALICE: {"http": 80}, BOB: {}}
        assert await asked.worker_services(service="http") == {ALICE: 80}
        assert await asked.unregister(address=BOB) == "OK"
        assert await asked.who_has() == {}
        assert await asked.ping() == b"pong"
        assert (await asked.identity())["type"] == "Center"


@pytest.mark.parametrize("op", ["unregister", "add_keys", "remove_keys"])
async def test_an_unknown_address_is_told(op: str) -> None:
    async with open_center() as (_, _, asked):
        keywords = {} if op == "unregister" else {"keys": ["x"]}
        assert await asked.call(op, address="127.0.0.1:1", **keywords) == f"Address not found: {ALICE}"


async def test_a_plain_dict_on_a_stream_is_enough() -> None:
    async with open_center() as (center, _, _):
        stream = await connect(center.address)
        await write(stream, {"op": "register", "address": "127.0.0.1:1", "ncores": 4, "keys": ["x"]})
        assert await read(stream) == "OK"
        await write(stream, {"op": "who_has", "keys": ["x"], "close": True})
        assert await read(stream) == {"x": [ALICE]}
        stream.close()


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "register", "address": "no port"},
        {"op": "register", "address": 5},
        {"op": "register", "address": ALICE, "ncores": 0},
        {"op": "register", "address": ALICE, "ncores": True},
        {"op": "register", "address": ALICE, "keys": "text"},
        {"op": "register", "address": ALICE, "keys": [b"bytes"]},
        {"op": "register", "address": ALICE, "services": {"http": "80"}},
        {"op": "register", "address": ALICE, "services": [80]},
        {"op": "add_keys", "address": ALICE, "keys": {"x": 1}},
        {"op": "delete_data", "keys": [""]},
        {"op": "broadcast", "msg": "ping"},
        {"op": "broadcast", "msg": {"op": "close"}},
        {"op": "broadcast", "msg": {"op": "ping"}, "timeout": 0},
        {"op": "broadcast", "msg": {"op": "ping"}, "workers": [ALICE]},
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(request_: dict[str, Any]) -> None:
    async with open_center() as (center, _, asked):
        with pytest.raises((BadRequestError, ValueError)):
            await asked.call(request_.pop("op"), **request_)
        assert not center.book.members and not center.book.addresses_by_key
        assert await asked.ping() == b"pong"


async def test_its_bounds_are_told() -> None:
    async with open_center() as (center, _, asked):
        center.book._members_max = 1
        await asked.register(address=ALICE, ncores=1)
        with pytest.raises(CoordinationLimitError, match="1 members"):
            await asked.register(address=BOB, ncores=1)


async def test_services_of_workers_are_told_too() -> None:
    async with open_center() as (center, _, asked):
        worker = Worker(center.address, nthreads=1, http_port=0)
        await worker.start()
        (port,) = (await asked.worker_services(service="http")).values()
        assert await asked.worker_services() == {worker.address: {"http": port}} and port > 0
        await worker.close()


async def test_workers_and_members_are_told_of_together_and_kept_apart() -> None:
    async with open_center(1) as (center, (worker,), asked), Client(center.address, asynchronous=True) as client:
        future = client.submit(bytes, 100_000, key="result")
        await future
        await asked.register(address=ALICE, ncores=2, keys=["result", "more"])
        assert await asked.who_has(keys=["result", "more"]) == {"result": [worker.address], "more": [ALICE]}
        assert await asked.has_what() == {worker.address: ["result"], ALICE: ["result", "more"]}
        assert await asked.ncores() == {ALICE: 2, worker.address: 1}
        assert await client.ncores() == {worker.address: 1}
        (data,) = await client.scatter([7])  # goes to those who run tasks
        assert await client.submit(inc, data) == 8
        with pytest.raises(BadRequestError, match="held for clients"):
            await asked.delete_data(keys=["more", "result"])
        assert await asked.who_has(keys=["more"]) == {"more": [ALICE]}, "nothing was deleted"
        with pytest.raises(BadRequestError, match="is a worker of this center already"):
            await asked.register(address=worker.address, ncores=1)
        with pytest.raises(BadRequestError, match="retire_workers"):
            await asked.unregister(address=worker.address)


async def test_deleted_data_is_dropped_by_its_holders() -> None:
    """P01: delete_data forgets keys and tells those who hold them, as far as they can be reached."""
    dropped: list[tuple[list[str], bool]] = []

    def delete_data(stream: Any, keys: list[str], report: bool) -> str:
        dropped.append((keys, report))
        return "OK"

    member = Server({"delete_data": delete_data})
    member.listen(0)
    async with open_center() as (_, _, asked):
        await asked.register(address=member.address, ncores=1, keys=["x", "y"])
        await asked.register(address=ALICE, ncores=1, keys=["x"])  # nobody is there
        assert await asked.delete_data(keys=["x", "unknown"]) == "OK"
        assert dropped == [(["x"], False)]
        assert await asked.who_has() == {"y": [member.address]}
    member.stop()


async def test_a_request_goes_to_all_and_every_answer_comes_back() -> None:
    """P01: broadcast."""

    async def hang(stream: Any) -> None:
        await asyncio.get_running_loop().create_future()

    def fail(stream: Any) -> None:
        raise ZeroDivisionError("by the member")

    member = Server({"hang": hang, "fail": fail})
    member.listen(0)
    async with open_center(2) as (_, workers, asked):
        await asked.register(address=member.address, ncores=1)
        places = [*(worker.address for worker in workers), member.address]
        assert await asked.broadcast(msg={"op": "ping"}) == dict.fromkeys(places, b"pong")
        assert list(await asked.broadcast(msg={"op": "identity"}, workers=places[:1])) == places[:1]
        failed = await asked.broadcast(msg={"op": "fail"}, workers=places[2:])
        assert failed[member.address]["status"] == "error" and "by the member" in failed[member.address]["text"]
        late = await asked.broadcast(msg={"op": "hang"}, workers=places[2:], timeout=0.05)
        assert "did not answer hang within 0.05 s" in late[member.address]["text"]
        await asked.register(address=ALICE, ncores=1)
        assert (await asked.broadcast(msg={"op": "ping"}, workers=[ALICE]))[ALICE]["status"] == "error"
        assert await asked.broadcast(msg={"op": "terminate"}, workers=places[:1]) == {places[0]: "OK"}
        await workers[0].finished
    member.stop()


async def test_a_broadcast_lends_nobody_more_rights_than_he_has() -> None:
    async with open_center(1) as (center, _, _):
        for role in ("worker", "readonly"):
            async with rpc(center.address, role=role) as asked:
                with pytest.raises(PermissionDeniedError):
                    await asked.broadcast(msg={"op": "terminate"})
        async with rpc(center.address, role="readonly") as asked:
            with pytest.raises(PermissionDeniedError):
                await asked.register(address=ALICE, ncores=1)
            assert await asked.who_has() == {}
        async with rpc(center.address) as asked:
            with pytest.raises(PermissionDeniedError):
                await asked.broadcast(msg={"op": "replace"})


async def test_terminate_ends_center_and_workers() -> None:
    """P01: terminate."""
    async with open_center(1) as (center, (worker,), asked):
        assert await asked.terminate() == "OK"
        await center.finished
        await worker.finished


# ---------------------------------------------------------------- workers


async def test_a_worker_computes_keeps_gives_and_drops() -> None:
    """P02: compute, get_data, update_data, delete_data, terminate; the center hears what lies where."""
    async with open_center(1) as (_, (worker,), asked), rpc(worker.address) as direct:
        assert (await direct.update_data(data={"a": to_serialize(3)}))["status"] == "OK"
        answer = await direct.compute(
            key="b", function=to_serialize(inc), args=to_serialize((TaskRef("a"),)), needed=["a"]
        )
        assert answer["status"] == "OK"
        assert await asked.who_has() == {"a": [worker.address], "b": [worker.address]}
        assert (await direct.get_data(keys=["b", "unknown"]))["b"].load() == 4
        with pytest.raises(ZeroDivisionError):
            await direct.compute(key="c", function=to_serialize(divmod), args=to_serialize((1, 0)))
        assert await direct.delete_data(keys=["a", "unknown"]) == "OK"
        assert await asked.has_what() == {worker.address: ["b"]}
        assert await direct.terminate() == "OK"
        await worker.finished
        assert await asked.has_what() == {} and await asked.who_has() == {}


async def test_a_worker_fetches_what_is_needed_from_its_peers() -> None:
    """P03: it asks the center where inputs are; what nobody has is told."""
    async with open_center(2) as (center, (a, b), asked), Client(center.address, asynchronous=True) as client:
        result = client.submit(sum, [20, 20], workers=a.address, key="of-a-task")
        await result
        async with rpc(a.address) as to_a, rpc(b.address) as to_b:
            await to_a.update_data(data={"x": to_serialize(2)})
            args = to_serialize((TaskRef("x"), TaskRef("of-a-task")))
            await to_b.compute(key="y", function=to_serialize(max), args=args, needed=["x", "of-a-task"])
            assert (await to_b.get_data(keys=["y"]))["y"].load() == 40
            answer = await to_b.compute(key="z", function=to_serialize(max), args=args, needed=["gone"])
            assert answer == {"status": "missing-data", "key": "z", "keys": ["gone"]}
            with pytest.raises(BadRequestError, match="a list of keys"):
                await to_b.compute(key="z", function=to_serialize(max), args=args, needed="x")
        assert await asked.who_has(keys=["y"]) == {"y": [b.address]}


async def test_a_worker_may_say_nothing_of_what_it_keeps() -> None:
    async with open_center(1) as (_, (worker,), asked), rpc(worker.address) as direct:
        await direct.update_data(data={"a": to_serialize(3)}, report=False)
        await direct.compute(key="b", function=to_serialize(int), report=False)
        assert await asked.who_has() == {}


@gen_cluster(ONE)
async def test_a_scheduler_that_is_no_center_is_told_nothing(scheduler: Scheduler, worker: Worker) -> None:
    async with rpc(worker.address) as direct, rpc(scheduler.address) as asked:
        for _ in range(2):
            assert (await direct.update_data(data={"a": to_serialize(3)}))["status"] == "OK"
        assert await asked.who_has() == {}
        with pytest.raises(UnknownOpError):
            await asked.add_keys(address=worker.address, keys=["a"])


async def test_the_center_has_a_port_of_its_own() -> None:
    assert (Center.default_port, Scheduler.default_port) == (8787, 8786)
