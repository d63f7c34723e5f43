"""Workspaces as archives, as the first design of the decorator has them."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from distributed.errors import ConfigError, UnsupportedOperation, WorkspaceEntryError
from distributed.workspace.distribution import Distribution, distribution

FILES = [".gitignore", "helpers.py", "link", "main.py", "pkg/__init__.py", "pkg/deep/mod.py"]


@pytest.fixture(autouse=True)
def more_files(project: Path) -> None:
    (project / "main.py").chmod(0o755)
    (project / "link").symlink_to("helpers.py")


def test_an_archive_holds_the_workspace(project: Path, tmp_path: Path) -> None:
    """D06: an archive of the files that belong to the workspace, called by its ident."""
    made = Distribution(project, project / "main.py", ident="awoo")
    path = made.write(tmp_path / "out")
    assert path == made.path == tmp_path / "out" / "awoo.tar.gz"
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert list(members) == FILES
        assert members["main.py"].mode == 0o755
        assert members["helpers.py"].mode == 0o644
        assert members["link"].linkname == "helpers.py"
        file = archive.extractfile("pkg/deep/mod.py")
        assert file is not None and file.read() == b"y = 2\n"
    assert made.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    assert os.listdir(tmp_path / "out") == ["awoo.tar.gz"]


def test_the_same_files_make_the_same_archive(project: Path, tmp_path: Path) -> None:
    """D06: neither place, times nor owners show in the bytes."""
    copy = tmp_path / "elsewhere" / "other"
    shutil.copytree(project, copy, symlinks=True)
    for path in copy.rglob("*"):
        os.utime(path, (7, 7), follow_symlinks=False)
    first, second = (Distribution(root, ident="x").write(tmp_path / root.name[:1]) for root in (project, copy))
    assert first != second
    assert first.read_bytes() == second.read_bytes()
    assert Distribution(project).manifest().id == Distribution(copy).manifest().id


def test_an_archive_never_contains_itself(project: Path) -> None:
    made = Distribution(project, ident="a-b")
    first = made.write(project).read_bytes()
    assert made.write(project).read_bytes() == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == FILES


def test_the_archive_of_a_folder_lies_among_the_caches(project: Path, private_cache: Path) -> None:
    made = distribution(project, "main.py")
    assert made.entry == project / "main.py"
    assert made.path.is_relative_to(private_cache)
    assert made.path.name == "project.tar.gz"
    assert repr(made) == f"<Distribution project, of {project}>"
    made.path.unlink()
    assert made.path.exists()


def test_only_a_folder_can_be_distributed(project: Path) -> None:
    for wrong in (project / "main.py", project / "nothing"):
        with pytest.raises(UnsupportedOperation, match="made of a folder") as caught:
            Distribution(wrong, "main.py")
        assert isinstance(caught.value, io.UnsupportedOperation)


def test_the_entry_lies_inside(project: Path, tmp_path: Path) -> None:
    """D06: not merely a path that begins with the same letters, and not through a link."""
    outside = tmp_path / "project2" / "main.py"
    outside.parent.mkdir()
    outside.touch()
    (project / "away.py").symlink_to(outside)
    for entry in (outside, project / "away.py", "nothing.py", project / "pkg", "../project2/main.py"):
        with pytest.raises(WorkspaceEntryError):
            Distribution(project, entry)


@pytest.mark.parametrize("ident", ["", ".", "../x", "a/b", "x" * 101, "a\n"])
def test_an_ident_is_the_name_of_a_file(project: Path, ident: str) -> None:
    with pytest.raises(ConfigError, match="ident="):
        Distribution(project, ident=ident)
