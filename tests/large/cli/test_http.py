"""HTTP of dscheduler and dworker as processes: where it is, who hears of it, what is said when it cannot be there."""

from __future__ import annotations

import json
import re
import socket
import ssl
import urllib.request
from typing import Any

import pytest

from distributed.security.certificates import certificate_path, mint
from distributed.testing.processes import Processes
from distributed.web.connecting import headers, ssl_context


def read(url: str, context: ssl.SSLContext | None = None) -> Any:
    request = urllib.request.Request(url, headers=headers())
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return json.load(answer)


def test_scheduler_and_workers_answer_http_and_the_scheduler_file_says_where(processes: Processes) -> None:
    """F26: on by default, at 9786 or, where that is taken, at any free port; workers at any; `--no-http`."""
    first = processes.dscheduler("--port 0 --http --scheduler-file first.json")
    address = processes.address(first)
    second = processes.dscheduler("--port 0 --http")
    silent = processes.dscheduler("--port 0 --no-http --scheduler-file silent.json")
    worker = processes.dworker(f"{address} --nworkers 2 --nthreads 1 --http")
    url = second.wait_said(r"JSON at (http://127\.0\.0\.1:\d+); the token: python -m distributed key --http")[1]
    assert "port 9786 is taken, so HTTP has another one" in second.said()
    assert read(f"{url}/info.json")["workers"] == 0
    first.wait_said("start workers")
    url = json.loads((processes.folder / "first.json").read_text())["http"]
    assert f"JSON at {url};" in first.said()
    worker.wait_said(r"(?s)(registered with.*){2}")
    answers = read(f"{url}/broadcast/info.json")
    assert [answer["scheduler"] for answer in answers.values()] == [address, address]
    assert read(f"{url}/info.json")["ncores"] == dict.fromkeys(answers, 1)
    silent.wait_said("start workers")
    assert json.loads((processes.folder / "silent.json").read_text())["http"] is None
    assert "JSON" not in silent.said()
    assert [started.end() for started in (first, second, silent)] == [0, 0, 0]
    assert worker.wait() == 0
    said = "".join(started.said() for started in (first, second, worker))
    assert "Traceback" not in said
    assert not re.search(r"[0-9a-f]{64}", said), "no token in any log"


def test_a_port_that_was_asked_for_and_is_taken_is_one_readable_line(processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        scheduler = processes.dscheduler(f"--port 0 --http-port {port}")
        several = processes.dworker(f"127.0.0.1:1 --nworkers 2 --http-port {port}")
        assert (scheduler.wait(), several.wait()) == (1, 2)
    (line,) = [line for line in scheduler.said().splitlines() if line.startswith("error:")]
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "--http-port" in several.said()
    assert "Traceback" not in scheduler.said() + several.said()


def test_what_listens_with_tls_shows_json_with_tls(processes: Processes) -> None:
    """F26, X02: scheduler and worker alike, and the proxy between them."""
    pytest.importorskip("cryptography")
    mint(certificate_path())
    try:
        scheduler = processes.dscheduler("--port 0 --tls --http-port 0 --scheduler-file s.json")
        scheduler.wait_said("start workers")
        worker = processes.dworker("--scheduler-file s.json --nthreads 1 --no-nanny --http")
        worker.wait_said("registered with")
        url = json.loads((processes.folder / "s.json").read_text())["http"]
        assert url.startswith("https://127.0.0.1:")
        (answer,) = read(f"{url}/broadcast/info.json", ssl_context()).values()
        assert answer["address"].startswith("tls://")
        assert scheduler.end() == 0
        assert worker.wait() == 0
    finally:
        certificate_path().unlink()
