"""Plugins in a real scheduler: what they hear of clients, workers and tasks."""

from __future__ import annotations

from typing import Any

from distributed import Client, SchedulerPlugin
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import inc
from distributed.worker.server import Worker


class Listener(SchedulerPlugin):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def transition(self, key: str, start: str, finish: str, because: str) -> None:
        self.heard.append((key, finish))

    def add_worker(self, worker: dict[str, Any]) -> None:
        self.heard.append(("joined", worker["name"], worker["nthreads"]))

    def remove_worker(self, address: str, reason: str) -> None:
        self.heard.append(("gone", address, reason))

    def add_client(self, client: str) -> None:
        self.heard.append(("client", client))

    def remove_client(self, client: str) -> None:
        self.heard.append(("no client", client))


@gen_cluster()
async def test_a_plugin_hears_of_clients_workers_and_tasks_in_order(scheduler: Scheduler, a: Worker, b: Worker) -> None:
    listener = Listener()
    assert scheduler.add_plugin(listener, "listener") == "listener"
    async with Client(scheduler.address, asynchronous=True) as client:
        assert await client.submit(inc, 1, key="x") == 2
        name = client.id
    later = Worker(scheduler.address, nthreads=3, name="later")
    await later.start()
    await later.close("enough")
    await until(lambda: ("gone", later.address, "enough") in listener.heard)
    told = [entry for entry in listener.heard if entry[0] != "x"]
    assert told == [
        ("client", name),
        ("no client", name),
        ("joined", "later", 3),
        ("gone", later.address, "enough"),
    ]
    states = [finish for key, finish in (entry[:2] for entry in listener.heard) if key == "x"]
    assert states == ["ready", "processing", "memory", "forgotten"]
