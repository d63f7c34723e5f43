"""Workers on their way out: they ask, wait to be dismissed, and do not wait for ever."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from distributed.calls import rpc
from distributed.comm.stream import Stream
from distributed.core import Server
from distributed.messages import DismissWorker, Message, RunTasks, ServerClosing
from distributed.protocol.serialize import dumps_function, dumps_payload
from distributed.testing.clusters import gen_test, until
from distributed.worker.server import Worker

GATE = threading.Event()


class Registrar(Server):
    """A scheduler of which nothing is left but the registration: it notes what the worker says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[list[Any]] = []
        self.streams: list[Stream] = []
        self.add_handlers({"register_worker": self.register_worker})

    async def register_worker(self, stream: Stream, **introduction: Any) -> None:
        stream.write_plain_nowait({"scheduler": "fake"})
        self.streams.append(stream)
        stream.set_message_handler(self.said.append)
        await asyncio.get_running_loop().create_future()

    def tell(self, message: Message) -> None:
        self.streams[-1].write_plain_nowait(message.to_wire())

    def heard(self, op: str) -> list[Any]:
        return [wire[1:] for wire in self.said if wire[0] == op]


@asynccontextmanager
async def registered(**options: Any) -> AsyncIterator[tuple[Registrar, Worker]]:
    registrar = Registrar()
    registrar.listen(0)
    worker = await Worker(registrar.address, nthreads=1, **options).start()
    try:
        yield registrar, worker
    finally:
        await worker.close()
        registrar.stop()


@gen_test()
async def test_a_retiring_worker_ends_when_it_is_dismissed() -> None:
    async with registered() as (registrar, worker):
        worker.retire_soon("SIGTERM")
        worker.retire_soon("said twice")
        await until(lambda: registrar.heard("worker-retiring") == [["SIGTERM"]])
        assert worker.status == "retiring"
        assert not worker.finished.done()
        registrar.tell(DismissWorker("nobody needs it"))
        assert await worker.finished == "SIGTERM"
        await until(lambda: registrar.heard("worker-leaving") == [["SIGTERM"]])


@gen_test()
async def test_a_worker_may_be_dismissed_unasked() -> None:
    async with registered() as (registrar, worker):
        registrar.tell(DismissWorker("a client wants fewer"))
        assert await worker.finished == "a client wants fewer"


@gen_test()
async def test_a_worker_that_is_not_dismissed_ends_with_its_grace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with registered(grace_s=0.02) as (registrar, worker):
        worker.retire_soon("SIGTERM")
        assert await worker.finished == "SIGTERM"
        await until(lambda: registrar.heard("worker-leaving"))
    assert "ending with tasks or data that nobody took over in 0.02 s" in caplog.text


@gen_test()
async def test_without_a_grace_it_asks_nobody() -> None:
    async with registered(grace_s=0) as (registrar, worker):
        worker.retire_soon("SIGTERM")
        assert await worker.finished == "SIGTERM"
        assert registrar.heard("worker-retiring") == []


@pytest.mark.parametrize("how", ["announced", "cut"])
@gen_test()
async def test_a_retiring_worker_ends_with_its_scheduler(how: str) -> None:
    async with registered() as (registrar, worker):
        worker.retire_soon("SIGTERM")
        await until(lambda: registrar.heard("worker-retiring"))
        if how == "announced":
            registrar.tell(ServerClosing("enough"))
        else:
            registrar.streams[-1].close()
        assert await worker.finished == ("the scheduler ended: enough" if how == "announced" else "SIGTERM")


@gen_test()
async def test_closing_ends_the_wait() -> None:
    async with registered() as (registrar, worker):
        worker.retire_soon("SIGTERM")
        await worker.close("SIGINT")
        assert await worker.finished == "SIGINT"
        assert registrar.heard("worker-leaving") == [["SIGINT"]]


@pytest.mark.parametrize("graceful", [True, False])
@gen_test()
async def test_a_worker_can_be_asked_to_end_either_way(graceful: bool) -> None:
    async with registered() as (registrar, worker):
        async with rpc(worker.address) as link:
            assert await link.terminate(reason="asked", graceful=graceful) == "OK"
        await until(lambda: registrar.heard("worker-retiring" if graceful else "worker-leaving") == [["asked"]])
        assert worker.status == ("retiring" if graceful else "closed")


def wait_at_gate() -> None:
    GATE.wait(20)


@gen_test()
async def test_a_busy_worker_does_not_wait_for_what_it_runs() -> None:
    GATE.clear()
    async with registered() as (registrar, worker):
        function = {b"f": dumps_function(wait_at_gate)}
        arguments = [dumps_payload(((), {}))]
        registrar.tell(RunTasks(function, [b"f"], None, ["k"], [1], arguments, None, None, {}, {}))
        await until(lambda: worker.executor.running.keys() == ["k"])
        await worker.close("SIGINT")
        assert not GATE.is_set()
        assert registrar.heard("tasks-done") == []
    GATE.set()
