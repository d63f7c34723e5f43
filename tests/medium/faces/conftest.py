"""A center with five workers of two cores each, in a thread, and a pool over it; tests leave them as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from distributed import Pool
from distributed.client.loop_thread import LoopThread
from distributed.faces.center.server import Center
from distributed.testing.clusters import open_servers
from distributed.worker.server import Worker


@dataclass
class Town:
    """Servers on a loop in a thread: what a pool has at the other end."""

    center: Center
    workers: list[Worker]
    thread: LoopThread


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    thread = LoopThread("distributed-test-center")
    servers = open_servers([("127.0.0.1", 2)] * 5, {"owns_process": False}, kind=Center)
    try:
        center, workers = thread.run(servers.__aenter__())
        yield Town(center, workers, thread)
        thread.run(servers.__aexit__(None, None, None))
    finally:
        thread.stop()


@pytest.fixture(scope="module")
def pool(town: Town) -> Iterator[Pool]:
    with Pool(town.center.address) as pool:
        yield pool
