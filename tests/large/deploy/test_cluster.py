"""Cluster on this machine and over a real ssh: ports, secrets, what goes wrong, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from distributed import Client, Cluster, config
from distributed.deploy.launching import run_at
from distributed.deploy.ssh import Login
from distributed.errors import CertificateError, ConfigError, RemoteCommandError
from distributed.process.folders import remove_leftovers
from distributed.security.certificates import certificate_path, mint
from distributed.security.keys import key_path
from distributed.testing.processes import Processes, wait_until
from distributed.testing.ssh_server import SshServer

HOST = "127.0.0.1"

EVIL = '{"module": "json", "arguments": [], "host": "h", "report": null, "files": {"../x": ""}}\n'
PROGRAM = """\
import os, time
from distributed import Cluster
cluster = Cluster([{host!r}], center="{host}:0", nthreads=1, **{auth!r})
print("guards", *(server._events["begun"]["pid"] for server in cluster._servers.all()), flush=True)
os.fork()  # somebody who outlives the program, and has its open files
time.sleep(60)
"""
EXAMPLE = """\
from distributed import Cluster, Pool

c = Cluster(hosts=['127.0.0.1:8788', '127.0.0.1:8789'],
            center='127.0.0.1:8787')

p = Pool('127.0.0.1:8787')
a, b, c = p.map(lambda x: x * 10, [1, 2, 3])
print((a.get(), b.get(), c.get()))

p.close()
c.close()
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def guards_of(cluster: Cluster) -> list[int]:
    return [server._events["begun"]["pid"] for server in cluster._servers.all()]


def family(pids: list[int]) -> list[psutil.Process]:
    """These processes and all that descend from them."""
    return [each for pid in pids for each in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]


def folders(processes: list[psutil.Process]) -> list[Path]:
    """Where the keys of these processes lie, if they were sent one."""
    files = {process.environ().get("DISTRIBUTED_KEY_FILE", "") for process in processes}
    return [Path(file).parent for file in files if "/distributed-worker-" in file]


def wait_gone(processes: list[psutil.Process]) -> None:
    wait_until(lambda: not any(map(is_alive, processes)), lambda: f"left: {list(filter(is_alive, processes))}")


def is_alive(process: psutil.Process) -> bool:
    """Not for one that has ended, and that nobody has asked about: not every first process of a container does."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module", autouse=True)
def certificate(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Iterator[None]:
    """A key with a certificate, apart from the key of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY_FILE", str(tmp_path_factory.mktemp("tls") / "key"))
        patch.setattr(config, "_settings", None)
        mint(certificate_path())
        yield


