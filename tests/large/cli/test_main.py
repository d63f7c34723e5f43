"""``python -m distributed call`` and ``key``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from distributed.testing.processes import Cluster, Processes, Started

SERVER = """
import asyncio
from distributed.core import Server

def add(stream, x, y=0):
    "Sum of two."
    return x + y

def fail(stream):
    raise LookupError("nothing there")

def raw(stream):
    return {"bytes": b"abc", "many": [1, None, True]}

async def hang(stream):
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled", flush=True)

async def main():
    server = Server({"add": add, "fail": fail, "raw": raw, "hang": hang})
    server.listen(0)
    print("at", server.address, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def server(processes: Processes) -> Started:
    return processes.python("-c", SERVER)


def call(processes: Processes, server: Started, *arguments: str, code: int = 0) -> str:
    address = server.wait_said(r"at (tcp://\S+)")[1]
    started = processes.python("-W", "error", "-m", "distributed", "call", address, *arguments)
    assert started.wait() == code, started.said()
    assert "Traceback" not in started.said()
    return started.said()


def test_any_op_of_any_server_can_be_called(processes: Processes, server: Started) -> None:
    assert call(processes, server, "add", "x=1", "y=2") == "3\n"
    assert call(processes, server, "add", "x=-1.5") == "-1.5\n"
    assert call(processes, server, "add", "x=a=", "y=b c") == "a=b c\n"
    assert json.loads(call(processes, server, "add", "x=[1]", 'y=["two"]')) == [1, "two"]
    assert json.loads(call(processes, server, "raw")) == {"bytes": "abc", "many": [1, None, True]}


def test_without_an_op_it_lists_what_there_is(processes: Processes, server: Started) -> None:
    listing = json.loads(call(processes, server))
    assert listing["add"] == {"signature": "(x, y=0)", "doc": "Sum of two."}
    assert {"ping", "identity", "ops", "fail"} <= set(listing)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["fail"], 1, "error: LookupError: nothing there\n"),
        (["multiply"], 1, "error: UnknownOpError: No handler found: 'multiply'; this server knows "),
        (["add"], 1, "error: BadRequestError: "),
        (["add", "x=1", "z=1"], 1, "error: BadRequestError: "),
        (["add", "x=1", "y=text"], 1, "error: TypeError: "),
        (["add", "x"], 2, "'x': write NAME=VALUE"),
        (["hang", "--timeout", "0.1"], 1, "error: no answer within 0.1 s\n"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(
    processes: Processes, server: Started, arguments: list[str], code: int, text: str
) -> None:
    assert text in call(processes, server, *arguments, code=code)
    if "hang" in arguments:
        server.wait_said("cancelled")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense://x", "127.0.0.1", "host.invalid:80"])
def test_an_address_where_nobody_is_is_named(processes: Processes, address: str) -> None:
    started = processes.python("-m", "distributed", "call", address, env={"DISTRIBUTED_CONNECT_TIMEOUT_S": "0.3"})
    assert started.wait() == 1
    assert started.said().startswith("error: ")
    assert address in started.said()
    assert "Traceback" not in started.said()


def key(processes: Processes, *arguments: str, path: Path | None = None) -> str:
    started = processes.python("-m", "distributed", "key", *arguments, env={} if path is None else variable(path))
    assert started.wait() == 0, started.said()
    return started.said()


def variable(path: Path) -> dict[str, str]:
    return {"DISTRIBUTED_KEY_FILE": str(path)}


def test_key_shows_no_secret(processes: Processes) -> None:
    path = processes.folder / "my" / "key"
    said = key(processes, path=path)
    secret = path.read_text().strip()
    assert len(secret) == 64
    assert str(path) in said
    assert "client, worker, readonly" in said
    assert not [word for word in re.findall(r"[0-9a-f]{8,}", said) if word in secret]
    assert key(processes, path=path) == said
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_key_tls_mints_once_shows_no_secret_and_replaces_when_forced(processes: Processes) -> None:
    path = processes.folder / "key"
    said = key(processes, "--tls", path=path)
    minted = path.with_name("key.tls")
    assert minted.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(rf"file         {re.escape(str(minted))}\nfingerprint  [0-9a-f]{{64}}\n", said)
    assert key(processes, "--tls", path=path) == said
    assert key(processes, "--tls", "--force", path=path) != said
    wrong = processes.python("-m", "distributed", "key", "--force", env=variable(path))
    assert wrong.wait() == 2
    assert "--tls goes alone or with --force" in wrong.said()


def test_a_worker_with_the_key_of_its_role_can_join_and_do_no_more(processes: Processes, cluster: Cluster) -> None:
    path = processes.folder / "worker-key"
    path.write_text(key(processes, "--role", "worker"))
    path.chmod(0o600)
    worker = processes.dworker(f"{cluster.address} --nthreads 1 --name guest --resources guest=1", env=variable(path))
    worker.wait_said("registered with")
    program = """
import sys
from distributed import Client
with Client(sys.argv[1], timeout=5) as client:
    print(client.submit(pow, 2, 10, workers="guest", pure=False).result())
    big = client.submit(bytes, 1_000_000, workers="guest")
    print(len(big.result()), client.submit(len, big, workers="w-0").result())
    (guest,) = [place for place, worker in client.scheduler_info()["workers"].items() if worker["name"] == "guest"]
    print(client.scatter(b"abc", workers=[guest]).result())
"""
    done = processes.python("-W", "error", "-c", program, cluster.address)
    assert done.wait() == 0, done.said()
    assert done.said() == "1024\n1000000 1000000\nb'abc'\n"
    refused = processes.python("-c", program, cluster.address, env=variable(path))
    assert refused.wait() == 1
    assert "PermissionDeniedError: role 'worker' may not call 'register_client'" in refused.said()
    asked = processes.python("-m", "distributed", "key", "--role", "client", env=variable(path))
    assert asked.wait() == 1
    assert asked.said() == "error: the key file here holds no key for role 'client'\n"
    assert worker.end() == 0


def test_a_key_for_looking_only_cannot_end_anything(processes: Processes, cluster: Cluster) -> None:
    path = processes.folder / "readonly-key"
    path.write_text(key(processes, "--role", "readonly"))
    path.chmod(0o600)
    for op, code in (("ncores", 0), ("terminate", 1)):
        started = processes.python("-m", "distributed", "call", cluster.address, op, env=variable(path))
        assert started.wait() == code, started.said()
    assert "PermissionDeniedError" in started.said()
    assert cluster.scheduler.process.poll() is None


def test_help_is_there_for_everything(processes: Processes) -> None:
    started = [processes.python("-m", "distributed", *words, "--help") for words in ([], ["hash"], ["call"], ["key"])]
    started += [
        processes.dscheduler("--help"),
        processes.dworker("--help"),
        processes.python("-m", "distributed", "--version"),
    ]
    assert [process.wait() for process in started] == [0] * 7
    assert all("Traceback" not in process.said() for process in started)
