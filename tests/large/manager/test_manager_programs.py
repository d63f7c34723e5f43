"""``python -m distributed.manager.master`` and ``worker``, as processes."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from distributed.testing.processes import Processes

FILES = 300


def test_programs_hash_a_folder_though_a_worker_is_killed(processes: Processes, tmp_path: Path) -> None:
    """H23: multiprocessing-manager recipe without HTTP, end to end."""
    home = tmp_path / "home"
    home.mkdir()
    for number in range(FILES):
        (home / f"{number}").write_bytes(os.urandom(number))
    (home / "sums").write_text("of an earlier run")
    (home / "big").write_bytes(os.urandom(20_000_000))
    (home / os.fsdecode(b"o\\d\xff\nd")).write_bytes(b"odd")
    master = processes.python(
        "-m", "distributed.manager.master", "--home", str(home), "--port", "0", "--path", "socket",
        "--output", "home/sums", "--once", cwd=tmp_path,
    )  # fmt: skip
    address = master.wait_said(r"files, at (tcp://\S+) and unix:///\S+/socket")[1]
    command = ("-m", "distributed.manager.worker", "--master")
    killed = processes.python(*command, address, "--processes", "1", "--name", "killed")
    killed.send(signal.SIGKILL)
    worker = processes.python(*command, f"unix://{tmp_path}/socket", "--processes", "2", "--name", "w")
    assert worker.wait() == 0, worker.said()
    assert worker.said().splitlines()[-1] == "done"
    assert master.wait() == 0, master.said()
    assert f'"total": {FILES + 2}, "finished": {FILES + 2}' in master.said()
    check = subprocess.run(["sha1sum", "-c", "sums"], cwd=home, capture_output=True)
    assert check.returncode == 0, check.stderr
    assert check.stdout.count(b": OK\n") == FILES + 2


def test_programs_say_what_is_wrong(processes: Processes, tmp_path: Path) -> None:
    master = processes.python("-m", "distributed.manager.master", "--home", str(tmp_path / "none"), "--port", "0")
    worker = processes.python("-m", "distributed.manager.worker", "--master", "1.2.3.4.5:x")
    assert (master.wait(), worker.wait()) == (2, 1)
    assert "does not exist" in master.said()
    assert "error:" in worker.said()
    assert "Traceback" not in master.said() + worker.said()
