"""Data that passes through the scheduler, the client that falls back on it, and the op `cancel`."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from distributed import Client, wait
from distributed.calls import rpc
from distributed.client.workers import WorkerLinks
from distributed.errors import AuthenticationError, BadRequestError, CommClosedError
from distributed.protocol.serialize import to_serialize
from distributed.scheduler import proxy
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import inc
from distributed.worker.server import Worker

ONE = [("127.0.0.1", 1)]
BIG = 100_000  # bytes of a result that stays on its worker
GATES: dict[str, threading.Event] = {}


def pass_gate(name: str) -> str:
    assert GATES[name].wait(10)
    return name


async def gathered(scheduler: Scheduler, *keys: str) -> dict[str, Any]:
    """What the scheduler brings."""
    async with rpc(scheduler.address) as link:
        return {key: value.load() for key, value in (await link.gather(keys=list(keys))).items()}


# ---------------------------------------------------------------- gather


@gen_cluster(ONE * 2, client=True)
async def test_results_of_many_workers_come_through_the_scheduler(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    futures = [client.submit(bytes, BIG + n, workers=str(n)) for n in range(2)]
    await wait(futures)
    found = await gathered(scheduler, *(future.key for future in futures))
    assert found == {future.key: bytes(BIG + n) for n, future in enumerate(futures)}


@gen_cluster(ONE, client=True)
async def test_keys_that_nobody_has_are_left_out(client: Client, scheduler: Scheduler, a: Worker) -> None:
    future = client.submit(inc, 1)
    await future
    assert await gathered(scheduler, "unknown", future.key) == {future.key: 2}
    assert await gathered(scheduler, "unknown") == {} and await gathered(scheduler) == {}


@gen_cluster(ONE * 2, client=True)
async def test_another_holder_is_asked_when_the_first_is_gone(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "CONNECT_S", 0.05)
    big = client.submit(bytes, BIG, workers="0")
    assert await client.submit(len, big, workers="1") == BIG
    await until(lambda: scheduler.who_has(None, [big.key]) == {big.key: [a.address, b.address]})
    a.stop()  # it is out of reach, and the scheduler does not know
    assert await gathered(scheduler, big.key) == {big.key: bytes(BIG)}
    b.stop()
    assert await gathered(scheduler, big.key) == {}


# ---------------------------------------------------------------- scatter


@gen_cluster(client=True)
async def test_values_are_spread_by_threads_and_the_client_holds_them(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    async with rpc(scheduler.address) as link:
        data = {key: to_serialize(key) for key in "uvwxyz"}
        holders = await link.scatter(data=data, client=client.id)
    turns = [a.address, b.address, b.address]
    assert holders == {key: [worker] for key, worker in zip("uvwxyz", turns * 2, strict=True)}
    await until(lambda: scheduler.who_has(None, list("uvwxyz")) == holders)
    assert await gathered(scheduler, *"uz") == {"u": "u", "z": "z"}
    assert {client.id} == {holder.client for holder in scheduler.machine.state.tasks["u"].wanted_by or ()}


@gen_cluster(ONE * 2, client=True)
async def test_values_go_to_the_workers_named(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    async with rpc(scheduler.address) as link:
        data = {"x": to_serialize(1), "y": to_serialize(2)}
        workers = [b.address, "tcp://nobody:1"]
        assert await link.scatter(data=data, client=client.id, workers=workers) == {"x": [b.address], "y": [b.address]}
    assert len(a.store) == 0 and len(b.store) == 2


@gen_cluster(ONE)
async def test_values_for_a_client_that_is_not_there_do_not_stay(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(scheduler.address) as link:
        await link.scatter(data={"x": to_serialize(1)}, client="nobody")
    await until(lambda: not len(a.store))
    assert scheduler.who_has(None) == {}


@gen_cluster([])
async def test_scattering_needs_a_worker(scheduler: Scheduler) -> None:
    async with rpc(scheduler.address) as link:
        with pytest.raises(BadRequestError, match="no worker is there"):
            await link.scatter(data={"x": to_serialize(1)}, client="c")


@gen_cluster(ONE)
async def test_a_scatter_that_makes_no_sense_is_refused(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(scheduler.address) as link:
        with pytest.raises(BadRequestError, match="no worker is there"):
            await link.scatter(data={"x": to_serialize(1)}, client="c", workers=["tcp://nobody:1"])
        with pytest.raises(BadRequestError, match="wrap every value"):
            await link.scatter(data={"x": to_serialize(1), "y": 2}, client="c")
    assert len(a.store) == 0


# ---------------------------------------------------------------- the client's fall-back


@pytest.mark.parametrize("error", [CommClosedError("a", "cut"), AuthenticationError("a", "another key")], ids=repr)
@gen_cluster(ONE, client=True)
async def test_a_client_that_cannot_reach_a_worker_asks_the_scheduler(
    client: Client, scheduler: Scheduler, a: Worker, *, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable:
        async def get_data(self, keys: list[str]) -> Any:
            raise error

    monkeypatch.setattr(WorkerLinks, "to", lambda self, address: Unreachable())
    futures = client.map(bytes, [BIG, BIG + 1])
    assert await client.gather(futures) == [bytes(BIG), bytes(BIG + 1)]


# ---------------------------------------------------------------- the op cancel


@gen_cluster(ONE, client=True)
async def test_cancelling_by_an_op_reaches_dependents_and_tells_the_reason(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    GATES["cancel"] = threading.Event()
    first = client.submit(pass_gate, "cancel")
    second = client.submit(inc, first)
    other = client.submit(inc, 1)
    await until(lambda: a.executor.running.keys())
    async with rpc(scheduler.address) as link:
        assert await link.cancel(keys=[first.key, "unknown"], client=client.id, reason="not needed") == "OK"
    await until(lambda: first.cancelled() and second.cancelled())
    GATES["cancel"].set()
    assert await other == 2
    with pytest.raises(Exception, match="not needed"):
        await second


@gen_cluster(ONE, client=True)
async def test_nobody_cancels_in_the_name_of_a_client_that_is_not_there(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    future = client.submit(bytes, BIG)
    await wait(future)
    async with rpc(scheduler.address) as link:
        with pytest.raises(BadRequestError, match="'nobody' is not connected"):
            await link.cancel(keys=[future.key], client="nobody")
    assert await future == bytes(BIG)


# ---------------------------------------------------------------- run


class OutOfReach:
    """In place of a connection with a worker."""

    async def call(self, op: str, **keywords: Any) -> Any:
        raise AuthenticationError("tcp://w:1", "it has another key")


@gen_cluster(ONE * 2, client=True)
async def test_a_function_runs_on_workers_that_only_the_scheduler_reaches(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerLinks, "to", lambda self, address: OutOfReach())
        assert await client.run(inc, 1) == {a.address: 2, b.address: 2}
        with pytest.raises(ZeroDivisionError):
            await client.run(lambda: 1 / 0)
        assert await client.run(inc, 1, wait=False) is None


@gen_cluster(ONE, client=True)
async def test_running_where_nobody_is_is_refused(client: Client, scheduler: Scheduler, a: Worker) -> None:
    async with rpc(scheduler.address) as link:
        for wrong in ({"worker": "tcp://nobody:1", "call": to_serialize(1)}, {"worker": a.address, "call": 5}):
            with pytest.raises(BadRequestError, match="run_on"):
                await link.run_on(**wrong)
