"""``python -m distributed hash``: what it writes is what coreutils verify, whatever the tree holds."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from distributed.testing.processes import Cluster, Processes, Started, wait_until

ODD_NAMES = [
    b"plain", b"with space", b" leading", b"trailing ", b"-dash", b"--version", b"new\nline", b"back\\slash", b"\\n",
    b"return\rhere", b"not utf-8 \xff\xfe", "ümläut".encode(), b"tab\tand\x01control", b"quote'\"`$(x)", b"*", b"a  b",
    b"\\", b"#", b"...",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Odd names, links, loops, a pipe, empty and bigger files."""
    tree = tmp_path / "tree"
    (tree / "deep" / "deeper").mkdir(parents=True)
    (tree / "empty folder").mkdir()
    for number, name in enumerate(ODD_NAMES):
        place = os.fsencode(tree / ("deep/deeper" if number % 2 else ""))
        with open(os.path.join(place, name), "wb") as file:
            file.write(name * number * 1000)
    (tree / "link").symlink_to("plain")
    (tree / "loop").symlink_to(".")
    (tree / "deep" / "broken").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    return tree


def run_hash(processes: Processes, *arguments: str | Path, code: int = 0) -> Started:
    started = processes.python("-W", "error", "-m", "distributed", "hash", *map(str, arguments))
    assert started.wait() == code, started.said()
    return started


