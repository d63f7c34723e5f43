"""Our side: the worker script for one cell (``python ours.py CELL``), run by the Python of our virtual environment."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cells

from distributed import Client, LocalCluster
from distributed.core import Server, rpc, to_serialize
from distributed.security.certificates import certificate_path, mint

BIN = Path(sys.executable).parent


class Ours:
    """This package, at its defaults. Authentication is on: it always is."""

    name = "ours"
    local_cluster_keywords: dict[str, Any] = {}  # noqa: RUF012  (a constant)
    scatter_keywords: dict[str, Any] = {}  # noqa: RUF012  (a constant; it never hashes the data)

    def commands(self, scheduler_file: Path) -> tuple[list[str], list[str]]:
        """The command of the scheduler, and of two workers with one thread each."""
        scheduler = [str(BIN / "dscheduler"), "--port", "0", "--scheduler-file", str(scheduler_file)]
        if _has_tls():
            scheduler.append("--tls")  # workers and client follow it
        worker = [str(BIN / "dworker"), "--scheduler-file", str(scheduler_file), "--nworkers", "2", "--nthreads", "1"]
        return scheduler, worker

    def connect(self, scheduler_file: Path) -> Any:
        """A client of that cluster."""
        return Client(scheduler_file=str(scheduler_file))

    def scheduler_pid(self, client: Any) -> int:
        """Whose memory to look at."""
        return int(client.scheduler_info()["pid"])

    def worker_pids(self, client: Any) -> list[int]:
        """Whom to kill."""
        return [int(worker["pid"]) for worker in client.scheduler_info()["workers"].values()]

    @contextmanager
    def local_client(self) -> Iterator[Any]:
        """A client of a new local cluster, closed together."""
        with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
            yield client

    def rpc(self, address: str) -> Any:
        """The caller's side of a server; an async context manager."""
        return rpc(address)

    def wrap(self, data: Any) -> Any:
        """An array for a message, as a frame of its own."""
        return to_serialize(data)

    def unwrap(self, data: Any) -> Any:
        """The array in an answer."""
        return data.load()

    async def serve(self) -> None:
        """Serve the rpc cells until killed; prints the address."""

        def add(stream: Any, x: int, y: int) -> int:
            return x + y

        def echo(stream: Any, data: Any) -> dict[str, Any]:
            return {"data": data}

        server = Server({"add": add, "echo": echo})
        server.listen(0, tls=_has_tls())
        print(server.address, flush=True)
        await asyncio.Event().wait()


def _has_tls() -> bool:
    """Whether this run encrypts; then there is a certificate."""
    if "BENCHMARK_TLS" not in os.environ:
        return False
    mint(certificate_path())
    return True


if __name__ == "__main__":
    cells.main(Ours(), __file__)
