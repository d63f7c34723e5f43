"""Workspaces laid out: the same files, writable, nothing outside of them touched, and nothing left of failures."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.errors import BlobMissingError, LayOutError, ManifestError, StoreFullError
from distributed.testing.workspaces import Project, entry_of, read_tree
from distributed.workspace import laying
from distributed.workspace.laying import folds_case, lay_out, remove
from distributed.workspace.manifest import SYMLINK, Entry, Manifest
from distributed.workspace.store import BlobStore

MIB = 2**20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobStore]:
    store = BlobStore(str(tmp_path / "store"), 2**30)
    yield store
    store.close()


def fill(store: BlobStore, project: Project) -> Manifest:
    manifest = project.manifest()
    store.put_all(list(project.content_by_digest.items()))
    return manifest


def unsafe(store: BlobStore, *entries: Entry) -> Manifest:
    """A manifest that no peer can send, since `from_wire` refuses it; the second line of defence is tested alone."""
    made = Manifest.__new__(Manifest)
    made.entries = entries
    made._id = "ab" * 32
    made._nbytes = None
    return made


def is_untouched(folder: Path) -> bool:
    """Nothing but the store is there."""
    return [path.name for path in folder.iterdir()] == ["store"]


FILES = {
    "main.py": "print(1)\n",
    "run.sh*": "#!/bin/sh\n",
    "pkg/__init__.py": "",
    "pkg/a.py": "A = 1\n",
    "pkg-extra/b.py": "B = 2\n",
    "pkg/deep/er/c.txt": "c" * 3_000_000,
    "data/ünï code.txt": "ü",
    "here@": "pkg/a.py",
    "pkg/up@": "../main.py",
    "folder@": "pkg/deep",
}


def test_a_workspace_is_laid_out_as_it_was(store: BlobStore, tmp_path: Path) -> None:
    """D09: what is extracted is what was sent."""
    assert lay_out(fill(store, Project(FILES)), store, str(tmp_path / "w"))
    assert read_tree(str(tmp_path / "w")) == FILES
    assert stat.S_IMODE(os.stat(tmp_path / "w").st_mode) == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "w"]


def test_a_task_that_writes_into_its_workspace_does_not_harm_the_store(store: BlobStore, tmp_path: Path) -> None:
    """D09: files are copies."""
    manifest = fill(store, Project(FILES))
    lay_out(manifest, store, str(tmp_path / "w"))
    for path in ("main.py", "pkg/deep/er/c.txt"):
        (tmp_path / "w" / path).write_text("changed")
    lay_out(manifest, store, str(tmp_path / "again"))
    assert read_tree(str(tmp_path / "again")) == FILES


@pytest.mark.parametrize("path", ["../out", "/tmp/out", "a/../../out", "a//b", "", "a/", ".", "a/./b", "a\0b"])
def test_a_manifest_with_a_path_that_leads_out_is_refused_before_anything_is_made(path: str) -> None:
    """D09: no '..', no absolute paths, no empty parts."""
    wire = Manifest([entry_of("ok", b"")]).to_wire()
    with pytest.raises(ManifestError):
        Manifest.from_wire({**wire, "paths": [path]})


@pytest.mark.parametrize("path", ["../out", "a/../../out"])
def test_a_path_that_leads_out_meets_a_second_wall(store: BlobStore, tmp_path: Path, path: str) -> None:
    """D09: even a manifest that nobody checked writes nothing outside."""
    fill(store, Project({"x": "x"}))
    with pytest.raises(LayOutError):
        lay_out(unsafe(store, entry_of(path, b"x")), store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)


def test_a_link_cannot_be_used_as_a_folder(store: BlobStore, tmp_path: Path) -> None:
    """D09: no file is made through a link, though it stays inside."""
    fill(store, Project({"1": "pkg", "2": "evil", "3": "fine"}))
    manifest = unsafe(store, entry_of("a", b"pkg", SYMLINK), entry_of("a/evil", b"evil"), entry_of("pkg/fine", b"fine"))
    with pytest.raises(LayOutError, match="'a/evil' cannot be laid out"):
        lay_out(manifest, store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("/etc/passwd", "it is absolute"),
        ("../../etc/passwd", "leads out of the workspace"),
        ("pkg/../../x", "leads out of the workspace"),
        ("pkg/deep/up/../..", "leads out of the workspace"),
        ("loop", "leads in a circle"),
        ("nothing", "leads to nothing"),
        ("a\0b", "holds a NUL"),
    ],
)
def test_a_link_that_does_not_stay_inside_is_refused_before_anything_is_made(
    store: BlobStore, tmp_path: Path, target: str, fault: str
) -> None:
    """D09: no links out, also not by a detour."""
    manifest = fill(store, Project({"pkg/deep/x": "", "loop@": target, "pkg/deep/up@": "../../lib", "lib/x": ""}))
    with pytest.raises(LayOutError, match=fault):
        lay_out(manifest, store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)


def test_only_plain_files_folders_and_links_can_be_said(store: BlobStore) -> None:
    """D09: no devices, no sockets, no setuid: a mode on the wire is one of three."""
    wire = Manifest([entry_of("ok", b"")]).to_wire()
    for mode in range(3, 256):
        with pytest.raises(ManifestError, match="none of file, executable file and link"):
            Manifest.from_wire({**wire, "modes": bytes([mode])})


def test_modes_obey_the_umask(store: BlobStore, tmp_path: Path) -> None:
    """D09: a workspace gives nobody rights that the owner of the machine would not give."""
    manifest = fill(store, Project({"f": "", "x*": "", "d/f": ""}))
    before = os.umask(0o077)
    try:
        lay_out(manifest, store, str(tmp_path / "w"))
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE(os.stat(tmp_path / "w" / name).st_mode) for name in ("f", "x", "d")}
    assert modes == {"f": 0o600, "x": 0o700, "d": 0o700}


def test_a_bomb_is_bounded_by_the_bytes_that_the_manifest_says_it_has() -> None:
    """D09: the same big content a thousand times counts a thousand times."""
    entries = [Entry(f"f{n:04}", 0o644, MIB, b"\1" * 32) for n in range(1000)]
    with pytest.raises(ManifestError, match="at most"):
        Manifest.from_wire(Manifest(entries).to_wire())


def test_a_content_that_is_longer_than_the_manifest_says_is_not_used(store: BlobStore, tmp_path: Path) -> None:
    """D09: sizes are verified, so that small words make no big files."""
    for content in (b"x" * 100, b"x" * (2 * MIB)):
        fill(store, Project({"f": content}))
        entry = entry_of("f", content)
        lie = Manifest([Entry("f", entry.mode, entry.nbytes - 1, entry.digest)])
        with pytest.raises(BlobMissingError, match="the content of 'f'"):
            lay_out(lie, store, str(tmp_path / "w"))
        assert is_untouched(tmp_path)


def test_files_on_a_disk_that_folds_case_do_not_replace_each_other(store: BlobStore, tmp_path: Path) -> None:
    """D09: two names that are one there are refused by name; such a disk is played by a name that is there twice."""
    fill(store, Project({"A": "a"}))
    manifest = unsafe(store, entry_of("pkg/A", b"a"), entry_of("pkg/A", b"a"))
    with pytest.raises(LayOutError, match="'pkg/A' cannot be laid out: this file system takes it"):
        lay_out(manifest, store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)
    wire = fill(store, Project({"A": "a", "a": "a"})).to_wire()
    with pytest.raises(ManifestError, match="case"):
        Manifest.from_wire(wire, folds_case=True)


def test_it_is_known_whether_a_folder_folds_case(tmp_path: Path) -> None:
    assert folds_case(str(tmp_path)) == (tmp_path / "x").parent.with_name(tmp_path.name.upper()).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_for_the_disk_is_named(store: BlobStore, tmp_path: Path) -> None:
    fill(store, Project({"f": "f"}))
    with pytest.raises(LayOutError, match="this file system says: File name too long"):
        lay_out(unsafe(store, entry_of("x" * 300, b"f")), store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)


def test_when_it_is_no_longer_wanted_nothing_stays(store: BlobStore, tmp_path: Path) -> None:
    """D09: an interrupted extraction is removed."""
    manifest = fill(store, Project.of_count(20))
    looks = iter([True] * 10 + [False])
    assert not lay_out(manifest, store, str(tmp_path / "w"), lambda: next(looks))
    assert is_untouched(tmp_path)


def test_a_content_that_is_gone_leaves_nothing_half_made(store: BlobStore, tmp_path: Path) -> None:
    manifest = fill(store, Project(FILES))
    entry = next(entry for entry in manifest if entry.path == "pkg/a.py")
    store.discard(entry.digest)
    with pytest.raises(BlobMissingError, match=r"'pkg/a\.py'"):
        lay_out(manifest, store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)


def test_a_damaged_content_is_found_out_and_asked_for_again(store: BlobStore, tmp_path: Path) -> None:
    manifest = fill(store, Project({"f": "right"}))
    path = Path(store.path(manifest.entries[0].digest))
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    with pytest.raises(BlobMissingError):
        lay_out(manifest, store, str(tmp_path / "w"))
    assert store.lacks(manifest.digests()) == [manifest.entries[0].digest]


def test_no_room_is_said_before_anything_is_made(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laying, "FREE_NBYTES_MIN", 2**60)
    with pytest.raises(StoreFullError, match="workspaces are laid out there"):
        lay_out(fill(store, Project(FILES)), store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)


def test_a_disk_that_gets_full_leaves_nothing(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = fill(store, Project(FILES))

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(laying.os, "copy_file_range", refuse)
    with pytest.raises(StoreFullError):
        lay_out(manifest, store, str(tmp_path / "w"))
    assert is_untouched(tmp_path)


def test_where_the_kernel_cannot_copy_we_do(store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "other disk")

    monkeypatch.setattr(laying.os, "copy_file_range", refuse)
    lay_out(fill(store, Project(FILES)), store, str(tmp_path / "w"))
    assert read_tree(str(tmp_path / "w")) == FILES


def test_a_folder_that_is_there_is_not_touched(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        lay_out(fill(store, Project(FILES)), store, str(tmp_path / "w"))
    assert (tmp_path / "w" / "mine").read_text() == "mine"


def test_descriptors_are_not_used_up(store: BlobStore, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    lay_out(fill(store, Project({"/".join("abcdefgh"[: n % 8 + 1]) + f"/f{n}": "" for n in range(40)})), store,
            str(tmp_path / "w"))  # fmt: skip
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_tree_whose_users_took_away_their_own_rights_is_removed(tmp_path: Path) -> None:
    deep = tmp_path / "w" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "f").write_text("")
    (tmp_path / "outside").mkdir(mode=0o755)
    (deep / "link").symlink_to(tmp_path / "outside")
    for folder in (deep, deep.parent, deep.parent.parent):
        folder.chmod(0)
    laying._allow(str(tmp_path / "w"))  # the superuser, who may run this test, would not need it
    assert stat.S_IMODE(deep.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o755
    deep.chmod(0)
    remove(str(tmp_path / "w"))
    remove(str(tmp_path / "w"))
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
