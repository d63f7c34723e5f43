"""Workers of two tenants at one offer: they hear how many slots they may use, over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from distributed import Client
from distributed.offers.sharing import Sharing
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_test, until
from distributed.worker.server import Worker

PATIENCE_S = 30.0

_gates: dict[str, threading.Event] = {}
_running: Counter[str] = Counter()


def wait_at(tenant: str, number: int) -> str:
    _running[tenant] += 1
    assert _gates[tenant].wait(PATIENCE_S)
    _running[tenant] -= 1
    return tenant


@contextlib.asynccontextmanager
async def main_with_room(sharing: Sharing, tenant: str) -> AsyncIterator[tuple[Client, Worker]]:
    """A scheduler, a worker of two threads that shares slots, and a client."""
    scheduler = Scheduler()
    scheduler.listen(0)
    path = await sharing.open_room(tenant, tenant, 2)
    worker = Worker(scheduler.address, nthreads=2, shares_path=path)
    _gates[tenant] = threading.Event()
    try:
        await worker.start()
        async with Client(scheduler.address, asynchronous=True) as client:
            yield client, worker
    finally:
        sharing.close_room(tenant)
        await worker.close()
        await scheduler.close()


@gen_test(timeout=60)
async def test_d14_what_one_main_does_not_use_another_has_until_it_wants_it(tmp_path: Path) -> None:
    """D14: several Mains share a worker fairly: on one offer of two slots, over sockets, however long their paths."""
    folder = tmp_path / ("temporary-folder-of-somebody-" * 4)
    folder.mkdir()
    sharing = Sharing(str(folder), 2)
    async with main_with_room(sharing, "one") as (one, room), main_with_room(sharing, "other") as (other, _):
        first = one.map(wait_at, ["one"] * 4, range(4))
        await until(lambda: _running["one"] == 2)
        second = other.map(wait_at, ["other"] * 4, range(4))
        await until(lambda: sharing.shares()["other"]["waiting"] == 2)
        assert _running == {"one": 2}
        await until(lambda: room.executor._permits.allowed <= 1)
        _gates["one"].set()
        await until(lambda: _running["other"] > 0)
        _gates["other"].set()
        assert await one.gather(first) == ["one"] * 4
        assert await other.gather(second) == ["other"] * 4
        shares = sharing.shares()
        assert set(shares) == {"one", "other"} and shares["one"]["slot_seconds"] > 0
    await sharing.close()


@gen_test(timeout=60)
async def test_a_worker_connects_again_and_keeps_what_it_had(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sharing = Sharing(str(tmp_path), 2)
    async with main_with_room(sharing, "main") as (client, worker):
        _gates["main"].set()
        assert await client.submit(wait_at, "main", 1) == "main"
        door = sharing._doors["main"]
        link = door.writer
        assert link is not None
        link.close()
        assert await client.submit(wait_at, "main", 2) == "main"
        await until(lambda: door.writer not in (None, link))
        sharing.set_cores(1)
        await until(lambda: worker.executor._permits.allowed == 1)
        assert sharing.cores == 1
    await sharing.close()
    assert os.listdir(tmp_path) == []
    assert "goes on with what it was allowed" in caplog.text


@pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b'{"running": -1}\n', b"x" * 5000, b'{"running": true}\n'])
@gen_test(timeout=60)
async def test_a_room_that_says_nonsense_loses_its_connection(tmp_path: Path, line: bytes) -> None:
    sharing = Sharing(str(tmp_path), 2)
    reader, writer = await asyncio.open_unix_connection(await sharing.open_room("a", "t", 2))
    assert json.loads(await reader.readline()) == {"allowed": 2, "most": 2, "serial": 1}
    writer.write(line)
    assert await reader.read() == b""
    writer.close()
    await sharing.close()


@gen_test(timeout=60)
async def test_an_offer_that_says_nonsense_is_left_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "socket")
    answers = iter([b"[]\n", b'{"allowed": -1, "most": 1, "serial": 1}\n', b'{"allowed": 1, "most": 1, "serial": 1}\n'])

    async def serve(reader: Any, writer: Any) -> None:
        writer.write(next(answers))
        await reader.read()
        writer.close()

    scheduler = Scheduler()
    scheduler.listen(0)
    worker = Worker(scheduler.address, nthreads=1, shares_path=path)
    await worker.start()
    server = await asyncio.start_unix_server(serve, path)
    async with Client(scheduler.address, asynchronous=True) as client:
        assert await client.submit(pow, 2, 3) == 8
    assert "no word of an offer" in caplog.text and "no number of slots" in caplog.text
    await worker.close()
    await scheduler.close()
    server.close()
