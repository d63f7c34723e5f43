"""Contents on disk: what is kept, what goes, and what a full, damaged or foreign folder says."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from distributed.errors import BlobMismatchError, BlobMissingError, StoreFolderError, StoreFullError
from distributed.testing.workspaces import Project
from distributed.workspace import store as store_module
from distributed.workspace.store import BlobStore, default_folder, on_disk

ID = "ab" * 32
BLOCK = on_disk(1)


def digest_of(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def keep(store: BlobStore, *contents: bytes) -> list[bytes]:
    store.put_all([(digest_of(content), content) for content in contents])
    return [digest_of(content) for content in contents]


def has(store: BlobStore, digest: bytes) -> bool:
    return os.path.exists(store.path(digest))


def set_used(store: BlobStore, digest: bytes, used_at: float) -> None:
    os.utime(store.path(digest), (used_at, used_at))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "store"), 100 * BLOCK)


def test_a_content_is_kept_once_under_its_digest_and_read_back(store: BlobStore) -> None:
    """D07: the cache is content-addressed."""
    digest, again = keep(store, b"x" * 5000, b"x" * 5000)
    assert digest == again
    assert store.read(digest, 5000) == b"x" * 5000
    assert Path(store.path(digest)) == Path(store.folder) / "blobs" / digest.hex()[:2] / digest.hex()[2:]
    assert stat.S_IMODE(os.stat(store.path(digest)).st_mode) & 0o222 == 0
    assert store.usage() == on_disk(5000)
    store.close()


def test_only_what_is_not_there_lacks(store: BlobStore) -> None:
    """D07: the store tells what it lacks, in order."""
    there, damaged = keep(store, b"there", b"damaged")
    os.chmod(store.path(damaged), 0o600)
    os.truncate(store.path(damaged), 3)
    lacking = {b"\1" * 32: 1, there: 5, damaged: 7, b"\0" * 32: 1}
    assert store.lacks(lacking) == [b"\1" * 32, damaged, b"\0" * 32]
    assert not has(store, damaged)
    store.close()


def test_bytes_that_are_not_what_the_digest_says_are_not_kept(store: BlobStore) -> None:
    with pytest.raises(BlobMismatchError, match="other bytes came"):
        store.put_all([(digest_of(b"right"), b"wrong")])
    with pytest.raises(BlobMismatchError, match="other bytes came"):
        store.put(digest_of(b"right"), [b"wr", b"ong"], 5)
    with pytest.raises(BlobMismatchError, match="not all of them came"):
        store.put(digest_of(b"right"), [b"ri"], 5)
    with pytest.raises(BlobMismatchError, match="bytes 3 to 6 of 5 came"):
        store.put(digest_of(b"right"), [b"rig", b"hts"], 5)
    assert not has(store, digest_of(b"right"))
    assert os.listdir(os.path.join(store.folder, "incoming")) == []
    assert store.usage() == 0
    store.close()


def test_a_content_in_pieces_is_there_only_when_it_is_whole(store: BlobStore) -> None:
    content = os.urandom(10_000)
    incoming = store.begin(digest_of(content), len(content))
    store.write(incoming, 5000, content[5000:])
    assert not incoming.is_complete
    assert not has(store, incoming.digest)
    store.write(incoming, 0, content[:5000])
    store.finish(incoming)
    assert store.read(incoming.digest, 10_000) == content
    assert store.usage() == on_disk(10_000)
    store.close()


def test_the_least_recently_used_go_when_space_is_short_and_pinned_ones_stay(store: BlobStore) -> None:
    """D07: the cache is bounded, and never drops what is in use."""
    digests = keep(store, *(bytes([n]) * 100 for n in range(90)))
    for age, digest in enumerate(digests):
        set_used(store, digest, 1_000_000 + age)
    store.pin(ID, digests[:3])
    keep(store, *(bytes([n]) * 200 for n in range(20)))
    assert [has(store, digest) for digest in digests[:3]] == [True] * 3
    gone = [n for n, digest in enumerate(digests) if not has(store, digest)]
    assert gone == list(range(3, 3 + len(gone)))
    assert 10 <= len(gone) < 30
    assert store.usage() <= store.nbytes_max
    store.close()


def test_what_is_asked_for_counts_as_used(store: BlobStore) -> None:
    old, new = keep(store, b"old", b"new")
    set_used(store, old, 1_000_000)
    set_used(store, new, 1_000_001)
    assert store.lacks({old: 3}) == []
    store.evict(1)
    assert has(store, old)
    assert not has(store, new)
    store.close()


def test_a_store_full_of_pinned_contents_says_so_and_how_to_help(store: BlobStore) -> None:
    digests = keep(store, *(bytes([n]) * 10 for n in range(95)))
    store.pin(ID, digests)
    with pytest.raises(StoreFullError, match=r"has no room: 40,960 bytes needed, 20,480 free; .*raise the limit"):
        store.reserve(10 * BLOCK)
    store.unpin(ID)
    store.reserve(10 * BLOCK)
    store.close()


def test_as_many_unpins_as_pins_let_go(store: BlobStore) -> None:
    (digest,) = keep(store, b"x")
    store.pin(ID, [digest])
    store.pin(ID, [digest])
    store.unpin(ID)
    store.evict(1)
    assert has(store, digest)
    store.unpin(ID)
    store.unpin(ID)
    store.evict(1)
    assert not has(store, digest)
    store.close()


def test_another_store_on_the_same_folder_keeps_what_the_first_has_pinned(store: BlobStore) -> None:
    (digest,) = keep(store, b"x")
    store.pin(ID, [digest])
    other = BlobStore(store.folder, 100 * BLOCK)
    other.evict(1)
    assert has(store, digest)
    store.close()
    other.evict(1)
    assert not has(other, digest)
    other.close()


def test_a_workspace_is_known_to_the_next_process_by_its_id(store: BlobStore) -> None:
    manifest = Project({"a.py": "a", "run*": "#!", "link@": "a.py"}).manifest()
    store.put_manifest(manifest)
    store.put_manifest(manifest)
    store.close()
    again = BlobStore(store.folder, 100 * BLOCK)
    assert again.manifest(manifest.id) == manifest
    assert again.manifest("cd" * 32) is None
    again.close()


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x80"])
def test_a_damaged_manifest_is_unknown(store: BlobStore, damage: bytes) -> None:
    manifest = Project({"a.py": "a"}).manifest()
    store.put_manifest(manifest)
    path = Path(store.folder) / "manifests" / manifest.id
    path.chmod(0o600)
    path.write_bytes(damage)
    assert store.manifest(manifest.id) is None
    assert not path.exists()
    store.close()


def test_a_manifest_under_the_id_of_another_is_unknown(store: BlobStore) -> None:
    manifest, other = Project({"a.py": "a"}).manifest(), Project({"b.py": "b"}).manifest()
    store.put_manifest(manifest)
    folder = Path(store.folder) / "manifests"
    (folder / manifest.id).rename(folder / other.id)
    assert store.manifest(other.id) is None
    store.close()


def test_a_full_disk_is_met_before_it_is_full(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    store = BlobStore(str(tmp_path / "store"), 2 * free, free_nbytes_min=2 * free)
    with pytest.raises(StoreFullError, match="free some of its disk") as caught:
        keep(store, b"x")
    assert caught.value.folder == store.folder
    assert caught.value.needed_nbytes == BLOCK
    assert store.usage() == 0
    store.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_gets_full_while_writing_leaves_nothing_half_written(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store_module.os, "write", refuse)
    monkeypatch.setattr(store_module.os, "posix_fallocate", refuse)
    with pytest.raises(StoreFullError, match="its disk is full"):
        keep(store, b"small")
    with pytest.raises(StoreFullError, match="its disk is full"):
        store.put(digest_of(b"big"), [b"big"], 3)
    with pytest.raises(StoreFullError, match="its disk is full"):
        store.put_manifest(Project({"a.py": "a"}).manifest())
    monkeypatch.undo()
    assert os.listdir(os.path.join(store.folder, "incoming")) == []
    assert store.usage() == 0
    store.close()


def test_what_a_killed_process_left_half_written_goes_after_an_hour(store: BlobStore) -> None:
    left, young = Path(store.folder) / "incoming" / "big-1", Path(store.folder) / "incoming" / "big-2"
    left.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(left, (1_000_000, 1_000_000))
    store.evict(10 * BLOCK)
    assert not left.exists()
    assert young.exists()
    store.close()


def test_a_content_damaged_on_disk_is_found_out_and_removed(store: BlobStore) -> None:
    (digest,) = keep(store, b"right")
    path = Path(store.path(digest))
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    with pytest.raises(BlobMissingError):
        store.read(digest, 5)
    assert not path.exists()
    with pytest.raises(BlobMissingError, match="ship the workspace again"):
        store.open(digest)
    store.close()


def test_a_folder_that_others_can_use_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(StoreFolderError, match=r"its mode is 0755, others can use it; chmod 700"):
        BlobStore(str(folder), BLOCK)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreFolderError, match="it belongs to user id"):
        BlobStore(str(tmp_path / "mine"), BLOCK)


def test_a_link_or_a_file_is_no_folder_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFolderError, match="it is a link"):
        BlobStore(str(tmp_path / "link"), BLOCK)
    with pytest.raises(StoreFolderError, match="name another one"):
        BlobStore(str(tmp_path / "file"), BLOCK)


def test_the_default_folder_is_below_the_users_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == "/caches/distributed/store"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/alice")
    assert default_folder() == "/home/alice/.cache/distributed/store"


def test_threads_that_put_and_evict_at_once_leave_a_store_within_its_bound(tmp_path: Path) -> None:
    store = BlobStore(str(tmp_path / "store"), 20 * BLOCK)
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for n in range(30):
                keep(store, f"{name} {n}".encode(), f"same {n}".encode())
                store.lacks({digest_of(f"same {n}".encode()): len(f"same {n}")})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    store.evict(0)
    assert 0 < store.usage() <= 20 * BLOCK
    store.close()


def test_a_lock_that_another_process_never_gives_back_is_an_error(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = BlobStore(store.folder, BLOCK)
    monkeypatch.setattr(store_module, "LOCK_S", 0.01)
    with other._locked(), pytest.raises(StoreFolderError, match="another process has held its lock"):
        store.pin(ID, [])
    store.close()
    other.close()
