"""What tests with real processes share: a key of their own, processes that end with them, a cluster to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.testing.processes import Cluster, Processes
from distributed.testing.ssh_server import SshServer, has_ssh


@pytest.fixture(scope="session", autouse=True)
def with_key(private_key: Path) -> None:
    """No test goes without the key of the tests."""


@pytest.fixture
def processes(tmp_path: Path, private_key: Path) -> Iterator[Processes]:
    """Starts processes in the folder of the test."""
    with Processes(tmp_path, {"DISTRIBUTED_KEY_FILE": str(private_key)}) as processes:
        yield processes


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Iterator[Cluster]:
    """``dscheduler`` and ``dworker --nworkers 2 --name w``."""
    folder = tmp_path_factory.mktemp("cluster")
    with Processes(folder, {"DISTRIBUTED_KEY_FILE": str(private_key)}) as processes:
        file = folder / "scheduler.json"
        scheduler = processes.dscheduler(f"--port 0 --scheduler-file {file}")
        address = processes.address(scheduler)
        workers = processes.dworker(f"{address} --nworkers 2 --nthreads 1 --name w")
        workers.wait_said(r"(?s)(registered with.*){2}")
        yield Cluster(processes, scheduler, workers, file, address)


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A real OpenSSH server on loopback, which lets in whoever has its keyword arguments `auth`."""
    if not has_ssh():
        pytest.skip("OpenSSH is not installed: apt-get install openssh-server openssh-client")
    server = SshServer(tmp_path_factory.mktemp("sshd"))
    try:
        server.start()
        yield server
    finally:
        server.close()
