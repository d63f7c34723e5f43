"""Cells of shipping a workspace of 1,000 small files to an offer's store in another process, and of laying it out.

With ``--beside`` (see `cells.main`) the number to reach stands there instead of a measurement.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

from sides import Plan, Sample, Side, check

__all__ = ["lay_out_1k", "ship_edited", "ship_edited_nbytes", "ship_first", "ship_unchanged"]

FILES = 1_000
FILE_NBYTES = 2_000
ROUNDS = 7
TENANT = "0" * 32

Step = Callable[["_Bench"], Awaitable[float]]


def ship_first(side: Side, plan: Plan) -> Sample:
    """All of it to an offer that has nothing, the scan excluded; ms."""

    async def step(bench: _Bench) -> float:
        bench.touch_all()
        manifest = bench.workspace.scan()
        seconds, shipped = await bench.ship(manifest)
        check((shipped.blobs, shipped.blob_nbytes), (FILES, FILES * FILE_NBYTES))
        return seconds

    return _measure(step, 500.0)


def ship_unchanged(side: Side, plan: Plan) -> Sample:
    """Again, scan included, after nothing has changed; ms."""

    async def step(bench: _Bench) -> float:
        began = time.perf_counter()
        manifest = bench.workspace.scan()
        _, shipped = await bench.ship(manifest, manifest)
        check(shipped.blob_nbytes, 0)
        return time.perf_counter() - began

    return _measure(step, 30.0)


def ship_edited(side: Side, plan: Plan) -> Sample:
    """After one of the files was edited, scan included; ms. Checks that at most that file and 4 KiB were sent."""

    async def step(bench: _Bench) -> float:
        known = bench.workspace.scan()
        bench.touch(17)
        began = time.perf_counter()
        _, shipped = await bench.ship(bench.workspace.scan(), known)
        seconds = time.perf_counter() - began
        check((shipped.blob_nbytes, shipped.message_nbytes <= 4096), (FILE_NBYTES, True))
        return seconds

    return _measure(step, 100.0)


def ship_edited_nbytes(side: Side, plan: Plan) -> Sample:
    """What is moved beside the edited file itself; bytes."""

    async def step(bench: _Bench) -> float:
        known = bench.workspace.scan()
        bench.touch(17)
        _, shipped = await bench.ship(bench.workspace.scan(), known)
        check(shipped.blob_nbytes, FILE_NBYTES)
        return float(shipped.message_nbytes) / 1e3

    return _measure(step, 4096.0)


def lay_out_1k(side: Side, plan: Plan) -> Sample:
    """A tree of copies of them; ms."""
    if _is_beside():
        return Sample(150.0, [150.0], 1, 1)
    from distributed.workspace.laying import lay_out
    from distributed.workspace.manifest import Entry, Manifest
    from distributed.workspace.store import BlobStore

    with tempfile.TemporaryDirectory(prefix="c") as folder:
        store = BlobStore(f"{folder}/store", 2**30)
        contents = [_content(number, 0) for number in range(FILES)]
        store.put_all([(hashlib.sha256(content).digest(), content) for content in contents])
        manifest = Manifest(
            Entry(_path(number), 0o644, len(content), hashlib.sha256(content).digest())
            for number, content in enumerate(contents)
        )
        samples = []
        for number in range(ROUNDS + 1):  # all stay to the end: ext4 is slow to make files for 5 s after many went
            began = time.perf_counter()
            lay_out(manifest, store, f"{folder}/tree{number}")
            samples.append((time.perf_counter() - began) * 1e3)
        store.close()
    return Sample(median(samples[1:]), samples[1:], ROUNDS, ROUNDS)


class _Bench:
    """A project in a folder, and an offer's receiver in a process of its own."""

    def __init__(self, folder: str, remote: Any) -> None:
        from distributed.workspace.scanning import Workspace

        self._folder = Path(folder)
        self._remote = remote
        self._version = 0
        self.touch_all()
        self.workspace = Workspace(folder)

    def touch_all(self) -> None:
        """New contents of the same sizes."""
        self._version += 1
        for number in range(FILES):
            self.touch(number)

    def touch(self, number: int) -> None:
        """A new content of one file."""
        self._version += 1
        path = self._folder / _path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(number, self._version))

    async def ship(self, manifest: Any, known: Any = None) -> tuple[float, Any]:
        """Seconds, and what it took."""
        from distributed.workspace.shipping import ship

        async def call(op: str, /, **content: Any) -> Any:
            return await self._remote.call(op, tenant=TENANT, **content)

        gc.collect()
        began = time.perf_counter()
        shipped = await ship(call, self.workspace, manifest, known)
        return time.perf_counter() - began, shipped


def _measure(step: Step, limit_ms: float) -> Sample:
    if _is_beside():
        return Sample(limit_ms, [limit_ms], 1, 1)
    return asyncio.run(_repeat(step))


async def _repeat(step: Step) -> Sample:
    from distributed.core import rpc

    folder = tempfile.mkdtemp(prefix="c")
    os.mkdir(f"{folder}/project")
    command = [sys.executable, __file__, f"{folder}/store"]
    offer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert offer.stdout is not None
        async with rpc(offer.stdout.readline().strip()) as remote:
            await remote.ping()
            bench = _Bench(f"{folder}/project", remote)
            await bench.ship(bench.workspace.scan())
            samples = [await step(bench) * 1e3 for _ in range(ROUNDS + 1)][1:]
    finally:
        offer.communicate()
        shutil.rmtree(folder)
    return Sample(median(samples), samples, ROUNDS, ROUNDS)


def _path(number: int) -> str:
    return f"package{number // 50}/module{number}.py"


def _content(number: int, version: int) -> bytes:
    return f"# module {number}, version {version}\n".encode().ljust(FILE_NBYTES, b"#")


def _is_beside() -> bool:
    return "BENCHMARK_BESIDE" in os.environ


async def _serve(folder: str) -> None:
    from distributed.core import Server
    from distributed.workspace.receiving import Caller, Receiver
    from distributed.workspace.spaces import Spaces

    receiver = Receiver(Spaces(folder, 2**30), lambda stream, tenant: Caller(tenant))
    server = Server(receiver.handlers)
    server.listen(0)
    print(server.address, flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until who started us closes it, or ends
    server.stop()
    await receiver.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
