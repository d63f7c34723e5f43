"""The foundation between processes: F15, and a server that is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distributed.core import CommClosedError, connect, read, rpc, to_serialize, write

SERVER = """
import asyncio
from distributed.core import Server

async def main():
    server = Server({
        "echo": lambda stream, value: value,
        "total": lambda stream, value: int(value.load().sum()),
        "wait": lambda stream: asyncio.sleep(60),
    })
    server.listen(0)
    print(server.address, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def server(private_key: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_200_megabytes_echo(server: tuple[subprocess.Popen[str], str]) -> None:
    data = b"\xc1\x00\x01x" * (50 * 10**6)

    async def by_stream() -> bool:
        stream = await connect(server[1])
        await write(stream, {"op": "echo", "value": data})
        echoed = await read(stream) == data
        stream.close()
        return echoed

    async def by_rpc() -> bool:
        async with rpc(server[1]) as remote:
            return bool(await remote.echo(value=data) == data)

    assert asyncio.run(by_stream())
    assert asyncio.run(by_rpc())


def test_an_array_of_200_megabytes_is_used_where_it_was_received(server: tuple[subprocess.Popen[str], str]) -> None:
    array = np.ones(25 * 10**6)

    async def main() -> None:
        async with rpc(server[1]) as remote:
            assert await remote.total(value=to_serialize(array)) == len(array)
            answer = await remote.echo(value=to_serialize(array))
            received = answer.load()
            assert np.shares_memory(received, np.frombuffer(answer.frames[1], "f8"))
            assert (received == array).all()

    asyncio.run(main())


def test_when_a_server_is_killed_its_callers_are_told(server: tuple[subprocess.Popen[str], str]) -> None:
    async def main() -> None:
        async with rpc(server[1], timeout=0.2) as remote:
            await remote.ping()
            calls = [remote.wait() for _ in range(3)]
            await remote.ping()
            server[0].kill()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {CommClosedError}
            with pytest.raises(TimeoutError, match="Timed out while connecting"):
                await remote.ping()

    asyncio.run(main())
