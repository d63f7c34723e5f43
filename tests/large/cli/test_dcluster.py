"""dcluster as a process: by ssh and here, its options, and how it ends."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from distributed import Client
from distributed.testing.processes import Processes, Started
from distributed.testing.ssh_server import SshServer

HOST = "127.0.0.1"


def dcluster(processes: Processes, *options: str) -> Started:
    return processes.python("-m", "distributed.cli.dcluster", *options)


def address_of(started: Started) -> str:
    return started.wait_said(r"distributed.deploy: scheduler at (tcp://\S+), with workers at \d hosts")[1]


def test_it_starts_a_cluster_by_ssh_and_ends_it(processes: Processes, ssh_server: SshServer) -> None:
    """F25: dcluster."""
    (processes.folder / "hosts").write_text(f"# ours\n\n{HOST}  # by any port\n")
    options = [word for option in ssh_server.auth["ssh_options"] for word in ("--ssh-option", option)]
    cluster = dcluster(
        processes, "--hostfile", "hosts", "--scheduler", HOST, "--scheduler-port", "0", "--nthreads", "2", "--nprocs",
        "2", "--ssh", "--ssh-port", str(ssh_server.port), "--ssh-private-key", str(ssh_server.auth["private_key"]),
        "--log-directory", "logs", *options,
    )  # fmt: skip
    with Client(address_of(cluster)) as client:
        assert list(client.ncores().values()) == [2, 2]
        named = {worker["name"] for worker in client.scheduler_info()["workers"].values()}
        assert named == {f"{HOST}-0", f"{HOST}-1"}
        assert client.submit(pow, 2, 10).result() == 1024
    assert cluster.end(signal.SIGTERM) == 0
    assert "Traceback" not in cluster.said()
    assert "[scheduler]" not in cluster.said(), "that goes to the files"
    logs = {path.name: path.read_text() for path in Path(processes.folder, "logs").iterdir()}
    assert sorted(logs) == [f"{HOST}.log", "scheduler.log"]
    assert "scheduler at" in logs["scheduler.log"]
    assert len(re.findall("registered with", logs[f"{HOST}.log"])) == 2
    processes.wait_nothing_left()


def test_it_ends_with_its_scheduler(processes: Processes) -> None:
    cluster = dcluster(processes, HOST, "--scheduler-port", "0", "--nthreads", "1")
    cluster.wait_said(r"\[127.0.0.1\] .*registered with")
    with Client(address_of(cluster)) as client:
        client.shutdown()
    assert cluster.wait() == 0
    assert "Traceback" not in cluster.said()
    processes.wait_nothing_left()


def test_ctrl_c_while_it_starts_leaves_nothing(processes: Processes) -> None:
    cluster = dcluster(processes, HOST, "--scheduler-port", "0")
    cluster.wait_said(r"\[scheduler\]")
    assert cluster.end(signal.SIGINT) in (0, 130)
    assert "Traceback" not in cluster.said()
    processes.wait_nothing_left()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ([], 2, "at least one host"),
        (["alice", "alice"], 1, "'alice'.*twice"),
        (["127.0.0.1:8786"], 1, "a worker is to listen there"),
        (["127.0.0.1", "--ssh-private-key", "/no/key"], 2, "/no/key"),
        (["127.0.0.1", "--tls", "--insecure"], 2, "contradict"),
        (["--hostfile", "empty"], 1, "names no host"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(processes: Processes, options: list[str], code: int, text: str) -> None:
    (processes.folder / "empty").write_text("# nobody\n")
    cluster = dcluster(processes, *options)
    assert cluster.wait() == code, cluster.said()
    assert re.search(text, cluster.said())
    assert "Traceback" not in cluster.said()
