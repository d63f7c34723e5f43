"""A cluster in a thread of this process, shared by the tests of a module; each test leaves it empty."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from distributed import Client
from distributed.client.loop_thread import LoopThread
from distributed.multiprocessing import Pool
from distributed.testing.clusters import open_servers

PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def servers(private_key: Any) -> Iterator[Any]:
    """Scheduler and two workers with one thread each."""
    thread = LoopThread("distributed-test-servers")
    opened = open_servers([("127.0.0.1", 1), ("127.0.0.1", 1)])
    try:
        yield thread.run(opened.__aenter__())
        thread.run(opened.__aexit__(None, None, None))
    finally:
        thread.stop()


@pytest.fixture(scope="module")
def client(servers: Any) -> Iterator[Client]:
    with Client(servers[0].address) as client:
        yield client


@pytest.fixture
def pool(client: Client, servers: Any) -> Iterator[Pool]:
    """A pool of the cluster; after the test nothing of it is left there, nor here."""
    pool = Pool(client=client)
    yield pool
    pool.terminate()
    pool.join()
    scheduler, _ = servers
    deadline = time.monotonic() + PATIENCE_S
    while scheduler.machine.state.tasks or any(
        thread.name.startswith("distributed-pool") for thread in threading.enumerate()
    ):
        assert time.monotonic() < deadline, (scheduler.machine.state.tasks, threading.enumerate())
        threading.Event().wait(0.002)
