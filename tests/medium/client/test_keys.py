"""A client with keys of its own, in a process whose user has others."""

from __future__ import annotations

import os

import pytest

from distributed import Client, Scheduler, Worker
from distributed.errors import AuthenticationError
from distributed.security.keys import keyring_from_master
from distributed.testing.clusters import gen_test

BIG = 300_000  # bytes: more than comes inline with an answer


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


def make(size: int) -> bytes:
    return bytes(size)


@gen_test()
async def test_every_connection_of_a_client_proves_the_key_it_was_given() -> None:
    keys = keyring_from_master(os.urandom(32))
    scheduler = Scheduler(keys=keys)
    scheduler.listen(0)
    worker = Worker(scheduler.address, nthreads=1, keys=keys)
    await worker.start(0)
    try:
        async with Client(scheduler.address, asynchronous=True, keys=keys) as client:
            assert len(await client.submit(make, BIG)) == BIG  # fetched from the worker
            counter = await client.submit(Counter, actor=True)
            assert await counter.add() == 1
            assert (await client.scheduler_info())["id"] == scheduler.id
            with pytest.raises(AuthenticationError):
                await Client(scheduler.address, asynchronous=True)
    finally:
        await worker.close()
        await scheduler.close()
