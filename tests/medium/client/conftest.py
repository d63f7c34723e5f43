"""A client's tests leave no thread, socket or process behind; and a cluster in a thread, for clients that block."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from distributed.client.loop_thread import LoopThread
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import open_servers
from distributed.worker.server import Worker

PATIENCE_S = 3.0


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("distributed-")}


def _sockets() -> set[str]:
    return {link for link in _links() if link.startswith("socket:")}


def _links() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/self/fd/{name}")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """After the test: the threads, sockets and processes of before."""
    sockets, threads, children = _sockets(), _threads(), psutil.Process().children()
    yield
    gc.collect()
    deadline = time.monotonic() + PATIENCE_S
    while (left := _threads() - threads) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert not left
    assert _sockets() <= sockets
    assert psutil.Process().children() == children  # a session's shared cluster among them


class Background:
    """Servers on a loop in a thread: what a blocking client has at the other end."""

    def __init__(self, scheduler: Scheduler, workers: list[Worker], thread: LoopThread) -> None:
        self.address = scheduler.address
        self.scheduler = scheduler
        self.workers = workers
        self.thread = thread


@pytest.fixture
def background() -> Iterator[Background]:
    """Two workers with one thread each."""
    thread = LoopThread("distributed-test-servers")
    servers = open_servers([("127.0.0.1", 1), ("127.0.0.1", 1)])
    try:
        scheduler, workers = thread.run(servers.__aenter__())
        yield Background(scheduler, workers, thread)
        thread.run(servers.__aexit__(None, None, None))
    finally:
        thread.stop()


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Only the last reference frees an object."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
