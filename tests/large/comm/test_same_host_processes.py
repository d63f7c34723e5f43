"""Between processes: nothing stays behind a killed peer, and network namespaces keep to TCP."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distributed import Client
from distributed.core import CommClosedError, Server, rpc, to_serialize
from distributed.testing.processes import Processes, Started

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets are Linux's")

NBYTES = 400_000_000
SERVER = """
import asyncio
import numpy as np
from distributed.core import Server, to_serialize

async def main():
    array = np.ones(NBYTES // 8)
    server = Server({"much": lambda stream: to_serialize(array)})
    server.listen(0)
    print("server at", server.address, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
""".replace("NBYTES", str(NBYTES))
CALLER = """
import asyncio, os, signal, sys
from distributed.core import connect, write

async def main():
    stream = await connect(sys.argv[1])
    await write(stream, {"op": "much"})
    await stream.flush()
    print("asked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)

asyncio.run(main())
"""


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def beside(address: str) -> bool:
    """Whether the kernel knows the unix socket beside a TCP address."""
    return f"@distributed/{address.removeprefix('tcp://')}\n" in Path("/proc/net/unix").read_text()


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


def test_nothing_stays_of_a_sender_that_is_killed_while_it_is_read(processes: Processes) -> None:
    files, segments = set(os.listdir(processes.folder)), shared_memory()
    server = processes.python("-c", SERVER)
    address = server.wait_said(r"server at (\S+)")[1]
    assert beside(address)

    async def main() -> None:
        async with rpc(address) as remote:
            await remote.ping()
            (stream,) = remote.streams
            assert stream._borrower is not None
            before = open_descriptors()
            call = remote.much()
            await until(lambda: stream._borrowing is not None)
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(CommClosedError):
                await call
            await asyncio.sleep(0)
            assert open_descriptors() == before - 4  # the stream's: socket, both pipes, process

    asyncio.run(main())
    server.wait()
    assert not beside(address)
    assert set(os.listdir(processes.folder)) - files <= {".output-0"}
    assert shared_memory() <= segments


def test_a_receiver_that_is_killed_holds_nothing(processes: Processes) -> None:
    async def main() -> None:
        array = np.ones(NBYTES // 8)
        server = Server({"much": lambda stream: to_serialize(array)})
        server.listen(0)
        try:
            before = open_descriptors()
            caller = processes.python("-c", CALLER, server.address)
            await until(lambda: server._connections)
            (connection,) = server._connections
            await until(lambda: connection.stream.nbytes_unsent >= NBYTES and not connection.stream._unsent)
            os.kill(caller.pid, signal.SIGKILL)
            await until(lambda: not server._connections)
            assert connection.stream.nbytes_unsent == 0
            await asyncio.sleep(0)
            assert open_descriptors() == before
        finally:
            server.stop()

    asyncio.run(main())


# ---------------------------------------------------------------- network namespaces

HERE, THERE = "10.213.77.1", "10.213.77.2"


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace that reaches this one by a cable."""
    name = f"d{secrets.token_hex(3)}"
    if shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("network namespaces cannot be made here: no right to, or no `ip`")
    try:
        for command in (
            f"ip link add {name}a type veth peer name {name}b netns {name}",
            f"ip addr add {HERE}/30 dev {name}a",
            f"ip link set {name}a up",
            f"ip -n {name} addr add {THERE}/30 dev {name}b",
            f"ip -n {name} link set {name}b up",
            f"ip -n {name} link set lo up",
        ):
            if subprocess.run(command.split(), capture_output=True).returncode:
                pytest.skip(f"network namespaces cannot be joined here: {command}")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def families(address: str) -> Any:
    """In a task: the kinds of sockets between this worker and the one at `address`."""
    from distributed.worker.server import Worker

    (worker,) = (found for found in gc.get_objects() if isinstance(found, Worker))
    return [int(stream._sock.family) for stream in worker.data.peers._links[address].streams]


def test_workers_in_different_network_namespaces_use_tcp(processes: Processes, namespace: str) -> None:
    scheduler = processes.dscheduler(f"--host {HERE} --port 0 --insecure")
    address = processes.address(scheduler)
    options = f"{address} --insecure --nthreads 1 --no-nanny"
    near = [processes.dworker(f"{options} --host {HERE} --name {name}") for name in ("near", "next")]
    command = [sys.executable, "-m", "distributed.cli.dworker", *options.split(), "--host", THERE, "--name", "far"]
    far = processes.start("ip", "netns", "exec", namespace, *command)
    places = {name: registered(worker) for name, worker in (("near", near[0]), ("next", near[1]), ("far", far))}
    with Client(address) as client:
        for name, family in (("next", socket.AF_UNIX), ("far", socket.AF_INET)):
            made = client.submit(np.ones, 1_000_000, workers=["near"], pure=False)  # which nobody else holds
            assert client.submit(np.sum, made, workers=[name], pure=False).result() == 1_000_000
            found = client.submit(families, places["near"], workers=[name], pure=False).result()
            assert set(found) == {int(family)}, name


def registered(worker: Started) -> str:
    """The address of a worker, once it is with its scheduler."""
    return str(worker.wait_said(r"worker (tcp://\S+) registered")[1])
