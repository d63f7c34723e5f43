"""A disk of 1 MiB that really gets full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILL = """
import hashlib, os, sys
from distributed.errors import StoreFullError
from distributed.workspace import laying
from distributed.workspace.laying import lay_out
from distributed.workspace.manifest import Entry, Manifest
from distributed.workspace.store import BlobStore

store = BlobStore(sys.argv[1] + "/store", 2**30, free_nbytes_min=0)

def files():
    return sum(len(names) for _, _, names in os.walk(sys.argv[1]))

def digest(content):
    return hashlib.sha256(content).digest()

kept = os.urandom(500_000)
store.pin("ab" * 32, [digest(kept)])
store.put_all([(digest(kept), kept)])
before = files()
for big in (os.urandom(600_000), os.urandom(5_000_000)):
    for attempt in (
        lambda: store.put(digest(big), [big], len(big)),
        lambda: store.put_all([(digest(big), big)]),
        lambda: store.reserve(len(big)),
    ):
        try:
            attempt()
        except StoreFullError as error:
            assert store.folder in str(error), error
        else:
            raise AssertionError("there was room")
laying.FREE_NBYTES_MIN = 0
manifest = Manifest([Entry("a", 0o644, len(kept), digest(kept)), Entry("b", 0o644, len(kept), digest(kept))])
needed, laying._needed = laying._needed, lambda manifest: 0  # as if others had filled the disk since we looked
try:
    lay_out(manifest, store, sys.argv[1] + "/tree")
except StoreFullError as error:
    assert "workspaces are laid out there" in str(error), error
else:
    raise AssertionError("there was room")
assert files() == before, os.listdir(sys.argv[1])
store._free_nbytes = lambda: 2**40  # likewise
try:
    store.put_all([(digest(big), big)])
except StoreFullError as error:
    assert "its disk is full" in str(error), error
assert files() == before
with open(sys.argv[1] + "/rest", "wb", buffering=0) as rest:
    try:
        while rest.write(bytes(1024)):
            continue
    except OSError:
        pass
for attempt in (
    lambda: store.pin("cd" * 32, [digest(kept)]),
    lambda: store.put_all([(digest(b"x"), b"x")]),
    lambda: BlobStore(sys.argv[1] + "/other", 2**30).pin("cd" * 32, [digest(kept)]),
):
    try:
        attempt()
    except StoreFullError as error:
        assert "its disk is full" in str(error), error
    else:
        raise AssertionError("there was room")
os.unlink(sys.argv[1] + "/rest")
small = os.urandom(1000)
store.put_all([(digest(small), small)])
print("full")
"""


def test_a_full_disk_is_an_error_by_name_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """D07: the store on a disk that gets full keeps what it has, and says what it needs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m none {disk}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("a disk of its own needs a system that lets users mount one in a name space")
    command = ["unshare", "-rm", "sh", "-c", f'{mount} && "$0" -c "$1" {disk}', sys.executable, FILL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == "full\n", done.stderr
