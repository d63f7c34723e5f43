"""A client whose connection is cut goes on where it was; one that the scheduler has forgotten says so."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from typing import Any

import pytest

from distributed import Client, wait
from distributed.errors import (
    BadRequestError,
    CommClosedError,
    DistributedError,
    LostDataError,
    SessionLostError,
)
from distributed.ledger import Ledger
from distributed.messages import KeysDone
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, open_servers, until
from distributed.testing.cutting import CuttingProxy
from distributed.testing.functions import inc, slowinc
from distributed.worker.server import Worker

pytestmark = pytest.mark.usefixtures("forwarded")

BIG = 100_000  # bytes of a result that stays on its worker
RUNS: list[int] = []


def count_run(x: int) -> int:
    RUNS.append(x)
    return x + 1


class PeakLedger(Ledger):
    """One that remembers how many messages it has kept at most."""

    peak = 0

    def send(self, message: Any, nbytes: int) -> bool:
        asks = super().send(message, nbytes)
        self.peak = max(self.peak, self.sent - self.confirmed_count)
        return asks


def is_cut(client: Client) -> bool:
    return client.status == "connecting"


# ---------------------------------------------------------------- cut connections


@gen_cluster([("127.0.0.1", 1)])
async def test_futures_survive_a_cut(scheduler: Scheduler, a: Worker) -> None:
    async with CuttingProxy(scheduler.address) as proxy:
        async with Client(proxy.address, asynchronous=True) as client:
            before, big = client.submit(slowinc, 1), client.submit(bytes, BIG)
            pending = client.map(slowinc, range(20), delay=0.002)
            await big
            proxy.is_refusing = True
            proxy.cut()
            await until(lambda: is_cut(client))
            meanwhile = client.submit(inc, 5)
            waiting = asyncio.ensure_future(client.gather([before, big, pending, meanwhile]))
            await until(lambda: len(a.store) == 22)
            assert not waiting.done() and client.id in scheduler._clients
            proxy.is_refusing = False
            assert await waiting == [2, bytes(BIG), list(range(1, 21)), 6]
            assert client.status == "running" and Client.current() is client
        await until(lambda: not scheduler.machine.state.tasks and not list(scheduler._clients))


@pytest.mark.parametrize("seed", range(6))
@gen_cluster([("127.0.0.1", 1), ("127.0.0.1", 1)])
async def test_nothing_is_lost_and_nothing_done_twice_however_often_it_is_cut(
    scheduler: Scheduler, a: Worker, b: Worker, *, seed: int
) -> None:
    draw = random.Random(seed)
    RUNS.clear()

    def budget() -> int:
        return draw.choice([700, 1_500, 5_000, 20_000])

    async with CuttingProxy(scheduler.address) as proxy, Client(proxy.address, asynchronous=True) as client:
        proxy._budget = budget
        proxy.cut()
        futures: list[Any] = []
        for number in range(40):
            futures.append(client.map(count_run, range(20 * number, 20 * (number + 1)), pure=False))
            if draw.random() < 0.3:
                client.submit(inc, number, pure=False).release()
            await asyncio.sleep(draw.choice([0, 0, 0.002]))
        proxy._budget = None
        proxy.cut()
        assert await client.gather(futures) == [list(range(20 * n + 1, 20 * n + 21)) for n in range(40)]
        assert sorted(RUNS) == list(range(800))
        assert proxy.cuts >= 5
        del futures
        await until(lambda: not scheduler.machine.state.tasks)


@gen_cluster([("127.0.0.1", 1)])
async def test_questions_are_asked_again_after_a_cut(scheduler: Scheduler, a: Worker) -> None:
    async with CuttingProxy(scheduler.address) as proxy, Client(proxy.address, asynchronous=True) as client:
        (data,) = await client.scatter([1])
        proxy.is_refusing = True
        proxy.cut()
        await until(lambda: is_cut(client))
        asked = asyncio.gather(client.who_has(data), client.ncores(), client.scatter([2]))
        for _ in range(3):
            await asyncio.sleep(0)
        proxy.is_refusing = False
        who_has, ncores, (more,) = await asked
        assert who_has == {data.key: [a.address]} and ncores == {a.address: 1}
        assert await client.gather([data, more]) == [1, 2]


@gen_cluster([("127.0.0.1", 1)])
async def test_a_cut_that_only_the_client_has_seen(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as client:
        assert client._session is not None
        link = client._session.link
        old = scheduler._clients.endpoint(client.id).stream
        link._endpoint.release()  # the connection stays open: half of it is dead
        link._on_cut(CommClosedError(scheduler.address, "timed out"))
        future = client.submit(inc, 1)
        assert await future == 2
        assert old is not None and old.closed() and list(scheduler._clients) == [client.id]


# ---------------------------------------------------------------- the scheduler has forgotten


@gen_cluster([("127.0.0.1", 1)])
async def test_a_scheduler_started_anew_is_told_of_and_used(scheduler: Scheduler, a: Worker) -> None:
    async with (
        open_servers([("127.0.0.1", 1)]) as (other, _),
        CuttingProxy(scheduler.address) as proxy,
        Client(proxy.address, asynchronous=True) as client,
    ):
        here, there = client.submit(inc, 1), client.submit(bytes, BIG)
        await wait([here, there])
        (data,) = await client.scatter([1])
        pending = client.submit(inc, 2, resources={"GPU": 1})
        proxy.is_refusing = True
        proxy.target = other.address
        proxy.cut()
        await until(lambda: is_cut(client))
        meanwhile = client.submit(inc, 3)
        proxy.is_refusing = False
        for future in (pending, there, data, meanwhile):
            with pytest.raises(SessionLostError, match="was started anew; submit it again"):
                await future
            assert future.status == "lost"
        assert await here == 2, "it came along"
        assert client.status == "running" and list(other._clients) == [client.id]
        assert await client.submit(inc, 3) == 4
        assert await client.gather(client.map(inc, range(5))) == [1, 2, 3, 4, 5], "functions are sent anew"
        with pytest.raises(LostDataError, match="does not know"):
            await client.submit(inc, here)
        del here, there, data, pending, meanwhile, future
        await until(lambda: not other.machine.state.tasks)
        assert await client.submit(inc, 10) == 11


@gen_cluster([("127.0.0.1", 1)])
async def test_a_client_that_stays_away_is_forgotten(scheduler: Scheduler, a: Worker) -> None:
    scheduler._clients._patience_s = 0.01
    async with CuttingProxy(scheduler.address) as proxy, Client(proxy.address, asynchronous=True) as client:
        future = client.submit(bytes, BIG)
        await wait(future)
        proxy.is_refusing = True
        proxy.cut()
        await until(lambda: not list(scheduler._clients) and not scheduler.machine.state.tasks)
        await until(lambda: not len(a.store))
        proxy.is_refusing = False
        with pytest.raises(SessionLostError, match="waited no longer for this client"):
            await client.gather([future])
        assert await client.submit(bytes, BIG) == bytes(BIG)


@gen_cluster([("127.0.0.1", 1)])
async def test_a_scheduler_keeps_only_so_much_for_a_client_that_is_away(scheduler: Scheduler, a: Worker) -> None:
    async with CuttingProxy(scheduler.address) as proxy, Client(proxy.address, asynchronous=True) as client:
        proxy.is_refusing = True
        proxy.cut()
        await until(lambda: scheduler._clients.endpoint(client.id).stream is None)
        scheduler._clients.endpoint(client.id).ledger = Ledger(count_max=3)
        for _ in range(3):
            assert client.id in scheduler._clients
            scheduler._clients.send(client.id, KeysDone([], [], []))
        assert client.id not in scheduler._clients
        assert not scheduler.machine.state.clients


@gen_cluster([])
async def test_only_so_many_absent_clients_are_waited_for(
    scheduler: Scheduler, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.scheduler.sessions.ABSENT_MAX", 2)
    async with CuttingProxy(scheduler.address) as proxy:
        clients = [await Client(proxy.address, asynchronous=True) for _ in range(4)]
        proxy.is_refusing = True
        proxy.cut()
        await until(lambda: len(list(scheduler._clients)) == 2)
        for client in clients:
            await client.close()


@gen_cluster([("127.0.0.1", 1)])
async def test_a_client_gives_up_after_a_while(scheduler: Scheduler, a: Worker, *, change_settings: Any) -> None:
    async with CuttingProxy(scheduler.address) as proxy, Client(proxy.address, asynchronous=True) as client:
        change_settings(reconnect_timeout_s="50ms")
        future = client.submit(inc, 1, resources={"GPU": 1})
        proxy.is_refusing = True
        proxy.cut()
        with pytest.raises(CommClosedError, match=r"the scheduler is gone .* not back in 0.05 s"):
            await future
        assert client.status == "closed"
        with pytest.raises(CommClosedError, match="the scheduler is gone"):
            await client.ncores()


@gen_cluster([])
async def test_nonsense_instead_of_a_session_is_refused(scheduler: Scheduler) -> None:
    async with Client(scheduler.address, asynchronous=True) as client:
        for told in (5, [], [scheduler.id], [scheduler.id, "x"], [scheduler.id, -1], [5, 5]):
            with pytest.raises(BadRequestError, match="session is"):
                await scheduler._clients.serve(None, "other", told, {})  # type: ignore[arg-type]
        assert list(scheduler._clients) == [client.id]


@pytest.mark.parametrize("wire", [["ack"], ["ack", 5], ["ack", -1], ["ack", "x"], ["ack?", 1], ["bye", 1]])
@gen_cluster([("127.0.0.1", 1)])
async def test_who_breaks_the_rules_of_a_session_is_disconnected(scheduler: Scheduler, a: Worker, *, wire: Any) -> None:
    async with Client(scheduler.address, asynchronous=True) as one, Client(scheduler.address, asynchronous=True) as two:
        assert one._session is not None and two._session is not None
        one._session.link._endpoint._tell(wire)
        await until(lambda: list(scheduler._clients) == [two.id])
        await until(lambda: one.status == "closed")
        scheduler._clients.endpoint(two.id)._tell(wire)
        await until(lambda: two.status == "closed" and not list(scheduler._clients))
        with pytest.raises(DistributedError):
            one.submit(inc, 1)


@gen_cluster([("127.0.0.1", 1)])
async def test_what_is_confirmed_is_dropped(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as client:
        assert client._session is not None
        here, there = client._session.link._endpoint.ledger, scheduler._clients.endpoint(client.id).ledger
        for size in (1, 3_000_000):
            for number in range(40 if size == 1 else 4):
                assert await client.submit(len, bytes(size + number)) == size + number
        assert here.nbytes < 50_000_000
        await until(lambda: not here.nbytes and not there.nbytes)


@gen_cluster([("127.0.0.1", 1)])
async def test_a_client_sends_only_so_much_ahead(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as client:
        assert client._session is not None
        endpoint = client._session.link._endpoint
        endpoint.ledger = ledger = PeakLedger(count_max=2)
        scheduler._clients.endpoint(client.id).ledger = Ledger()
        for number in range(20):
            futures = [client.submit(len, bytes(5_000 + n + number), pure=False) for n in range(3)]
            assert await client.gather(futures) == [5_000 + n + number for n in range(3)]
        assert ledger.sent > 20 and 1 <= ledger.peak <= 2


# ---------------------------------------------------------------- leaving while it is cut


@gen_cluster([("127.0.0.1", 1)])
async def test_closing_while_it_is_cut(scheduler: Scheduler, a: Worker, *, change_settings: Any) -> None:
    change_settings(connect_timeout_s="100ms")
    async with CuttingProxy(scheduler.address) as proxy:
        for end in (Client.close, Client.shutdown):
            client = await Client(proxy.address, asynchronous=True)
            future = client.submit(inc, 1, resources={"GPU": 1})
            proxy.is_refusing = True
            proxy.cut()
            await until(lambda client=client: is_cut(client))
            waiting = asyncio.ensure_future(client.gather(future))
            await end(client)  # within the time of a test, not the patience of 30 s
            with pytest.raises(CommClosedError, match="this client was closed"):
                await waiting
            proxy.is_refusing = False


def test_a_blocking_client_waits_through_a_cut(background: Any) -> None:
    proxy: CuttingProxy = background.thread.run(CuttingProxy(background.address).__aenter__())
    with Client(proxy.address) as client:
        futures = client.map(slowinc, range(20), delay=0.002)

        async def cut() -> None:
            proxy.cut()

        background.thread.run(cut())
        assert client.gather(futures) == list(range(1, 21))
        assert client.submit(inc, 1).result(timeout=10) == 2
    background.thread.run(proxy.__aexit__())


def test_a_waiting_thread_can_leave_while_it_is_cut(background: Any) -> None:
    proxy: CuttingProxy = background.thread.run(CuttingProxy(background.address).__aenter__())
    client = Client(proxy.address)
    future = client.submit(inc, 1, resources={"GPU": 1})

    async def cut() -> None:
        proxy.is_refusing = True
        proxy.cut()

    background.thread.run(cut())
    with pytest.raises(TimeoutError):
        future.result(timeout=0.05)
    outcome: list[BaseException] = []

    def wait_for_it() -> None:
        try:
            client.gather([future])
        except CommClosedError as error:
            outcome.append(error)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    client.close()
    thread.join(5)
    assert "this client was closed" in str(outcome[0])
    background.thread.run(proxy.__aexit__())


def test_ctrl_c_gives_control_back_while_it_is_cut(background: Any) -> None:
    proxy: CuttingProxy = background.thread.run(CuttingProxy(background.address).__aenter__())
    with Client(proxy.address) as client:
        future = client.submit(inc, 1, resources={"GPU": 1})

        async def cut() -> None:
            proxy.is_refusing = True
            proxy.cut()

        background.thread.run(cut())
        for wait_for_it in (future.result, client.ncores, client.get_versions, lambda: client.gather([future])):
            interrupting = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT])
            interrupting.start()
            with pytest.raises(KeyboardInterrupt):
                wait_for_it()
            interrupting.join()
    background.thread.run(proxy.__aexit__())
