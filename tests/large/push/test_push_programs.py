"""The push recipe as its users run it: console programs, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from distributed.security.keys import keyring
from distributed.testing.processes import Processes, Started, wait_until
from distributed.testing.recipes import ODD_NAMES, made_folder
from distributed.web.connecting import headers

WORKER = ("-m", "distributed.push.worker", "--port", "0", "--processes", "1")
MASTER = ("-m", "distributed.push.master", "--port", "0")
MiB = 2**20


def place_of(server: Started) -> str:
    return server.wait_said(r"(?:worker|master) at http://(127\.0\.0\.1:\d+)")[1]


def home_status(master: Started, query: str = "") -> Any:
    request = urllib.request.Request(f"http://{place_of(master)}/home_status{query}", headers=headers(keyring()))
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_worker_that_is_killed_and_one_that_comes_back_cost_no_file(processes: Processes, tmp_path: Path) -> None:
    """H19, H21: python -m distributed.push.master|worker; dead and revived workers; output for sha1sum."""
    contents = {b"%03d" % number: os.urandom(1000) for number in range(300)}
    tree = made_folder(tmp_path / "tree", contents | {b"odd/" + name: name for name in ODD_NAMES})
    for name in ("big-1", "big-2"):
        with open(tree / name, "wb") as file:
            file.truncate(100 * MiB)
    (tree / "SUMS").write_text("an earlier output, which is not hashed")
    count = 302 + len(ODD_NAMES)
    one, two = (processes.python(*WORKER) for _ in range(2))
    places = ["--worker", place_of(one), "--worker", place_of(two)]
    master = processes.python(
        "-W", "error", *MASTER, "--home", str(tree), "--output", str(tree / "SUMS"), "--once", *places
    )
    wait_until(lambda: home_status(master)["state"]["finished"] > 0, master.said)
    one.process.kill()
    again = processes.python("-m", "distributed.push.worker", "--port", place_of(one).split(":")[1], "--processes", "2")
    peak = 0
    while master.process.poll() is None:
        peak = max(peak, peak_nbytes(master.pid))
        try:
            master.process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    assert master.process.returncode == 0, master.said()
    assert 0 < peak < 200 * MiB
    said = master.said()
    assert said.count(" -> ") == count
    [command] = re.findall(r"^cd .* && sha1sum -c .*$", said, re.MULTILINE)
    done = subprocess.run(command, shell=True, capture_output=True)
    assert (done.returncode, done.stdout.count(b": OK\n")) == (0, count), done.stderr
    assert [worker.end() for worker in (two, again)] == [0, 0]
    processes.wait_nothing_left()


def peak_nbytes(pid: int) -> int:
    """Most memory that a process has had at once; 0 when it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def test_a_running_master_prints_results_and_goes_on_until_it_is_told_to_end(
    processes: Processes, tmp_path: Path
) -> None:
    tree = made_folder(tmp_path / "tree", {b"a": b"1"})
    worker = processes.python(*WORKER)
    master = processes.python(*MASTER, "--home", str(tree), "--worker", place_of(worker))
    master.wait_said(r"(?s)a -> [0-9a-f]{40}\n.*done\n")
    assert home_status(master) == {"state": {"total": 1, "finished": 1}}
    [shown] = home_status(master, "?details=1")["workers"]
    assert shown["state"] == "alive"
    assert master.end() == 0
    assert worker.end() == 0
