"""Folders that are removed by whoever comes next when their owner was killed."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from distributed.process import folders
from distributed.process.folders import Folder, make_folder, remove_leftovers, remove_tree


def left_by_a_killed_process(parent: Path) -> Path:
    """A folder with something in it, whose owner is gone."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        folder = make_folder(str(parent))
        Path(folder.path, "spilled").mkdir()
        Path(folder.path, "spilled", "result").write_text("data")
        os.write(write, folder.path.encode())
        signal.pause()
    path = os.read(read, 1000).decode()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    return Path(path)


def test_a_folder_is_private_and_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = make_folder(str(tmp_path))
    assert stat.S_IMODE(os.stat(folder.path).st_mode) == 0o700
    Path(folder.path, "spilled").write_text("data")
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_removed_and_what_is_owned_stays(tmp_path: Path) -> None:
    owned = make_folder(str(tmp_path))
    left = left_by_a_killed_process(tmp_path)
    assert left.exists()
    assert remove_leftovers(str(tmp_path)) == [str(left)]
    assert [str(path) for path in tmp_path.iterdir()] == [owned.path]
    owned.remove()
    assert remove_leftovers(str(tmp_path)) == []


def test_folders_that_are_not_of_this_kind_stay(tmp_path: Path) -> None:
    left = left_by_a_killed_process(tmp_path)
    other = tmp_path / "distributed-worker-of-an-older-version"
    (other / "running").mkdir(parents=True)
    link = tmp_path / "distributed-worker-link"
    elsewhere = left.rename(tmp_path / "elsewhere")
    link.symlink_to(elsewhere)
    (tmp_path / "distributed-worker-file").write_text("")
    assert remove_leftovers(str(tmp_path)) == []
    assert (elsewhere / "spilled" / "result").exists()
    assert remove_leftovers(str(tmp_path / "missing")) == []


def test_a_folder_that_is_taken_away_while_it_is_made_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = folders._lock, []

    def lock(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        made.append(os.path.dirname(path))
        if len(made) == 1:  # a cleaner has it
            raise BlockingIOError
        if len(made) == 2:  # a cleaner had it, and has removed it
            Folder(made[-1], -1).remove()
        real(descriptor)

    monkeypatch.setattr(folders, "_lock", lock)
    folder = make_folder(str(tmp_path))
    assert len(set(made)) == 3
    assert folder.path == made[-1]
    assert os.path.exists(folder.path)
    folder.remove()


def test_a_place_without_locks_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(descriptor: int) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(folders, "_lock", lock)
    folder = make_folder(str(tmp_path))
    assert remove_leftovers(str(tmp_path)) == []
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_tree_with_locked_folders_is_removed(tmp_path: Path) -> None:
    deep = tmp_path / "tree" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (deep / "link").symlink_to(tmp_path)
    for folder in (deep, deep.parent, deep.parent.parent):
        folder.chmod(0)
    assert remove_tree(str(tmp_path / "tree"))
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_no_tree(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    assert not remove_tree(str(tmp_path / "link"))
    assert (tmp_path / "kept").is_dir()
