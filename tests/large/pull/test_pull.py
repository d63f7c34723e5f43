"""The pull recipe as people run it: its two programs, workers that are killed, and its page in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from distributed import constants
from distributed.recipes.page import HomeStatus, Root
from distributed.security.keys import keyring
from distributed.testing.processes import Processes, Started, wait_until
from distributed.web.guard import GuardedApplication
from distributed.web.listening import listen, port_of
from distributed.web.tokens import token_of

ODD_NAMES = [b"plain", b"new\nline", b"back\\slash", b"not utf-8 \xff", "ümläut".encode(), b"-dash", b"100%25", b" "]
SLOW = '''
import hashlib, os, pathlib, time

def digest(pieces):
    """Hangs, the first time that somebody has the file "stuck"."""
    content = b"".join(pieces)
    if content == b"stuck" and not pathlib.Path("hung").exists():
        pathlib.Path("hanging").write_text(str(os.getpid()))
        os.rename("hanging", "hung")
        time.sleep(60)
    return hashlib.sha1(content).hexdigest()

class settings:
    MASTER = ("127.0.0.1", 8000)
    HASH_ALGORITHM = "slow:digest"
    WORKER_PROCESSING_TIMEOUT_SECONDS = 0.5
    WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS = 1
    BATCH_MAX_FILES, BATCH_MAX_BYTES, CHUNK_SIZE = 1, 1000, 262144
'''
PATIENT = "settings.WORKER_PROCESSING_TIMEOUT_SECONDS = 60\n"
MASTER = """
import asyncio, slow
from distributed.pull.master import init, serve
from distributed.web.listening import listen, url_of

async def main():
    app = init("home", slow.settings)
    server = listen(app, 0)
    print("at", url_of(server), flush=True)
    return await serve(app, server, None, True)