@pytest.fixture(scope="module")
def over_ssh(ssh_server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A center and two workers, all started by ssh, encrypted, with log files."""
    first, second, middle = free_ports(3)
    logs = tmp_path_factory.mktemp("logs")
    with Cluster(
        [f"{HOST}:{first}", (HOST, second)], (HOST, middle), nthreads=1, ssh=True, security=True, log_directory=logs,
        **ssh_server.auth,
    ) as cluster:  # fmt: skip
        yield cluster


@pytest.fixture(scope="module")
def here() -> Iterator[Cluster]:
    """A center and two workers of this machine, without ssh."""
    first, second, middle = free_ports(3)
    with Cluster([f"{HOST}:{first}", f"{HOST}:{second}"], f"{HOST}:{middle}", nthreads=1) as cluster:
        yield cluster


@pytest.fixture(params=["here", "over_ssh"])
def either(request: pytest.FixtureRequest) -> Cluster:
    """Each of the two."""
    cluster: Cluster = request.getfixturevalue(request.param)
    return cluster


def test_all_workers_have_joined_at_the_ports_that_were_asked_for(either: Cluster) -> None:
    """P15: local and ssh, ports honoured."""
    with Client(either) as client:
        scheme = either.scheduler_address.partition("://")[0]
        assert client.ncores() == {f"{scheme}://{host}:{port}": 1 for host, port in either.hosts}
        assert either.scheduler_address == f"{scheme}://{HOST}:{either.center[1]}"
        assert client.gather(client.map(lambda x: x * 10, [1, 2, 3])) == [10, 20, 30]
    assert either.status == "running"
    assert either.ended() == {}
    assert "2 hosts, running" in repr(either)


def test_by_ssh_it_is_encrypted_and_here_it_need_not_be(here: Cluster, over_ssh: Cluster) -> None:
    assert here.scheduler_address.startswith("tcp://")
    assert over_ssh.scheduler_address.startswith("tls://")


def test_a_command_runs_at_a_host(either: Cluster) -> None:
    """P15: remote(host, command)."""
    said = either.remote(HOST, "echo $0 out; echo err >&2; exit 3")
    assert (said.returncode, said.stderr) == (3, "err\n")
    assert said.stdout.endswith(" out\n")
    assert either.remote((HOST, 1), ["printf", "%s|", "a  b", "$HOME"]).stdout == "a  b|$HOME|"


def test_a_command_that_takes_too_long_is_a_time_out(here: Cluster) -> None:
    with pytest.raises(TimeoutError, match=r"127\.0\.0\.1.*took longer than 0\.05 s"):
        here.remote(HOST, ["sleep", "60"], timeout="50ms")


def test_the_key_is_in_a_private_file_and_nowhere_else(over_ssh: Cluster) -> None:
    secrets = [key_path().read_text().strip().encode(), certificate_path().read_bytes().split(b"\n")[1]]
    seen = family([*guards_of(over_ssh), os.getpid()])
    for process in seen:
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{process.pid}/{name}").read_bytes()
            assert not any(secret in content for secret in secrets), (process, name)
    found = folders(seen)
    assert len(found) == 3, "one for each server"
    for folder in found:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "key").read_bytes().strip() == secrets[0]
        assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600


def test_what_servers_print_is_kept_and_logged(over_ssh: Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    names = ["center", *(f"{host}:{port}" for host, port in over_ssh.hosts)]
    assert list(over_ssh.logs()) == names
    directory = Path(str(over_ssh._log_directory))
    for name, said in over_ssh.logs().items():
        assert "joined" in said or "registered with" in said
        assert (directory / f"{name}.log").read_text() == said + "\n"
    assert capfd.readouterr() == ("", "")


def test_closing_leaves_nothing_behind_and_the_ports_free(ssh_server: SshServer) -> None:
    """P15: close."""
    cluster = Cluster([HOST], f"{HOST}:0", nthreads=1, ssh=True, **ssh_server.auth)
    seen = family(guards_of(cluster))
    keys = folders(seen)
    assert len(keys) == 2
    cluster.close()
    cluster.close()
    wait_gone(seen)
    assert not any(folder.exists() for folder in keys)
    assert cluster.status == "closed"
    socket.create_server(cluster.center).close()


@pytest.mark.parametrize("way", ["ssh", "here"])
def test_nothing_outlives_a_program_that_is_killed(processes: Processes, ssh_server: SshServer, way: str) -> None:
    auth = {"ssh": True, **ssh_server.auth} if way == "ssh" else {}
    program = processes.python("-c", PROGRAM.format(host=HOST, auth=auth))
    pids = program.wait_said(r"guards (\d+) (\d+)\n")
    seen = family([int(pids[1]), int(pids[2])])
    keys = folders(seen)
    assert len(keys) == (2 if way == "ssh" else 0)
    program.end(signal.SIGKILL)
    wait_gone(seen)
    wait_until(lambda: not any(folder.exists() for folder in keys), lambda: str(keys))


def test_the_first_documents_example_runs_as_it_stands_and_leaves_nothing(processes: Processes) -> None:
    """P16: the document's example verbatim. Its `c` hides the cluster, which works on, and ends all the same."""
    code = EXAMPLE
    for written, free in zip(("8787", "8788", "8789"), free_ports(3), strict=True):
        code = code.replace(written, str(free))
    program = processes.python("-c", code)
    assert program.wait() == 1
    assert program.said().startswith("(10, 20, 30)\nTraceback")
    assert program.said().endswith("AttributeError: 'RemoteData' object has no attribute 'close'\n")
    processes.wait_nothing_left()


def test_a_guard_and_its_server_end_together(ssh_server: SshServer) -> None:
    first, second = (f"{HOST}:{port}" for port in free_ports(2))
    with Cluster([first, second], f"{HOST}:0", nthreads=1, ssh=True, **ssh_server.auth) as cluster:
        _, guard, other_guard = guards_of(cluster)
        seen = [*family([guard]), *family([other_guard])]
        keys = folders(seen)
        psutil.Process(guard).kill()
        psutil.Process(other_guard).children()[0].kill()
        wait_gone(seen)
        wait_until(lambda: cluster.ended().keys() == {first, second}, cluster.ended)
        assert cluster.ended()[first] != 0
        assert cluster.ended()[second] == -signal.SIGKILL
        assert cluster.status == "running"
    remove_leftovers()  # as the next guard, or nanny, does
    assert not any(folder.exists() for folder in keys)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"private_key": "other_key"}, "ssh could not log in; it said:\n.*Permission denied"),
        ({"ssh_options": ["UserKnownHostsFile=none"]}, "ssh could not log in; it said:\nHost key verification failed"),
        ({"port": 1}, "ssh could not log in; it said:\n.*Connection refused"),
        ({"python": "/no/python"}, "there is no such interpreter; name one with python=; it said:\n.*/no/python"),
        ({"python": "false"}, "no guard came up, exit code 1"),
    ],
)
def test_an_ssh_that_fails_is_told_in_its_own_words(ssh_server: SshServer, wrong: dict[str, Any], text: str) -> None:
    auth = {**ssh_server.auth, **wrong}
    auth["private_key"] = str(ssh_server.folder / str(auth["private_key"]))
    with pytest.raises(RemoteCommandError, match=f"(?s)at '127.0.0.1': {text}"):
        Cluster([HOST], f"{HOST}:0", ssh=True, **auth)


