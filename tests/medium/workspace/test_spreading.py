"""What a file system is told about where to begin folders."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

import pytest

from distributed.workspace.spreading import GET_FLAGS, LONG_NBYTES, TOP_OF_TREES, make_apart, spread


def flags_of(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        (flags,) = struct.unpack_from("i", fcntl.ioctl(descriptor, GET_FLAGS, bytes(LONG_NBYTES)))
    finally:
        os.close(descriptor)
    return int(flags)


def test_a_file_system_that_knows_of_it_spreads_what_is_made_in_a_folder(tmp_path: Path) -> None:
    if not spread(tmp_path.as_posix()):
        pytest.skip("this file system cannot be told")
    assert flags_of(tmp_path) & TOP_OF_TREES
    inner = tmp_path / "inner"
    inner.mkdir()
    assert not flags_of(inner) & TOP_OF_TREES  # its own files and folders stay near each other


def test_other_file_systems_are_left_as_they_are() -> None:
    assert not spread("/proc")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="link"):
        spread(f"{tmp_path}/link")


def test_a_folder_is_made_apart_once_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for _ in range(2):
        make_apart(folder.as_posix())
        (folder / "file").write_bytes(b"")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_two_processes_that_make_the_same_folder_both_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "store"
    monkeypatch.setattr(os.path, "isdir", lambda path: False)  # as the second one sees it, before the first is done
    make_apart(folder.as_posix())
    make_apart(folder.as_posix())  # it was empty
    (folder / "file").write_bytes(b"")
    make_apart(folder.as_posix())
    assert (folder / "file").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