raise SystemExit(asyncio.run(main()))
"""
WORKERS = """
import sys, slow
from distributed.pull.worker import main
raise SystemExit(main("w", 2, slow.settings, ("127.0.0.1", int(sys.argv[1]))))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Some folders with odd names and bigger files."""
    home = tmp_path / "home"
    for number, name in enumerate(ODD_NAMES):
        folder = home / f"sub{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(os.urandom(number * 100_000))
    (home / "SHA1SUMS").write_text("of an earlier run")
    (home / "big").write_bytes(os.urandom(5_000_000))
    return home


def port_said(master: Started) -> str:
    return master.wait_said(r"http://127\.0\.0\.1:(\d+)\n")[1]


def test_two_programs_hash_a_folder_and_sha1sum_agrees(processes: Processes, home: Path) -> None:
    """H15: several processes pull until none is left, exit 0, "done". H16: the programs. H17: odd names."""
    master = processes.python(
        *("-W", "error", "-m", "distributed.pull.master", "--home", f"{home}/", "--port", "0"),
        *("--once", "--output", "home/SHA1SUMS"),
    )
    workers = processes.python(
        *("-W", "error", "-m", "distributed.pull.worker", "--name", "worker-1", "--processes", "2"),
        *("--master", f"127.0.0.1:{port_said(master)}"),
    )
    assert (workers.wait(), master.wait()) == (0, 0), workers.said() + master.said()
    assert workers.said() == "done\n"
    assert 'state: {"total": 9, "finished": 9}' in master.said()
    checked = subprocess.run(master.said().splitlines()[-1], shell=True, cwd=processes.folder, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(b": OK\n") == 9


def test_a_file_whose_worker_was_killed_is_done_by_another_one(processes: Processes) -> None:
    """H14: kill -9 of the process that has it, for real; nothing is lost."""
    home = processes.folder / "home"
    home.mkdir()
    for name in ("a", "b", "c", "stuck"):
        (home / name).write_text(name)
    (processes.folder / "slow.py").write_text(SLOW)
    master = processes.python("-c", MASTER)
    port = port_said(master)
    workers = processes.python("-c", WORKERS, port)
    hung = processes.folder / "hung"
    wait_until(hung.exists, workers.said)
    os.kill(int(hung.read_text()), signal.SIGKILL)
    assert (workers.wait(), master.wait()) == (1, 0), workers.said() + master.said()
    assert "of w ended with -9" in workers.said()
    assert 'state: {"total": 4, "finished": 4}' in master.said()


def test_a_file_of_1_GB_needs_little_memory_at_both_ends(processes: Processes) -> None:
    """Streaming: the workers may not have more than 200 MB of address space, and the master does not use as much."""
    home = processes.folder / "home"
    home.mkdir()
    with open(home / "sparse", "wb") as file:
        file.truncate(10**9)
    length = "\ndef length(pieces):\n    return str(sum(map(len, pieces)))\n"
    (processes.folder / "slow.py").write_text(f"{SLOW}{length}\nsettings.HASH_ALGORITHM = 'slow:length'\n{PATIENT}")
    master = processes.python("-c", MASTER.replace("None, True", "None, False"))
    port = port_said(master)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))\n"
    workers = processes.python("-c", limit + WORKERS, port)
    assert workers.wait(45) == 0, workers.said()
    assert json.loads(asked(port, "include_files=1"))["files"] == {"sparse": "1000000000"}
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{master.pid}/status").read_text())
    assert peak is not None and int(peak[1]) < 200_000


def asked(port: str, query: str) -> bytes:
    header = {"Authorization": f"Bearer {token_of(keyring(), 'readonly')}"}
    with urlopen(Request(f"http://127.0.0.1:{port}/home_status?{query}", headers=header)) as answer:
        content: bytes = answer.read()
    return content


def test_a_master_listens_on_a_unix_socket_and_stops_at_a_signal(processes: Processes, home: Path) -> None:
    master = processes.python("-m", "distributed.pull.master", "--home", str(home), "--path", "socket")
    master.wait_said(r"at unix://socket\n")
    assert oct((processes.folder / "socket").stat().st_mode)[-3:] == "600"
    assert master.end() == 0
    again = processes.python("-m", "distributed.pull.master", "--home", "nowhere")
    assert again.wait() == 2
    assert "nowhere" in again.said()


class Growing:
    """A master that has done one file more each time somebody looks."""

    looks = 0

    def home_status(self, include_files: bool = False) -> dict[str, Any]:
        return {"state": {"total": 1000, "finished": self.looks}}

    def details(self) -> dict[str, Any]:
        self.looks += 1
        return {
            "state": {"total": 1000, "finished": self.looks, "failed": 100},
            "home": "/some/<b>home</b>",
            "algorithm": "sha1",
            "waiting": 7,
            "bytes": {"total": 5 * 2**20, "finished": 0},
            "files_per_s": 1234.4,
            "bytes_per_s": 2.5 * 2**20,
            "failed": [("a\nb\udcff<i>", "Permission denied")],
            "failed_count": 100,
            "workers": [{"name": "w:1", "state": "silent", "files": 12, "bytes": 2048, "seen_s_ago": 75.0}],
        }


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_the_page_is_live_in_a_browser(tmp_path: Path) -> None:
    """H12: /home_status for people: progress, speeds, workers and failed files, without reload."""
    dom = asyncio.run(dumped(Growing(), tmp_path))
    finished = re.search(r">10 %: (\d+) of 1,000 files finished, 100 failed, about 1 s left<", dom)
    assert finished is not None and int(finished[1]) >= 2, dom
    assert "/some/&lt;b&gt;home&lt;/b&gt;" in dom
    for shown in ("1,234", "2.5 MiB", "a\\u000ab\\xff&lt;i&gt;", "Permission denied", "w:1", "2.0 KiB", "75 s ago"):
        assert shown in dom, shown
    assert '<p id="trouble" role="alert"></p>' in dom


async def dumped(master: Any, folder: Path) -> str:
    """What the page holds after some seconds of its own time."""
    app = GuardedApplication([("/", Root), (constants.MASTER_PATH_HOME_STATUS, HomeStatus)], {"master": master})
    server = listen(app, 0)
    try:
        browser = await asyncio.create_subprocess_exec(
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom"),
            f"http://127.0.0.1:{port_of(server)}/home_status?token={token_of(keyring(), 'readonly')}",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            output, _ = await asyncio.wait_for(browser.communicate(), 40)
        finally:
            if browser.returncode is None:
                browser.kill()
                await browser.wait()
    finally:
        server.stop()
        await server.close_all_connections()
    return output.decode()
