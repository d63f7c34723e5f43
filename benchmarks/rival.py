"""The rival's side, dask.distributed: the worker script for one cell (``python rival.py CELL``).

It is run by the Python of a virtual environment of its own. Its package is called `distributed` too, hence the modules
by name: type checkers would take ours for it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cells

distributed: Any = importlib.import_module("distributed")
core: Any = importlib.import_module("distributed.core")
protocol: Any = importlib.import_module("distributed.protocol")

BIN = Path(sys.executable).parent
DASHBOARD = "127.0.0.1:0"  # on as by default, but not on a fixed port, nor for other machines


class Rival:
    """dask.distributed at its defaults: nannies, queuing and dashboard as it comes."""

    name = "rival"
    local_cluster_keywords: dict[str, Any] = {"dashboard_address": DASHBOARD}  # noqa: RUF012  (a constant)
    scatter_keywords: dict[str, Any] = {}  # noqa: RUF012  (its defaults, by which it hashes all data)

    def commands(self, scheduler_file: Path) -> tuple[list[str], list[str]]:
        """The command of the scheduler, and of two workers with one thread each."""
        shared = ["--host", "127.0.0.1", "--scheduler-file", str(scheduler_file), "--dashboard-address", DASHBOARD]
        scheduler = [str(BIN / "dask"), "scheduler", "--port", "0", *shared]
        worker = [str(BIN / "dask"), "worker", "--nworkers", "2", "--nthreads", "1", *shared]
        return scheduler, worker

    def connect(self, scheduler_file: Path) -> Any:
        """A client of that cluster."""
        return distributed.Client(scheduler_file=str(scheduler_file))

    def scheduler_pid(self, client: Any) -> int:
        """Whose memory to look at."""
        return int(client.run_on_scheduler(os.getpid))

    def worker_pids(self, client: Any) -> list[int]:
        """Whom to kill."""
        return [int(pid) for pid in client.run(os.getpid).values()]

    @contextmanager
    def local_client(self) -> Iterator[Any]:
        """A client of a new local cluster, closed together."""
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, **self.local_cluster_keywords) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client

    def rpc(self, address: str) -> Any:
        """The caller's side of a server; an async context manager."""
        return core.rpc(address)

    def wrap(self, data: Any) -> Any:
        """An array for a message, as a frame of its own."""
        return protocol.to_serialize(data)

    def unwrap(self, data: Any) -> Any:
        """The array in an answer; it was loaded on arrival."""
        return data

    async def serve(self) -> None:
        """Serve the rpc cells until killed; prints the address."""

        def add(comm: Any, x: int, y: int) -> int:
            return x + y

        def echo(comm: Any, data: Any) -> dict[str, Any]:
            return {"data": self.wrap(data)}

        server = core.Server({"add": add, "echo": echo})
        await server.listen("tcp://127.0.0.1:0")
        print(server.address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    cells.main(Rival(), __file__)