def test_a_command_at_a_host_that_lets_nobody_in_is_told(ssh_server: SshServer) -> None:
    stranger = Login.from_keywords({**ssh_server.auth, "private_key": str(ssh_server.folder / "other_key")})
    with pytest.raises(RemoteCommandError, match=r"(?s)could not log in; it said:\n.*Permission denied"):
        run_at(HOST, "true", stranger, 20.0)


def test_a_server_that_does_not_come_up_is_told_in_its_own_words(here: Cluster) -> None:
    port = here.hosts[0][1]
    with pytest.raises(RemoteCommandError, match=rf"(?s)dworker at '127.0.0.1': it ended .*{port}.*") as told:
        Cluster([(HOST, port)], f"{HOST}:0")
    assert "Traceback" not in str(told.value)
    with pytest.raises(RemoteCommandError, match=rf"(?s)at '127.0.0.1': it ended with exit code 1.*{port}.*"):
        Cluster([HOST], (HOST, port))


def test_workers_that_do_not_join_in_time_are_named() -> None:
    with pytest.raises(RemoteCommandError, match="in time"):
        Cluster([HOST], f"{HOST}:0", timeout="100ms")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hosts": ["127.0.0.1:1", "127.0.0.1:1"]}, "twice"),
        ({"hosts": ["127.0.0.1:8787"]}, "a worker is to listen there"),
        ({"hosts": ["192.0.2.1"], "ssh": False}, "another machine"),
        ({"hosts": ["192.0.2.1"], "center": "127.0.0.1"}, "'127.0.0.1'.*192.0.2.1 cannot reach it"),
        ({"hosts": ["127.0.0.1:9"], "nprocs": 2}, "nprocs"),
        ({"hosts": ["127.0.0.1"], "security": "yes"}, "security"),
        ({"hosts": ["127.0.0.1"], "password": "hunter2"}, "password"),
    ],
)
def test_what_cannot_be_is_a_value_error_before_anything_starts(arguments: dict[str, Any], text: str) -> None:
    """P15: duplicates and overlap are a ValueError."""
    with pytest.raises(ConfigError, match=text):
        Cluster(**arguments)


def test_machines_need_a_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setattr(config, "_settings", None)
    with pytest.raises(CertificateError, match="there is none"):
        Cluster(["192.0.2.1"])


@pytest.mark.parametrize("line", [b"", b"{}\n", b"hello\n", b'{"module": 1, "arguments": []}\n', EVIL.encode()])
def test_a_guard_that_is_asked_for_nonsense_says_so(line: bytes) -> None:
    said = subprocess.run([sys.executable, "-m", "distributed.deploy.remote"], input=line, capture_output=True)
    assert said.returncode == 1
    assert json.loads(said.stdout)["event"] == "refused"
    assert said.stderr == b""
