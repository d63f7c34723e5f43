"""X01: one secret for everything: who has the key file is let in everywhere, who has another one nowhere."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from distributed import Client, Pool, config
from distributed.calls import send_recv_sync
from distributed.errors import AuthenticationError
from distributed.testing.processes import Processes, Started
from distributed.web.connecting import headers


def place_of(started: Started, pattern: str) -> str:
    return started.wait_said(pattern + r"((?:tcp|http)://127\.0\.0\.1:\d+)")[1]


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers()), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_one_key_file_opens_every_front_end_and_another_one_opens_none(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X01: engine, center and pool, JSON routes, and the recipes; nothing but the key file is set up.

    A `DistributedManager` alone has a key for each manager, which `get_client_args` hands out, unless it is given one.
    """
    home = tmp_path / "home"
    home.mkdir()
    center = processes.python("-m", "distributed.cli.dcenter", "--port", "0", "--http-port", "0")
    manager = processes.python("-m", "distributed.manager.master", "--home", str(home), "--port", "0")
    programs = {
        "/home_status": processes.python("-m", "distributed.pull.master", "--home", str(home), "--port", "0"),
        "/status": processes.python("-m", "distributed.push.worker", "--port", "0", "--processes", "1"),
        "/new_file": processes.python("-m", "distributed.simple.worker", "--port", "0"),
    }
    urls = {f"{place_of(center, 'JSON at ')}/info.json": 200}
    address = place_of(center, "center at ")
    worker = processes.dworker(f"{address} --nthreads 1 --no-nanny")
    for path, started in programs.items():
        urls[f"{place_of(started, r'(?s).*?at ')}{path}"] = 400 if path == "/new_file" else 200  # it wants files
    worker.wait_said("registered with")

    with Client(address) as client:
        assert client.submit(pow, 2, 10).result() == 1024
    with Pool(address) as pool:
        assert [data.get() for data in pool.map(abs, [-1])] == [1]
    assert {url: status_of(url) for url in urls} == urls
    door = place_of(manager, r"(?s).*?at ")
    assert send_recv_sync(door, op="ping") == b"pong"

    monkeypatch.setattr(
        config, "_settings", config.from_environment({**os.environ, "DISTRIBUTED_KEY_FILE": str(tmp_path / "other")})
    )
    for face in (Client, Pool):
        with pytest.raises(AuthenticationError):
            face(address)
    with pytest.raises(AuthenticationError):
        send_recv_sync(door, op="ping")
    assert {url: status_of(url) for url in urls} == dict.fromkeys(urls, 401)
    stranger = processes.dworker(f"{address} --no-nanny", env={"DISTRIBUTED_KEY_FILE": str(tmp_path / "other")})
    assert stranger.wait() == 3
    assert not re.search(r"[0-9a-f]{64}", "".join(s.said() for s in (center, worker, *programs.values())))
