"""The client of a worker: how tasks submit tasks. One per worker, made when a task first asks, closed with the worker.

Its loop has a thread of its own. It tells the scheduler in which process it is, and what it holds is let go when that
process dies. Not here: what waiting does (`distributed.worker.lending`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from distributed.client.client import Client
from distributed.worker.context import current, rejoin, secede, wait_in_parts

__all__ = ["WorkerClient", "get_client", "worker_client"]

_making = threading.Lock()  # held while one is made: others who ask meanwhile get the same


class WorkerClient(Client):
    """A client in the process of a worker; `get_client` makes it. What tasks print goes to others.

    Args:
        worker: the server of the worker.
    """

    def __init__(self, worker: Any) -> None:
        self.process = worker.id
        super().__init__(worker.scheduler_address, name=f"tasks of {worker.name or worker.address}", output="ignore")


def get_client() -> Client:
    """Inside a task: the client of its worker, shared by all tasks there. Elsewhere: the one opened last.

    Its methods that wait lend the slot of the task: others run meanwhile, those that it has submitted first.

    Raises:
        ValueError: no task runs here, and no client is open.
    """
    context = current()
    if context is None or context.owner is None:
        return Client.current()
    worker = context.owner
    client = worker.companion
    if client is None or client.status == "closed":
        client = _made(worker)
    assert isinstance(client, Client)
    return client


def _made(worker: Any) -> Client:
    """The client of `worker`, made in a thread of its own: an interrupt of who asks must not leave half of it."""
    made: Future[Client] = Future()

    def make() -> None:
        try:
            with _making:
                client = worker.companion
                if client is None or client.status == "closed":
                    if client is not None:
                        client.close()  # it has lost its session for good; its thread is still there
                    client = worker.companion = WorkerClient(worker)
            if worker.status == "closed":  # meanwhile, and it may have looked before there was one
                client.close()
            made.set_result(client)
        except BaseException as error:  # for who asks
            made.set_exception(error)

    thread = threading.Thread(target=make, name="distributed-companion", daemon=True)
    thread.start()
    wait_in_parts(lambda timeout_s: _has_ended(thread, timeout_s), None)
    return made.result()


def _has_ended(thread: threading.Thread, timeout_s: float | None) -> bool:
    thread.join(timeout_s)
    return not thread.is_alive()


@contextmanager
def worker_client() -> Iterator[Client]:
    """`get_client`, with the slot of the task lent to others as long as the ``with`` block lasts.

    Raises:
        ValueError: this is not called by a task.
    """
    secede()
    try:
        yield get_client()
    finally:
        rejoin()
