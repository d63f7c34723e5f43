"""The scheduler file: written, read, left over, removed."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.client.connecting import find_by_file, find_scheduler, read_scheduler_file
from distributed.errors import AddressError, SchedulerFileError
from distributed.scheduler.process import remove_scheduler_file, write_scheduler_file


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def write(path: Path, **changes: object) -> None:
    write_scheduler_file(path, "id", "tcp://127.0.0.1:1")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_scheduler_file(path, "scheduler-1", "tcp://127.0.0.1:8786")
    assert read_scheduler_file(path) == {
        "format": 1,
        "id": "scheduler-1",
        "address": "tcp://127.0.0.1:8786",
        "http": None,
        "fingerprint": None,
        "pid": os.getpid(),
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert find_scheduler(None, path) == find_by_file(path) == "tcp://127.0.0.1:8786"


def test_it_replaces_an_older_one_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text("old")
    path.chmod(0o644)
    write_scheduler_file(path, "scheduler-1", "tcp://127.0.0.1:8786")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_ones_own_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_scheduler_file(path, "mine", "tcp://127.0.0.1:8786")
    remove_scheduler_file(path, "another's")
    assert path.exists()
    remove_scheduler_file(path, "mine")
    assert not path.exists()
    remove_scheduler_file(path, "mine")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "no JSON", '"id"'])
def test_what_is_no_such_file_is_left_alone_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    remove_scheduler_file(path, "id")
    assert path.read_text() == text
    with pytest.raises(SchedulerFileError, match=r"s\.json: "):
        read_scheduler_file(path)


@pytest.mark.parametrize("changes", [{"format": 2}, {"address": None}, {"address": 5}])
def test_another_format_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write(tmp_path / "s.json", **changes)
    with pytest.raises(SchedulerFileError, match="was not written by this version of dscheduler"):
        read_scheduler_file(tmp_path / "s.json")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SchedulerFileError, match=r"cannot be read: .*directory"):
        read_scheduler_file(tmp_path)


def test_one_left_over_is_told_with_its_process(tmp_path: Path) -> None:
    pid = dead_pid()
    write(tmp_path / "s.json", pid=pid)
    with pytest.raises(SchedulerFileError, match=rf"s\.json: is left over: process {pid}, which wrote it, has ended"):
        find_by_file(tmp_path / "s.json")


def test_one_whose_process_is_elsewhere_holds_as_long_as_somebody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        write(tmp_path / "s.json", pid=dead_pid(), address=address)
        assert find_by_file(tmp_path / "s.json") == address


@pytest.mark.parametrize("pid", [None, "x", 0, -1, True, 10**30])
def test_a_process_id_that_is_none_is_not_asked_after(tmp_path: Path, pid: object) -> None:
    write(tmp_path / "s.json", pid=pid)
    assert find_by_file(tmp_path / "s.json") == "tcp://127.0.0.1:1"


def test_the_environment_may_name_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTRIBUTED_SCHEDULER_ADDRESS", raising=False)
    assert find_scheduler(None, None) is None
    monkeypatch.setenv("DISTRIBUTED_SCHEDULER_ADDRESS", "somewhere")
    assert find_scheduler(None, None) == "tcp://somewhere:8786"
    assert find_scheduler("127.0.0.1:1", None) == "tcp://127.0.0.1:1"
    with pytest.raises(AddressError):
        find_scheduler("ftp://x", None)
