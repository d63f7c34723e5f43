"""Whole clusters over TLS, as their users start them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed import Client, LocalCluster, config
from distributed.errors import AuthenticationError, CertificateError, ConfigError
from distributed.security.certificates import certificate_path, mint, short
from distributed.testing.processes import Processes, wait_until

pytest.importorskip("cryptography")


@pytest.fixture
def tls_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """A user with a key and a certificate, here and in the processes."""
    path = tmp_path / "key"
    monkeypatch.setenv("DISTRIBUTED_KEY_FILE", str(path))
    monkeypatch.setattr(config, "_settings", None)
    mint(certificate_path())
    with Processes(tmp_path, {"DISTRIBUTED_KEY_FILE": str(path)}) as processes:
        yield processes


def test_a_cluster_of_processes_talks_tls_everywhere(tls_processes: Processes) -> None:
    file = tls_processes.folder / "s.json"
    scheduler = tls_processes.dscheduler(f"--port 0 --tls --scheduler-file {file}")
    scheduler.wait_said("start workers with")
    content = json.loads(file.read_text())
    assert content["address"].startswith("tls://127.0.0.1:")
    assert content["fingerprint"] == mint(certificate_path()).fingerprint
    worker = tls_processes.dworker(f"--scheduler-file {file} --nworkers 2 --nthreads 1")
    worker.wait_said(r"(?s)(worker tls://\S+ registered with.*){2}")
    with Client(scheduler_file=file) as client:
        assert all(address.startswith("tls://") for address in client.ncores())
        big = client.submit(bytes, 5_000_000)  # stays on its worker, and is fetched by the other one and by us
        sizes = [client.submit(len, big, workers=[address], pure=False) for address in client.ncores()]
        assert client.gather(sizes) == [5_000_000] * 2
        assert len(big.result()) == 5_000_000
        assert client.gather(client.scatter([b"x" * 1_000_000])) == [b"x" * 1_000_000]
    asked = tls_processes.python("-m", "distributed", "call", content["address"], "ping")
    assert asked.wait() == 0
    assert scheduler.end() == 0
    assert worker.wait() == 0
    tls_processes.wait_nothing_left()


def test_beyond_loopback_servers_use_the_certificate_by_themselves(tls_processes: Processes) -> None:
    scheduler = tls_processes.dscheduler("--port 0 --host 0.0.0.0")
    address = scheduler.wait_said(r"scheduler at (tls://0\.0\.0\.0:\d+)")[1].replace("0.0.0.0", "127.0.0.1")
    worker = tls_processes.dworker(f"{address} --nthreads 1")
    worker.wait_said("worker tls://.* registered with")
    with Client(address, security=True) as client:
        assert client.submit(pow, 2, 3).result() == 8
    assert scheduler.end() == 0
    assert worker.wait() == 0


def test_the_scheduler_file_pins_the_certificate(tls_processes: Processes) -> None:
    file = tls_processes.folder / "s.json"
    scheduler = tls_processes.dscheduler(f"--port 0 --tls --scheduler-file {file}")
    scheduler.wait_said("start workers with")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "fingerprint": "ab" * 32}))
    with pytest.raises(AuthenticationError, match=f"{short(content['fingerprint'])}, expected was {'ab' * 8};"):
        Client(scheduler_file=file)
    Client(content["address"], security=content["fingerprint"]).close()


def test_a_worker_with_another_certificate_ends_at_once_and_says_why(tls_processes: Processes) -> None:
    scheduler = tls_processes.dscheduler("--port 0 --tls")
    address = scheduler.wait_said(r"scheduler at (tls://\S+)")[1]
    other = tls_processes.folder / "other"
    other.write_text((tls_processes.folder / "key").read_text())
    other.chmod(0o600)
    for is_minted, reason in (
        (False, "certificate file .*there is none"),
        (True, "its certificate is .*, expected was"),
    ):
        if is_minted:
            mint(other.with_name("other.tls"))
        worker = tls_processes.dworker(f"{address} --nthreads 1", env={"DISTRIBUTED_KEY_FILE": str(other)})
        assert worker.wait() == 3
        worker.wait_said(reason)


@pytest.mark.parametrize("processes", [True, False])
def test_a_local_cluster_with_security_is_encrypted(tls_processes: Processes, processes: bool) -> None:
    with LocalCluster(n_workers=1, processes=processes, security=True) as cluster:
        assert all(address.startswith("tls://") for address in (cluster.scheduler_address, *cluster.workers))
        with Client(cluster, security=True) as client:
            assert client.submit(pow, 2, 3).result() == 8


def test_a_client_without_address_passes_security_on(tls_processes: Processes) -> None:
    with Client(n_workers=1, security=True) as client:
        assert client.scheduler_address.startswith("tls://")
        assert client.submit(pow, 2, 3).result() == 8


def test_security_is_not_given_up_silently(tls_processes: Processes) -> None:
    with (
        LocalCluster(n_workers=0) as cluster,
        pytest.raises(ConfigError, match="is not encrypted; start the scheduler"),
    ):
        Client(cluster, security=True)
    certificate_path().unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distributed.security.certificates._loaded", {})
        with pytest.raises(CertificateError, match="there is none"):
            LocalCluster(n_workers=0, security=True)


def test_a_worker_that_dies_is_replaced_over_tls_too(tls_processes: Processes) -> None:
    with LocalCluster(n_workers=1, security=True) as cluster, Client(cluster) as client:
        (before,) = client.scheduler_info()["workers"].values()
        client.submit(_die).exception(20)
        wait_until(
            lambda: [w["pid"] for w in client.scheduler_info()["workers"].values()] not in ([], [before["pid"]]),
            "another worker",
        )
        assert client.submit(pow, 2, 3).result() == 8


def _die() -> None:
    os._exit(1)
