"""The file that tells what ran when a process died."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.worker.running import Running, read_running


def test_what_ran_at_death_is_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "running"
    code = (
        "import os, signal, sys\n"
        "from distributed.worker.running import Running\n"
        "running = Running(sys.argv[1], 3)\n"
        "running.begin(0, 'ended'); running.end(0)\n"
        "running.begin(1, 'killer'); running.begin(2, 'bystander-é')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path(__file__).parents[3])
    assert process.returncode == -signal.SIGKILL
    assert read_running(str(path)) == ["killer", "bystander-é"]


def test_a_new_life_begins_with_an_empty_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "running"
    old = Running(str(path), 2)
    old.begin(0, "old")
    new = Running(str(path), 2)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert read_running(str(path)) == []
    old.begin(1, "still alive")
    new.begin(1, "a")
    assert read_running(str(path)) == new.keys() == ["a"]


def test_a_good_end_removes_the_file_and_threads_may_go_on(tmp_path: Path) -> None:
    path = tmp_path / "running"
    running = Running(str(path), 1)
    running.begin(0, "a")
    running.close()
    assert not path.exists()
    assert read_running(str(path)) == []
    running.begin(0, "b")
    assert running.keys() == ["b"]
    running.close()


def test_a_file_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "running"
    running = Running(str(path), 1)
    path.unlink()
    running.close()


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    path = tmp_path / "running"
    path.symlink_to(target)
    Running(str(path), 1)
    assert target.read_text() == "precious"
    assert not path.is_symlink()


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Running(str(tmp_path / "missing" / "running"), 1)


def test_a_file_cut_short_gives_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "running"
    running = Running(str(path), 2)
    running.begin(0, "a")
    running.begin(1, "b")
    whole = path.read_bytes()
    path.with_name("cut").write_bytes(whole[:700])
    assert read_running(str(path.with_name("cut"))) == ["a"]
