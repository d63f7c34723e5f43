"""``distributed why``, ``story`` and ``status``, from the outside, with no more than a key for looking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distributed import Client
from distributed.testing.processes import Cluster, Processes


@pytest.fixture
def looking(cluster: Cluster, processes: Processes, tmp_path: Path) -> Path:
    """A key file that holds the role readonly only."""
    exported = processes.python("-m", "distributed", "key", "--role", "readonly")
    assert exported.wait() == 0, exported.said()
    path = tmp_path / "readonly"
    path.touch(0o600)
    path.write_text(exported.said())
    return path


def said(processes: Processes, cluster: Cluster, looking: Path, *arguments: str, code: int = 0) -> str:
    """What a command prints that may do no more than look."""
    environment = {"DISTRIBUTED_KEY_FILE": str(looking), "DISTRIBUTED_SCHEDULER_ADDRESS": cluster.address}
    started = processes.python("-W", "error", "-m", *arguments, env=environment)
    assert started.wait() == code, started.said()
    assert "Traceback" not in started.said()
    return started.said()


def test_a_task_is_explained_in_a_shell(cluster: Cluster, processes: Processes, looking: Path) -> None:
    with Client(cluster.address) as client:
        stuck = client.submit(abs, -1, key="far", workers="nowhere")
        done = client.submit(abs, -2, key="near", workers="w-0")
        assert done.result() == 2
        text = said(processes, cluster, looking, "distributed", "why", "far")
        assert text == "far may only run on nowhere; none of the 2 workers is such a one.\n"
        lines = said(processes, cluster, looking, "distributed", "story", "near", "far").splitlines()
        assert any("near  ready -> processing (attempt 1): tcp://" in line for line in lines)
        assert any("far  " in line and "-> ready: client-" in line for line in lines)
        del stuck


def test_one_screen_shows_the_cluster(cluster: Cluster, processes: Processes, looking: Path) -> None:
    with Client(cluster.address) as client:
        kept = client.map(abs, range(10), key="kept")
        client.gather(kept)
        for command in (("distributed", "status"), ("distributed.cli.dstatus",)):
            screen = said(processes, cluster, looking, *command)
            assert screen.startswith(f"scheduler {cluster.address}\nclients   1; workers 2\nthreads   0 of 2 busy\n")
            assert "w-0     running" in screen and "kept" in screen and "\x1b" not in screen
        overview = json.loads(said(processes, cluster, looking, "distributed", "status", "--json"))
        assert overview["tasks"]["memory"] == 10 and overview["address"] == cluster.address


def test_a_screen_can_be_watched_until_it_is_ended(cluster: Cluster, processes: Processes) -> None:
    watching = processes.python(
        "-m", "distributed.cli.dstatus", cluster.address, "--watch", "--interval", "0.1s", "--json"
    )
    watching.wait_said(r"(?s)(\"address\".*\n.*){3}")
    watching.process.send_signal(2)
    assert watching.wait() == 130
    assert "Traceback" not in watching.said()


def test_a_scheduler_that_is_not_there_is_an_error_in_a_line(processes: Processes) -> None:
    started = processes.python(
        "-m", "distributed", "why", "x", "--address", "127.0.0.1:1", env={"DISTRIBUTED_CONNECT_TIMEOUT_S": "0.3"}
    )
    assert started.wait() == 1
    assert started.said().startswith("error: ") and "127.0.0.1:1" in started.said()
    both = processes.python("-m", "distributed", "status", "a:1", "--scheduler-file", "x")
    assert both.wait() == 2 and "either ADDRESS or --scheduler-file" in both.said()
