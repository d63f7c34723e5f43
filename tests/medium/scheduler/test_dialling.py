"""A scheduler that workers cannot reach dials them: they find it under an address that only says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from distributed import Client, get_client
from distributed.calls import connect, rpc
from distributed.comm import dialled
from distributed.comm.connect import connect_address
from distributed.core import Server
from distributed.errors import BadRequestError, CommClosedError, ConnectTimeoutError
from distributed.scheduler.dialling import Dialler
from distributed.scheduler.server import Scheduler
from distributed.security.keys import keyring_from_master
from distributed.security.permissions import CLIENT, WORKER
from distributed.testing.clusters import gen_test, until
from distributed.worker.server import Worker


@contextlib.asynccontextmanager
async def dialled_worker(**options: Any) -> AsyncIterator[tuple[Scheduler, Worker]]:
    """A worker that is dialled by its scheduler, which it could not reach otherwise."""
    scheduler = Scheduler()
    scheduler.listen("inproc://only-for-its-client")
    worker = Worker(scheduler.dialled_address, nthreads=2, **options)
    worker.on_listening = lambda: scheduler.dial(worker.address)
    try:
        await worker.start()
        yield scheduler, worker
    finally:
        await worker.close()
        await scheduler.close()


def fib(n: int) -> int:
    if n < 2:
        return n
    client = get_client()
    return sum(client.gather([client.submit(fib, n - 1), client.submit(fib, n - 2)]))


@gen_test(timeout=60)
async def test_d15_a_worker_works_for_a_scheduler_that_has_dialled_it() -> None:
    """D15: worker leaves/returns at will, Main requeues: it listens, and Mains connect"""
    async with (
        dialled_worker() as (scheduler, worker),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        assert worker.scheduler_address.startswith("dialled://")
        assert await client.gather(client.map(pow, range(100), [2] * 100)) == [n * n for n in range(100)]
        data = await client.scatter(bytes(5_000_000))
        assert await client.submit(len, data) == 5_000_000
        assert len(await client.submit(bytes, 5_000_000)) == 5_000_000


@gen_test(timeout=60)
async def test_tasks_there_submit_tasks() -> None:
    async with (
        dialled_worker() as (scheduler, _),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        assert await client.submit(fib, 6) == 8
        assert len(scheduler.machine.state.clients) == 2


@gen_test(timeout=60)
async def test_a_stream_that_breaks_is_opened_again() -> None:
    async with (
        dialled_worker() as (scheduler, worker),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        life = worker.incarnation
        (stream,) = scheduler._workers.values()
        stream.close()
        await until(lambda: worker.incarnation != life and worker.status == "running", 20)
        assert await client.submit(pow, 3, 2) == 9


@gen_test(timeout=60)
async def test_who_is_not_dialled_any_more_has_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    async with dialled_worker() as (scheduler, worker):
        scheduler.hang_up(worker.address)
        scheduler.hang_up("tcp://127.0.0.1:1")
        await until(lambda: not dialled._waiting)
        with pytest.raises(ConnectTimeoutError, match="not dialled this process"):
            await connect_address(scheduler.dialled_address, 0.1)
        with pytest.raises(CommClosedError, match="not dialled this process"):
            await connect_address(scheduler.dialled_address, 0.1, patient=False)


@gen_test(timeout=60)
async def test_only_who_was_dialled_may_say_whom_to_dial() -> None:
    scheduler = Scheduler()
    scheduler.listen(0)
    async with rpc(scheduler.address, role=WORKER) as stranger:
        with pytest.raises(BadRequestError, match="only whom this scheduler has dialled"):
            await stranger.dial_worker(nanny="tcp://n:1", address="tcp://127.0.0.1:1")
    await scheduler.close()


@gen_test(timeout=60)
async def test_a_nanny_says_where_its_worker_listens_and_only_the_port_counts() -> None:
    async with dialled_worker() as (scheduler, worker):
        nanny = await connect_address(scheduler.dialled_address, 5.0, WORKER)
        for port in (1, 2, 2):
            request = {"op": "dial_worker", "nanny": "tcp://n:1", "address": f"tcp://192.0.2.1:{port}"}
            nanny.write_message_nowait(request)
            assert await nanny.read_message() == "OK"
        assert set(scheduler._dialler._lines) == {worker.address, "tcp://127.0.0.1:2"}
        nanny.close()


@gen_test(timeout=60)
async def test_nobody_fills_a_process_with_streams() -> None:
    async with dialled_worker() as (_, worker):
        streams = [await connect(worker.address) for _ in range(dialled.WAITING_MAX + 1)]
        for stream in streams:
            stream.write_message_nowait({"op": "serve_scheduler", "name": "n"})
        answer = await asyncio.wait_for(streams[-1].read_message(), 20)
        assert "enough streams" in answer["text"]
        async with rpc(worker.address) as caller:
            with pytest.raises(BadRequestError, match="a stream of its own"):
                await caller.serve_scheduler(name="n")
        bad = await connect(worker.address)
        bad.write_message_nowait({"op": "serve_scheduler", "name": ""})
        assert "is no name" in (await bad.read_message())["text"]
        for stream in (*streams, bad):
            stream.close()


@gen_test(timeout=60)
async def test_a_server_that_does_not_know_the_op_or_wants_too_much_is_asked_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def serve(stream: Any, name: str) -> dict[str, str]:
        return {"role": CLIENT}

    scheduler, plain, other = Scheduler(), Server(), Server({"serve_scheduler": serve})
    stranger = Server(keys=keyring_from_master(os.urandom(32)))
    for server in (scheduler, plain, other, stranger):
        server.listen(0)
    scheduler.dial(plain.address)
    scheduler.dial(other.address, roles=(WORKER,))
    scheduler.dial(stranger.address)
    scheduler.dial(plain.address)  # known
    for reason in ("No handler found: 'serve_scheduler'", "answers {'role': 'client'}", "a different key"):
        await until(lambda reason=reason: reason in caplog.text)
    await scheduler.close()
    for server in (plain, other, stranger):
        server.stop()


@gen_test(timeout=60)
async def test_two_schedulers_are_never_mixed_up() -> None:
    served: dict[str, list[Any]] = {"one": [], "other": []}
    one, other = (Dialler(streams.append, None) for streams in served.values())
    async with dialled_worker() as (_, worker):
        for dialler in (one, other):
            dialler.dial(worker.address)
        streams = [await connect_address(address, 5.0, WORKER) for address in (one.address, one.address)]
        await until(lambda: len(served["one"]) == 2)
        streams.append(await connect_address(other.address, 5.0, WORKER))
        await until(lambda: len(served["other"]) == 1)
        assert len(served["one"]) == 2
        for dialler in (one, other):
            dialler.close()
        for stream in (*streams, *served["one"], *served["other"]):
            stream.close()
