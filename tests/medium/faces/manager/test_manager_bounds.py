"""Who is let in by a `DistributedManager`, and how much anybody can make it or a worker hold."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

import distributed
import distributed_worker
from distributed.errors import AuthenticationError, ConfigError
from distributed.faces.manager import links, outbox, wiring
from distributed.faces.manager.credentials import PUBLISHED
from distributed.security.certificates import certificate_path, mint
from distributed.testing.processes import wait_until
from distributed.testing.team import Echo, Sitter, Talker, Team, team_of
from distributed_worker import DistributedManager, create_remote_worker, create_remote_worker_sync


@pytest.fixture
def team() -> Iterator[Team]:
    with team_of() as team:
        yield team


def test_every_manager_has_a_key_of_its_own() -> None:
    """M16: random authkey default, wrong key refused, slow client does not block."""
    with DistributedManager() as one, DistributedManager() as two:
        keys = [manager.get_client_args()[2] for manager in (one, two)]
        assert keys[0] != keys[1]
        assert {len(key) for key in keys} == {32}
    with pytest.raises(ConfigError, match="published"):
        DistributedManager("0.0.0.0", PUBLISHED)
    DistributedManager("localhost", PUBLISHED).stop()


def test_a_worker_with_another_key_is_not_let_in(team: Team) -> None:
    """M16: random authkey default, wrong key refused, slow client does not block."""
    address, family, _ = team.manager.get_client_args()
    with pytest.raises(AuthenticationError, match="different key"):
        create_remote_worker_sync(Echo, (address, family, b"another"))
    team.manager.poll_delay = 0.001
    assert team.manager.try_accept() is False


def test_who_connects_and_says_nothing_keeps_nobody_waiting(team: Team) -> None:
    """M16: random authkey default, wrong key refused, slow client does not block."""
    address = team.manager.get_client_args()[0]
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(address)).send(b"dstr")
        assert team.join() == 0


def test_beyond_loopback_a_manager_needs_a_certificate_or_to_be_told_that_it_does_not() -> None:
    with pytest.raises(ConfigError, match="encrypted"):
        DistributedManager(("0.0.0.0", 0))
    with DistributedManager(("0.0.0.0", 0), insecure=True) as manager:
        assert manager.get_client_args()[0][0] == f"tcp://{socket.gethostname()}"


@pytest.fixture
def certificate() -> Iterator[None]:
    """This user has a certificate, beside the key."""
    pytest.importorskip("cryptography")
    mint(certificate_path())
    yield
    certificate_path().unlink()


@pytest.mark.parametrize("insecure", [False, True])
def test_workers_beyond_loopback_connect_with_tls_unless_told_otherwise(certificate: None, insecure: bool) -> None:
    """X02: TLS."""
    with DistributedManager(("0.0.0.0", 0), insecure=insecure) as manager:
        (host, port), family, authkey = manager.get_client_args()
        assert host.startswith("tcp://") is insecure
        scheme = "tcp" if insecure else "tls"
        args = (f"{scheme}://127.0.0.1:{port}", family, authkey)  # the name of this machine may have no address here
        thread = create_remote_worker(Talker, args, 1, spawnf=threading.Thread)
        wait_until(manager.try_accept, "a worker")
        wait_until(lambda: manager.collect().get(0), "a message")
        assert manager.stop() == []
        thread.join()


def test_all_names_are_where_programs_look_for_them() -> None:
    """M18: `from distributed_worker import …` works."""
    for name in ("DistributedManager", "DistributedWorker", "create_remote_worker", "create_remote_worker_sync"):
        assert getattr(distributed_worker, name) is getattr(distributed, name)
        assert name in distributed.__all__
    assert {"create_worker", "run_worker"} <= set(distributed_worker.__all__)


def test_what_nobody_collects_holds_the_worker_back_and_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "UNCOLLECTED_MAX", 10)
    with team_of() as team:
        team.join(Talker, 300, 10_000)
        assert [number for number, _ in team.take(300)[0]] == list(range(300))


def test_what_a_worker_does_not_handle_is_bounded_and_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "UNREAD_MAX", 2)
    with team_of() as team:
        team.join()
        for number in range(300):
            team.manager.send(0, (number, bytes(10_000)))
        assert [number for number, _ in team.take(300)[0]] == list(range(300))


def test_a_worker_that_reads_nothing_for_the_ttl_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "UNREAD_MAX", 0)
    monkeypatch.setattr(outbox, "WAITING_NBYTES_HIGH", 100_000)
    with team_of(ttl=0.5) as team:
        id = team.join(Sitter)
        sent = 0
        while team.manager.send(id, bytes(1_000_000)):
            sent += 1
            assert sent < 100
        team.wait_dead(id)