def verify(processes: Processes, said: str) -> int:
    """Run the last line that was printed; how many files it verified."""
    command = said.splitlines()[-1]
    done = subprocess.run(
        shlex.split(command), cwd=processes.folder, capture_output=True, env={**os.environ, "LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == b""
    return sum(line.endswith(b": OK") for line in done.stdout.splitlines())


def snapshot(tree: Path) -> list[tuple[bytes, int, int, int]]:
    found = []
    for folder, folders, files in os.walk(os.fsencode(tree)):
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(folder, name))
            found.append((os.path.join(folder, name), status.st_mode, status.st_size, status.st_mtime_ns))
    return sorted(found)


def test_what_it_writes_is_verified_and_the_tree_is_left_alone(processes: Processes, tree: Path) -> None:
    before = snapshot(tree)
    said = run_hash(processes, "tree", "--quiet").said()
    assert said.splitlines()[-1] == "sha1sum -c SHA1SUMS"
    assert verify(processes, said) == len(ODD_NAMES)
    assert snapshot(tree) == before
    assert said.startswith(f"{len(ODD_NAMES)} files, "), "nothing beside the summary"
    shares = dict(re.findall(r"^  (\S+): (\d+) files?$", said, re.MULTILINE))
    assert set(shares) <= {"local-0", "local-1"}
    assert sum(map(int, shares.values())) == len(ODD_NAMES)
    assert not [name for name in os.listdir(processes.folder) if "tmp" in name]
    processes.wait_nothing_left(2)


@pytest.mark.parametrize("algorithm", ["sha1", "sha224", "sha256", "sha384", "sha512", "md5", "blake2b"])
def test_every_algorithm_has_its_program(processes: Processes, tree: Path, cluster: Cluster, algorithm: str) -> None:
    options = ["--algorithm", algorithm, "--quiet", "--address", cluster.address]
    said = run_hash(processes, tree, *options).said()
    assert verify(processes, said) == len(ODD_NAMES)
    assert (processes.folder / f"{algorithm.upper()}SUMS").exists()


def test_a_running_cluster_is_found_by_its_scheduler_file(processes: Processes, tree: Path, cluster: Cluster) -> None:
    output = processes.folder / "new folder" / "a 'name'"
    said = run_hash(processes, tree, "--quiet", "--scheduler-file", cluster.file, "--output", output).said()
    assert verify(processes, said) == len(ODD_NAMES)
    assert re.search(r"^  w-[01]: \d+ files", said, re.MULTILINE)


@pytest.mark.parametrize("name", ["-sums", "with space", "new\nline"])
def test_the_check_command_can_be_pasted(processes: Processes, tree: Path, cluster: Cluster, name: str) -> None:
    said = run_hash(processes, "--quiet", "--address", cluster.address, f"--output={name}", "tree").said()
    command = said[said.index("sha1sum") :]
    assert subprocess.run(command, shell=True, cwd=processes.folder, capture_output=True).returncode == 0


def test_an_output_inside_the_folder_is_not_hashed_the_next_time(
    processes: Processes, tree: Path, cluster: Cluster
) -> None:
    for _ in range(2):
        said = run_hash(processes, "tree", "--quiet", "--address", cluster.address, "--output", "tree/SUMS").said()
        assert verify(processes, said) == len(ODD_NAMES)


def test_an_empty_folder_is_no_error(processes: Processes, cluster: Cluster) -> None:
    (processes.folder / "nothing").mkdir()
    said = run_hash(processes, "nothing", "--quiet", "--address", cluster.address).said()
    assert said.startswith("0 files, ")
    assert (processes.folder / "SHA1SUMS").read_bytes() == b""


SHIPPED = """
import sys
import distributed.recipes.hashing as hashing
hashing.boot_id = lambda: "another machine"
from distributed.cli.main import main
main(sys.argv[1:])
"""


def test_content_is_sent_to_workers_that_do_not_see_the_file(
    processes: Processes, tree: Path, cluster: Cluster
) -> None:
    big = tree / "big"
    with open(big, "wb") as file:
        file.write(os.urandom(1000))
        file.truncate(40 * 2**20 + 1)
    (tree / "just a part").write_bytes(bytes(16 * 2**20))
    arguments = ["hash", "tree", "--quiet", "--address", cluster.address]
    started = processes.python("-W", "error", "-c", SHIPPED, *arguments)
    assert started.wait() == 0, started.said()
    assert verify(processes, started.said()) == len(ODD_NAMES) + 2


def test_a_worker_on_this_machine_reads_the_file_itself(processes: Processes, tree: Path, cluster: Cluster) -> None:
    """Also if its working folder is another one and the path was relative."""
    code = SHIPPED.replace('boot_id = lambda: "another machine"', "digest_of = None")
    started = processes.python("-c", code, "hash", "tree", "--quiet", "--address", cluster.address)
    assert started.wait() == 0, started.said()
    assert verify(processes, started.said()) == len(ODD_NAMES)


KILLING = SHIPPED.replace(
    "from distributed.cli",
    """
import os, signal
parts = 0
class File:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *exception): self.file.close()
    def read(self, *size):
        global parts
        parts += 1
        if parts == 3:
            os.kill(int(os.environ["VICTIM"]), signal.SIGKILL)
        return self.file.read(*size)
hashing.open = lambda path, mode: File(open(path, mode)) if mode == "rb" else open(path, mode)
hashing.PART_NBYTES = 1_000_000
from distributed.cli""",
)


@pytest.mark.parametrize("guard", ["--nanny", "--no-nanny"])
def test_a_worker_may_die_while_a_big_file_is_sent(processes: Processes, guard: str) -> None:
    (processes.folder / "tree").mkdir()
    with open(processes.folder / "tree" / "big", "wb") as file:
        file.truncate(5_000_001)
    address = processes.address(processes.dscheduler())
    workers = {name: processes.dworker(f"{address} --nthreads 1 --name {name} {guard}") for name in "ab"}
    for worker in workers.values():
        worker.wait_said("registered with")
    code = "import sys; from distributed import Client; c = Client(sys.argv[1]);" + (
        "print({w['name']: w['pid'] for w in c.scheduler_info()['workers'].values()}['b'])"
    )
    asked = processes.python("-c", code, address)
    assert asked.wait() == 0
    started = processes.python(
        "-c", KILLING, "hash", "tree", "--quiet", "--address", address, env={"VICTIM": asked.said().strip()}
    )
    assert started.wait() == 0, started.said()
    assert verify(processes, started.said()) == 1


VANISHING = """
import os, sys
import distributed.recipes.hashing as hashing
found = hashing.find_files
def find_files(*arguments):
    entries = found(*arguments)
    os.unlink("tree/plain")
    os.truncate("tree/shrinks", 5)
    return entries
hashing.find_files = find_files
from distributed.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("shipped", [False, True])
def test_files_that_vanish_or_shrink_meanwhile(
    processes: Processes, tree: Path, cluster: Cluster, shipped: bool
) -> None:
    (tree / "shrinks").write_bytes(bytes(17 * 2**20))
    code = (SHIPPED.split("from distributed.cli")[0] if shipped else "") + VANISHING
    started = processes.python("-W", "error", "-c", code, "hash", "tree", "--quiet", "--address", cluster.address)
    assert started.wait() == 1, started.said()
    assert "error: 'tree/plain': No such file or directory\n" in started.said()
    assert "1 could not be read, see above" in started.said()
    assert verify(processes, started.said()) == len(ODD_NAMES)


def test_what_cannot_be_read_is_named_and_the_rest_is_done(processes: Processes, tree: Path) -> None:
    (tree / "secret folder").mkdir(mode=0)
    unreadable = Path(os.fsdecode(os.path.join(os.fsencode(tree), b"secret \xff\nfile")))
    unreadable.write_text("x")
    unreadable.chmod(0)
    started = bound_by_permissions(processes, "hash", "tree", "--quiet")
    assert started.wait() == 1, started.said()
    assert "secret folder': Permission denied\n" in started.said()
    assert r"secret \udcff\nfile': Permission denied" in started.said()
    assert "2 could not be read, see above" in started.said()
    assert verify(processes, started.said()) == len(ODD_NAMES)
    assert "Traceback" not in started.said()


def bound_by_permissions(processes: Processes, *arguments: str) -> Started:
    """Run the command as somebody whom permissions bind: root without its capabilities is."""
    command = [sys.executable, "-W", "error", "-m", "distributed", *arguments]
    if os.getuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and setpriv is not there to take that from it")
        command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *command]
    return processes.start(*command)


def test_a_bar_is_shown_on_a_terminal_and_not_with_quiet(processes: Processes, tree: Path, cluster: Cluster) -> None:
    assert "%|" in on_terminal(processes, "hash", "tree", "--address", cluster.address)
    assert "%|" not in on_terminal(processes, "hash", "tree", "--address", cluster.address, "--quiet")


def on_terminal(processes: Processes, *arguments: str) -> str:
    """What is shown on the terminal it runs on."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    started = processes.python("-m", "distributed", *arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert started.wait() == 0, shown
    return shown.decode(errors="replace")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nowhere"], 2, "nowhere"),
        (["tree/plain"], 2, "plain"),
        (["tree", "--address", "127.0.0.1:1"], 1, "error: Timed out while connecting to tcp://127.0.0.1:1"),
        (["tree", "--scheduler-file", "nofile"], 1, "error: scheduler file nofile: does not exist"),
        (["tree", "--algorithm", "crc"], 2, "crc"),
        (["tree", "--output", "tree"], 2, "tree"),
        (["tree", "--output", "tree/plain/x"], 1, "error: "),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    processes: Processes, tree: Path, arguments: list[str], code: int, text: str
) -> None:
    started = run_hash(processes, *arguments, "--quiet", code=code)
    assert text in started.said()
    assert "Traceback" not in started.said()
    assert not (processes.folder / "SHA1SUMS").exists()


def test_ctrl_c_leaves_nothing_behind(processes: Processes, tree: Path) -> None:
    code = SHIPPED.replace(
        'boot_id = lambda: "another machine"', 'digest_files = lambda *a: __import__("time").sleep(30)'
    )
    started = processes.python("-c", code, "hash", "tree", "--quiet")
    wait_until(lambda: len(processes.alive()) == 6, processes.alive)
    started.send(signal.SIGINT)
    assert started.wait() == 130, started.said()
    assert "Traceback" not in started.said()
    processes.wait_nothing_left(3)
    assert not (processes.folder / "SHA1SUMS").exists()
