"""A store that several processes use at once, and one of them is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from distributed.workspace.store import BlobStore, on_disk

BLOCK = on_disk(1)
PIN = """
import sys
from distributed.workspace.store import BlobStore
store = BlobStore(sys.argv[1], 2**20)
store.pin("ab" * 32, [bytes.fromhex(digest) for digest in sys.argv[2:]])
incoming = store.begin(b"1" * 32, 5000)
print("pinned", flush=True)
sys.stdin.read()
"""
PUT = """
import hashlib, sys
from distributed.workspace.store import BlobStore
store = BlobStore(sys.argv[1], 20 * 4096)
for n in range(100):
    contents = [f"{sys.argv[2]} {n}".encode(), f"same {n}".encode()]
    store.put_all([(hashlib.sha256(content).digest(), content) for content in contents])
    store.pin("cd" * 32, [hashlib.sha256(contents[1]).digest()])
    missing = store.lacks({hashlib.sha256(contents[1]).digest(): len(contents[1])})
    if not missing:
        assert store.read(hashlib.sha256(contents[1]).digest(), len(contents[1])) == contents[1]
    store.unpin("cd" * 32)
print(store.usage())
"""


def test_what_a_killed_process_had_pinned_may_go_at_once(tmp_path: Path) -> None:
    """D07: pins end with their holder, however it ends."""
    store = BlobStore(str(tmp_path / "store"), 2**20)
    digest = hashlib.sha256(b"x").digest()
    store.put_all([(digest, b"x")])
    command = [sys.executable, "-c", PIN, store.folder, digest.hex()]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == b"pinned\n"
    store.evict(2**20)
    assert store.lacks({digest: 1}) == []
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    BlobStore(store.folder, 2**20).close()
    assert os.listdir(os.path.join(store.folder, "pins")) == []
    store.evict(2**20)
    assert store.lacks({digest: 1}) == [digest]
    for file in (holder.stdin, holder.stdout):
        file.close()
    store.close()


def test_processes_that_fill_one_store_at_once_keep_it_whole_and_within_its_bound(tmp_path: Path) -> None:
    """D07: many processes of one user share a cache."""
    folder = str(tmp_path / "store")
    commands = [[sys.executable, "-c", PUT, folder, str(name)] for name in range(3)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    store = BlobStore(folder, 20 * BLOCK)
    store.evict(0)
    assert 0 < store.usage() <= (20 + 4) * BLOCK  # each may not see what the two others are writing
    for path in Path(folder, "blobs").glob("*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name
    assert os.listdir(os.path.join(folder, "incoming")) == []
    store.close()
