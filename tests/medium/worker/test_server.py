"""The worker's server: joining a scheduler, its ops, peers, and its end."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any

import pytest

from distributed import Client, wait
from distributed.calls import rpc
from distributed.comm.stream import Stream
from distributed.core import Server
from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    NameTakenError,
    PortTakenError,
    ProtocolError,
    WorkerStartError,
)
from distributed.messages import KeysDone
from distributed.protocol.serialize import to_serialize
from distributed.scheduler.server import Scheduler
from distributed.security.keys import keyring_from_master
from distributed.testing.clusters import gen_cluster, gen_test, until
from distributed.testing.functions import inc
from distributed.worker import giving, joining, server
from distributed.worker.server import Worker

GATES: dict[str, threading.Event] = {}


def pass_gate(name: str) -> str:
    assert GATES[name].wait(10)
    return name


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# ---------------------------------------------------------------- joining


@gen_test()
async def test_a_worker_waits_for_its_scheduler_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(joining, "CONNECT_S", 0.05)
    caplog.set_level(logging.INFO)
    port = free_port()
    worker = Worker(f"127.0.0.1:{port}", nthreads=1)
    starting = asyncio.ensure_future(worker.start())
    await until(lambda: f"waiting for the scheduler at tcp://127.0.0.1:{port}" in caplog.text)
    scheduler = Scheduler()
    scheduler.listen(port)
    assert await starting is worker
    assert worker.status == "running" and f"worker {worker.address} registered" in caplog.text
    assert caplog.text.count("waiting for the scheduler") == 1, "said again only every ten seconds"
    await worker.close()
    await scheduler.close()


@gen_test()
async def test_a_worker_may_be_closed_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "CONNECT_S", 0.02)
    worker = Worker("127.0.0.1", free_port(), nthreads=1)
    starting = asyncio.ensure_future(worker.start())
    await until(lambda: hasattr(worker, "driver"))
    await worker.close("no patience")
    await starting
    assert worker.status == "closed" and await worker.finished == "no patience"


@gen_cluster([])
async def test_a_worker_closed_while_it_registers_does_not_join(
    scheduler: Scheduler, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(scheduler.address, nthreads=1)
    real = joining.exchange

    async def exchange(stream: Stream, request: dict[str, Any]) -> Any:
        answer = await real(stream, request)
        await worker.close("just then")
        return answer

    monkeypatch.setattr(joining, "exchange", exchange)
    await worker.start()
    assert worker.status == "closed"
    await until(lambda: scheduler.ncores(None) == {})


@gen_cluster([("127.0.0.1", 1)])
async def test_a_name_taken_is_refused(scheduler: Scheduler, a: Worker) -> None:
    other = Worker(scheduler.address, nthreads=1, name="0")
    with pytest.raises(NameTakenError, match=f"name taken, '0': the worker at {a.address}"):
        await other.start()
    assert other.status == "closed" and scheduler.ncores(None) == {a.address: 1}


@gen_cluster([])
async def test_another_key_is_refused(scheduler: Scheduler) -> None:
    worker = Worker(scheduler.address, nthreads=1, keys=keyring_from_master(b"another key" * 3))
    with pytest.raises(AuthenticationError):
        await worker.start()
    assert worker.status == "closed"


@gen_cluster([])
async def test_a_taken_port_is_refused(scheduler: Scheduler) -> None:
    with pytest.raises(PortTakenError):
        await Worker(scheduler.address, nthreads=1).start(scheduler.port)
    with pytest.raises(WorkerStartError, match="at least one thread"):
        Worker(scheduler.address, nthreads=0)


@gen_cluster([])
async def test_the_historical_spelling_of_the_scheduler(scheduler: Scheduler) -> None:
    worker = await Worker("127.0.0.1", scheduler.port, nthreads=2).start()
    assert scheduler.ncores(None) == {worker.address: 2} and worker.scheduler_address == scheduler.address
    await worker.close()


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_a_worker_that_loses_its_scheduler_starts_afresh(
    client: Client, scheduler: Scheduler, a: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    future = client.submit(bytes, 100_000)
    await wait(future)
    lives: list[str] = []
    a.on_registered = lambda: lives.append(a.incarnation)
    scheduler._workers[a.address].close()
    assert await future == bytes(100_000)
    assert len(lives) == 1 and "lost the scheduler" in caplog.text


@gen_cluster([("127.0.0.1", 1)])
async def test_a_worker_refused_when_it_comes_back_ends(scheduler: Scheduler, a: Worker) -> None:
    a.name = "b"
    other = await Worker(scheduler.address, nthreads=1, name="b").start()
    scheduler._workers[a.address].close()
    with pytest.raises(NameTakenError):
        await a.finished
    assert a.status == "closed" and scheduler.ncores(None) == {other.address: 1}
    await other.close()


# ---------------------------------------------------------------- its end


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_a_worker_leaves_politely_while_a_task_runs(
    client: Client, scheduler: Scheduler, a: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    GATES["leave"] = threading.Event()
    future = client.submit(pass_gate, "leave")
    await until(lambda: a.executor.running.keys())
    closing = asyncio.gather(a.close("maintenance"), a.close("again"))
    await until(lambda: scheduler.ncores(None) == {})
    assert f"worker {a.address} left: maintenance" in caplog.text
    GATES["leave"].set()
    await closing
    assert await a.finished == "maintenance" and not a.executor.running.keys()
    assert not future.done()
    newcomer = await Worker(scheduler.address, nthreads=1).start()
    assert await future == "leave"
    await newcomer.close()


@gen_cluster([("127.0.0.1", 1)])
async def test_terminate_answers_first(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        assert await link.terminate(reason="enough") == "OK"
    assert await a.finished == "enough"


@pytest.mark.parametrize(
    "wire", [5, ["nonsense"], KeysDone([], [], []).to_wire()], ids=["number", "unknown", "not ours"]
)
@gen_cluster([("127.0.0.1", 1)])
async def test_nonsense_from_the_scheduler_ends_the_worker_with_an_error(
    scheduler: Scheduler, a: Worker, *, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler._workers[a.address].write_message_nowait(wire)
    with pytest.raises(ProtocolError):
        await a.finished
    assert "cannot go on" in caplog.text
    await until(lambda: scheduler.ncores(None) == {})


# ---------------------------------------------------------------- ops


@gen_cluster([("127.0.0.1", 3)])
async def test_identity_health_and_versions(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        identity = await link.identity()
        assert (identity["type"], identity["name"], identity["nthreads"]) == ("Worker", "0", 3)
        assert identity["scheduler"] == identity["center"] == scheduler.address
        health = await link.health()
        assert (health["status"], health["active"], health["stored"]) == ("running", [], 0)
        assert (await link.versions())["python"] and await link.ping() == b"pong"


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_data_is_given_to_whoever_may_ask(client: Client, scheduler: Scheduler, a: Worker) -> None:
    future = client.submit(inc, 1)
    await future
    async with rpc(a.address) as link:
        answer = await link.get_data(keys=[future.key, "unknown"])
        assert {key: value.load() for key, value in answer.items()} == {future.key: 2}
        with pytest.raises(TypeError):
            await link.get_data(keys=5)


@gen_cluster([("127.0.0.1", 1)])
async def test_what_does_not_fit_into_one_answer_is_asked_for_again(
    scheduler: Scheduler, a: Worker, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving, "ANSWER_NBYTES_MAX", 2_500)
    async with rpc(a.address) as link:
        data = {key: to_serialize(bytes(1_000)) for key in "abcde"}
        await link.update_data(data={**data, "big": to_serialize(bytes(10_000))})
        assert list(await link.get_data(keys=["unknown", *"abcde"])) == ["a", "b"]
        assert list(await link.get_data(keys=["big", "a"])) == ["big"]
        await link.update_data(data={key: to_serialize(bytes(20_000)) for key in "xyz"})
        with monkeypatch.context() as patch:
            patch.setattr(giving, "ANSWER_FRAMES_MAX", 2)
            assert list(await link.get_data(keys=["x", "y", "z"])) == ["x"]
        monkeypatch.setattr(giving, "ANSWER_FRAMED_NBYTES_MAX", 50_000)
        assert list(await link.get_data(keys=["x", "y", "a", "z"])) == ["x", "y", "a"]
    assert list(await a.data.peers.ask(a.address, ["unknown", *"abxyzcde", "big"])) == [*"abxyzcde", "big"]


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_many_dependencies_come_in_as_many_answers_as_it_takes(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving, "ANSWER_NBYTES_MAX", 2_500)
    parts = client.map(bytes, [1_000] * 9, pure=False, workers="0")
    await wait(parts)
    assert await client.submit(lambda parts: sum(map(len, parts)), parts, workers="1") == 9_000
    assert len(b.store) == 10


@gen_cluster([("127.0.0.1", 1)])
async def test_data_of_a_client_that_is_not_there_does_not_stay(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(a.address) as link:
        await link.put_data(client="nobody", data={"x": to_serialize(1)})
        await until(lambda: not len(a.store))
        with pytest.raises(BadRequestError, match="wrapped"):
            await link.put_data(client="nobody", data={"x": 1})
    assert scheduler.ncores(None) == {a.address: 1}


@gen_cluster([("127.0.0.1", 1)])
async def test_a_worker_without_its_scheduler_takes_no_data(scheduler: Scheduler, a: Worker) -> None:
    a.status = "lost"
    async with rpc(a.address) as link:
        with pytest.raises(CommClosedError, match="lost its scheduler"):
            await link.put_data(client="nobody", data={"x": to_serialize(1)})
    a.status = "running"
    assert not len(a.store)


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_a_peer_that_answers_nonsense_is_like_one_that_is_gone(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    async def nonsense(stream: Any, keys: list[str], or_busy: bool) -> Any:
        a.handlers["get_data"] = a.data.get_data  # only once
        return 5

    big = client.submit(bytes, 100_000, workers="0")
    await wait(big)
    a.handlers["get_data"] = nonsense
    assert await client.submit(len, big, workers="1") == 100_000
    assert "fetching from" in caplog.text


@gen_cluster([("127.0.0.1", 1)])
async def test_heartbeats_tell_of_memory(scheduler: Scheduler, a: Worker, *, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEARTBEAT_S", 0.005)
    worker = await Worker(scheduler.address, nthreads=1, name="quick").start()
    info = scheduler.scheduler_info
    await until(lambda: "memory_nbytes" in str(info(None)["workers"][worker.address]))
    await worker.close()


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_a_task_that_blocks_delays_neither_heartbeats_nor_other_slots(
    client: Client, scheduler: Scheduler, a: Worker, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEARTBEAT_S", 0.005)
    worker = await Worker(scheduler.address, nthreads=2, name="quick").start()
    GATES["blocked"] = threading.Event()
    blocked = client.submit(pass_gate, "blocked", workers="quick")
    await until(lambda: worker.executor.running.keys() == [blocked.key])
    others = client.map(inc, range(20), workers="quick")
    assert await client.gather(others) == list(range(1, 21))
    await until(lambda: scheduler.scheduler_info(None)["workers"][worker.address]["metrics"].get("stored_keys") == 20)
    assert worker.executor.running.keys() == [blocked.key]
    GATES["blocked"].set()
    assert await blocked == "blocked"
    await worker.close()


@gen_test()
async def test_something_that_is_no_scheduler_is_waited_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = Server()
    other.listen(0)
    worker = Worker(other.address, nthreads=1)
    with pytest.raises(TypeError, match="register_worker"):
        await worker.start()
    assert worker.status == "closed"
    other.stop()
