"""Locks, queues and their like of clients whose connection is cut, or that the scheduler has forgotten."""

from __future__ import annotations

import asyncio
import random

import pytest

from distributed import Client, Lock, Queue, Sub, get_client
from distributed.errors import CommClosedError, NotHeldError, RequestLostError
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.cutting import CuttingProxy

pytestmark = pytest.mark.usefixtures("forwarded")


def is_cut(client):
    return client.status == "connecting"


@gen_cluster([("127.0.0.1", 1)])
async def test_a_lock_is_held_and_waited_for_over_a_cut(scheduler, a):
    async with (
        CuttingProxy(scheduler.address) as proxy,
        Client(proxy.address, asynchronous=True) as client,
        Client(scheduler.address, asynchronous=True) as other,
    ):
        held, waited = Lock("x", client), Lock("y", other)
        await held.acquire()
        await waited.acquire()
        waits = asyncio.ensure_future(Lock("y", client).acquire())
        await until(lambda: scheduler.machine.state.coordination.requests == 1)
        proxy.is_refusing = True
        proxy.cut()
        await until(lambda: is_cut(client))
        assert not await Lock("x", other).acquire(blocking=False)
        await waited.release()
        asked = asyncio.ensure_future(held.release())
        proxy.is_refusing = False
        assert await waits
        await asked
        assert await Lock("x", other).acquire(timeout=10)


@pytest.mark.parametrize("seed", range(4))
@gen_cluster([("127.0.0.1", 1)])
async def test_every_item_comes_once_however_often_it_is_cut(scheduler, a, *, seed):
    draw = random.Random(seed)
    async with (
        CuttingProxy(scheduler.address) as proxy,
        CuttingProxy(scheduler.address) as other_proxy,
        Client(proxy.address, asynchronous=True) as client,
        Client(other_proxy.address, asynchronous=True) as other,
    ):
        for one in (proxy, other_proxy):
            one._budget = lambda: draw.choice([700, 1_500, 5_000])
            one.cut()
        puts, gets = Queue("q", client, maxsize=3), Queue("q", other)

        async def put():
            for number in range(100):
                await puts.put(number)

        putting = asyncio.ensure_future(put())
        got = []
        while len(got) < 100:
            try:
                got.append(await gets.get(timeout=draw.choice([0.001, 0.005, 5])))
            except TimeoutError:
                continue
        await putting
        proxy._budget = other_proxy._budget = None
        assert got == list(range(100))
        assert proxy.cuts + other_proxy.cuts >= 5


@gen_cluster([("127.0.0.1", 1)])
async def test_what_a_forgotten_client_waits_for_is_lost_and_what_it_held_is_free(scheduler, a):
    async with (
        CuttingProxy(scheduler.address) as proxy,
        Client(proxy.address, asynchronous=True) as client,
        Client(scheduler.address, asynchronous=True) as other,
    ):
        lock, sub = Lock("x", client), Sub("t", client)
        await lock.acquire()
        await sub.start()
        waits = asyncio.ensure_future(Queue("q", client).get())
        await until(lambda: scheduler.machine.state.coordination.requests == 1)
        proxy.is_refusing = True
        proxy.cut()
        await until(lambda: is_cut(client))
        session = scheduler._clients._sessions[client.id]
        await until(lambda: session.patience is not None)
        scheduler._clients._forget(session, "it did not come back")
        assert await Lock("x", other).acquire(timeout=10)
        proxy.is_refusing = False
        with pytest.raises(RequestLostError, match=r"queue 'q': the scheduler at .* waited no longer for this client"):
            await waits
        with pytest.raises(NotHeldError, match="others may have had it meanwhile"):
            await lock.release()
        next_one = asyncio.ensure_future(sub.get())  # which subscribes anew
        await until(lambda: "t" in scheduler.machine.state.coordination.topics)
        await sub.close()
        with pytest.raises(CommClosedError, match="the subscription of 't' was closed"):
            await next_one


@gen_cluster([("127.0.0.1", 1)])
async def test_what_waits_ends_with_its_client(scheduler, a):
    client = await Client(scheduler.address, asynchronous=True)
    lock = Lock("x", client)
    await lock.acquire()
    waits = asyncio.ensure_future(Queue("q", client).get())
    await until(lambda: scheduler.machine.state.coordination.requests == 1)
    await client.close()
    with pytest.raises(CommClosedError):
        await waits
    with pytest.raises(NotHeldError):
        await lock.release()
    with pytest.raises(CommClosedError):
        await Lock("x", client).acquire()
    await until(lambda: not scheduler.machine.state.coordination.desks)


def double_locked(lock, queue, x):
    with lock:
        queue.put(x)
        return 2 * x


def test_handles_work_in_tasks(background):
    with Client(background.address) as client:
        futures = client.map(double_locked, [Lock("x")] * 5, [Queue("q")] * 5, range(5))
        assert client.gather(futures) == [0, 2, 4, 6, 8]
        assert sorted(Queue("q").get(batch=5)) == [0, 1, 2, 3, 4]
        assert get_client() is client


def test_a_long_wait_is_logged_with_the_name_of_the_holder(background, caplog):
    background.thread.run(_hurry(background.scheduler))
    with Client(background.address) as one, Client(background.address) as other, Lock("x", one):
        assert not Lock("x", other).acquire(timeout=0.5)
        assert f"at lock 'x': {one.id} has held it for " in caplog.text


async def _hurry(scheduler):
    state = scheduler.machine.state
    object.__setattr__(state.settings, "long_wait_s", 0.02)
