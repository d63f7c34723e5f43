"""The simple recipe as its users run it: console programs, a real folder, coreutils as the judge."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
from pathlib import Path

from distributed.testing.processes import Processes, Started
from distributed.testing.recipes import ODD_NAMES, made_folder

WORKER = ("-m", "distributed.simple.worker")
MASTER = ("-m", "distributed.simple.master")
MiB = 2**20


def port_of(worker: Started) -> str:
    return worker.wait_said(r"worker at http://(127\.0\.0\.1:\d+)")[1]


def verify(said: str, count: int) -> None:
    """Run the command that was printed."""
    [command] = re.findall(r"^cd .* && sha1sum -c .*$", said, re.MULTILINE)
    done = subprocess.run(command, shell=True, capture_output=True)
    assert (done.returncode, done.stdout.count(b": OK\n")) == (0, count), done.stdout + done.stderr


def test_files_of_any_name_are_hashed_and_verified(processes: Processes, tmp_path: Path) -> None:
    """H06, H08: python -m distributed.simple.master|worker with --home, --port, --path; what it prints."""
    tree = made_folder(tmp_path / "tree", {b"sub/" + name: name * 1000 for name in ODD_NAMES})
    sums = tree / "SUMS"
    sums.write_text("an earlier output, which is not hashed")
    one = processes.python(*WORKER, "--port", "0", "--path", str(tmp_path / "one"))
    two = processes.python(*WORKER, "--path", str(tmp_path / "two"))
    two.wait_said(f"worker at unix://{tmp_path}/two")
    places = ["--worker", port_of(one), "--worker", f"unix://{tmp_path}/two", "--worker", "127.0.0.1:1"]
    master = processes.python("-W", "error", *MASTER, "--home", f"{tree}/", "--output", str(sums), *places)
    assert master.wait() == 0, master.said()
    said = master.said()
    assert said.startswith("loading home files")
    assert re.search(r"^sub/plain -> [0-9a-f]{40}$", said, re.MULTILINE), "not cut by the slash behind --home"
    assert re.search(r"^sub/new\\nline -> [0-9a-f]{40}$", said, re.MULTILINE)
    assert said.count(" -> ") == len(ODD_NAMES)
    assert f'state: {{"total": {len(ODD_NAMES)}, "finished": {len(ODD_NAMES)}}}' in said
    assert said.endswith("done\n")
    verify(said, len(ODD_NAMES))
    assert [worker.end() for worker in (one, two)] == [0, 0]


def test_without_workers_it_ends_with_none_and_says_so(processes: Processes, tmp_path: Path) -> None:
    tree = made_folder(tmp_path / "tree", {b"a": b"1"})
    master = processes.python(*MASTER, "--home", str(tree), "--worker", "127.0.0.1:1")
    assert master.wait() == 1
    assert "a -> None\n" in master.said()
    assert "http://127.0.0.1:1 is left out: Connection refused" in master.said()
    assert "error: no worker is left; start one" in master.said()


def test_two_gigabytes_pass_through_a_worker_that_may_use_200_megabytes(processes: Processes, tmp_path: Path) -> None:
    """H05: constant memory, of the worker by a limit of the system, of the master by its peak."""
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "sparse", "wb") as file:
        file.truncate(2 * 1024 * MiB)
    worker = processes.python(
        *WORKER, "--port", "0", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (200 * MiB, 200 * MiB))
    )
    master = processes.python(*MASTER, "--home", str(tree), "--worker", port_of(worker))
    peak = 0
    while master.process.poll() is None:
        peak = max(peak, peak_nbytes(master.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            master.process.wait(0.05)
    assert master.process.returncode == 0, master.said()
    assert "sparse -> 91d50642dd930e9542c39d36f0516d45f4e1af0d\n" in master.said()
    assert 0 < peak < 200 * MiB
    assert 0 < peak_nbytes(worker.pid) < 100 * MiB


def peak_nbytes(pid: int) -> int:
    """Most memory that a process has had at once; 0 when it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def test_a_worker_that_is_killed_in_the_middle_costs_no_file(processes: Processes, tmp_path: Path) -> None:
    tree = made_folder(tmp_path / "tree", {b"%02d" % number: os.urandom(1000) for number in range(50)})
    with open(tree / "big", "wb") as file:
        file.truncate(64 * MiB)
    one, two = (processes.python(*WORKER, "--port", "0") for _ in range(2))
    places = ["--worker", port_of(one), "--worker", port_of(two)]
    master = processes.python(*MASTER, "--home", str(tree), "--output", "SUMS", *places)
    master.wait_said("sending 51 files")
    one.process.kill()
    assert master.wait() == 0, master.said()
    verify(master.said(), 51)
