"""Scans of real folders: what belongs to a workspace, what is refused, and that nothing is read twice."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from distributed.errors import (
    ConfigError,
    WorkspaceChangedError,
    WorkspaceError,
    WorkspaceFileError,
    WorkspaceTooLargeError,
    WorkspaceWarning,
)
from distributed.workspace import scanning, surveying
from distributed.workspace.manifest import EXECUTABLE, FILE, SYMLINK, Manifest
from distributed.workspace.scanning import Workspace

ALWAYS = [".gitignore", "helpers.py", "main.py", "pkg/__init__.py", "pkg/deep/mod.py"]


def paths(manifest: Manifest) -> list[str]:
    return [entry.path for entry in manifest]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that are read from now on."""
    read: list[str] = []
    real = scanning._digest_of_file

    def digest(path: str) -> object:
        read.append(path)
        return real(path)

    monkeypatch.setattr(scanning, "_digest_of_file", digest)
    return read


def test_a_project_becomes_a_manifest(project: Path) -> None:
    """D06: the files of a project with their contents and modes, without what is ignored."""
    (project / "main.py").chmod(0o700)
    for left_out in (".git/config", "__pycache__/main.pyc", ".venv/x.py", "x.egg-info/y", "node_modules/z", "run.log"):
        (project / left_out).parent.mkdir(exist_ok=True)
        (project / left_out).touch()
    (project / "myenv").mkdir()
    (project / "myenv" / "pyvenv.cfg").touch()
    (project / "myenv" / "site.py").touch()
    (project / "empty").mkdir()
    manifest = Workspace(project).scan()
    assert paths(manifest) == ALWAYS
    by_path = {entry.path: entry for entry in manifest}
    assert by_path["main.py"].mode == EXECUTABLE
    assert by_path["helpers.py"].mode == FILE
    assert by_path["helpers.py"].nbytes == 6
    assert by_path["helpers.py"].digest == hashlib.sha256(b"x = 1\n").digest()


def test_the_same_files_are_the_same_workspace_wherever_they_are(project: Path, tmp_path: Path) -> None:
    """D06: the id depends on paths, modes and contents alone."""
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(project, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert Workspace(copy).scan().id == Workspace(project).scan().id
    (copy / "helpers.py").write_text("x = 2\n")
    assert Workspace(copy).scan().id != Workspace(project).scan().id


def test_include_beats_what_is_ignored(project: Path) -> None:
    (project / "run.log").touch()
    (project / "data" / "other.csv").touch()
    for include, more in {
        ("data",): ["data/other.csv", "data/table.csv"],
        ("data/table.csv",): ["data/table.csv"],
        ("**/t*.csv", "*.log"): ["data/table.csv", "run.log"],
    }.items():
        assert paths(Workspace(project, include).scan()) == sorted([*ALWAYS, *more])


def test_the_program_itself_travels_whatever_ignores_it(project: Path) -> None:
    script = project / "data" / "a[b]*.py"
    script.touch()
    (project / "data" / "ab.py").touch()
    (project / "setup.py").touch()
    workspace = Workspace.of(script)
    assert paths(workspace.scan()) == sorted([*ALWAYS, "data/a[b]*.py", "setup.py"])
    assert not workspace.changed()
    (project / "data" / "table.csv").write_text("other")
    assert not workspace.changed()
    script.write_text("x = 7")
    assert workspace.changed()
    script.unlink()
    assert paths(workspace.scan()) == [*ALWAYS, "setup.py"]


def test_exclude_beats_include(project: Path) -> None:
    (project / "data" / "other.csv").touch()
    workspace = Workspace(project, ["data"], ["other.*", "/pkg/deep/"])
    assert paths(workspace.scan()) == [".gitignore", "data/table.csv", "helpers.py", "main.py", "pkg/__init__.py"]


def test_version_control_never_travels(project: Path) -> None:
    (project / ".git").mkdir()
    (project / ".git" / "config").touch()
    (project / ".distributedignore").write_text("!.git\n")
    with pytest.raises(WorkspaceFileError, match=r"'.git/config'.*it is not there"):
        Workspace(project, [".git/config"]).scan()
    assert ".git/config" not in paths(Workspace(project).scan())


def test_ignore_files_of_the_repository_above_the_root_count(project: Path) -> None:
    (project / ".git" / "info").mkdir(parents=True)
    (project / ".git" / "info" / "exclude").write_text("*.secret\n")
    (project / "pkg" / "x.log").touch()
    (project / "pkg" / "x.secret").touch()
    assert paths(Workspace(project / "pkg").scan()) == ["__init__.py", "deep/mod.py"]
    (project / ".gitignore").write_text("pkg/\n")  # who names an ignored folder as the root means it
    assert "x.log" in paths(Workspace(project / "pkg").scan())


def git_sees(root: Path) -> list[str]:
    command = ["git", "-C", str(root), "-c", "core.excludesFile=/dev/null", "ls-files", "-zo", "--exclude-standard"]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    return sorted(os.fsdecode(path) for path in output.split(b"\0") if path)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_what_gitignore_files_leave_out_is_what_git_leaves_out(tmp_path: Path) -> None:
    names = ["a", "b", "B1", "foo", "bar.txt", "x.py", "build", "sp ace"]
    lines = ["*", "*.txt", "foo", "/foo", "foo/", "a/b", "**/b", "a/**", "a/**/b", "!foo", "!*.py", "!a/", "!*/", "b?"]
    lines += [
        "[ab]",
        "[!a]",
        "!build",
        "/*",
        "*/foo",
        "**/",
        "***",
        "a**b",
        "foo/**/",
        "#x",
        "\\!x",
        "  ",
        "foo\\ ",
        "[",
    ]
    for seed in range(12):
        chance = random.Random(seed)
        root = tmp_path / str(seed)
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        folders = [root, *(root / a / b for a in names[:5] for b in chance.sample(names, 3))]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            for name in chance.sample(names, 4):
                if not (folder / name).exists():
                    (folder / name).touch()
            if folder == root or chance.random() < 0.4:
                (folder / ".gitignore").write_text("\n".join(chance.choices(lines, k=4)) + "\n")
        assert paths(Workspace(root).scan()) == git_sees(root), seed


# ---------------------------------------------------------------- links and strange files


def test_links_inside_stay_links(project: Path) -> None:
    (project / "link.py").symlink_to("helpers.py")
    (project / "pkg" / "up").symlink_to("../pkg/deep")
    workspace = Workspace(project)
    by_path = {entry.path: entry for entry in workspace.scan()}
    assert by_path["link.py"].mode == by_path["pkg/up"].mode == SYMLINK
    assert workspace.read(by_path["link.py"].digest) == b"helpers.py"
    assert workspace.read(by_path["pkg/up"].digest) == b"../pkg/deep"
    assert "pkg/up/mod.py" not in by_path


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/etc/hosts", "absolute"),
        ("../outside", "out of the workspace"),
        ("nothing", "leads to nothing"),
        ("link", "in a circle"),
        (".", "in a circle"),
        ("data/table.csv", "nothing that is in the workspace"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused_with_its_target_and_a_cure(
    project: Path, target: str, reason: str
) -> None:
    """D06: links out of the tree, absolute, dangling, looping ones, and those to what is ignored."""
    (project / "link").symlink_to(target)
    with pytest.raises(WorkspaceFileError, match=reason) as caught:
        Workspace(project).scan()
    assert caught.value.path == "link"
    assert repr(target) in str(caught.value)
    assert "exclude it" in str(caught.value)
    assert paths(Workspace(project, exclude=["link"]).scan()) == ALWAYS


def test_the_lock_of_an_editor_is_no_broken_link(project: Path) -> None:
    (project / ".#main.py").symlink_to("alice@host.4711:1700000000")
    (project / "notes.ipynb").touch()
    assert paths(Workspace(project).scan()) == ALWAYS
    assert "notes.ipynb" in paths(Workspace(project, ["*.ipynb"]).scan())


def test_sockets_and_pipes_are_no_part_of_a_workspace_unless_named(project: Path) -> None:
    os.mkfifo(project / "pipe")
    here = socket.socket(socket.AF_UNIX)
    with here:
        current = os.getcwd()
        os.chdir(project)  # names of sockets are short
        try:
            here.bind("sock")
        finally:
            os.chdir(current)
    assert paths(Workspace(project).scan()) == ALWAYS
    for name, kind in {"pipe": "a pipe", "sock": "a socket"}.items():
        with pytest.raises(WorkspaceFileError, match=f"'{name}'.*{kind}.*take it out of include="):
            Workspace(project, [name]).scan()


def test_a_name_that_is_not_utf8_is_refused(project: Path) -> None:
    (project / os.fsdecode(b"caf\xe9.py")).touch()
    with pytest.raises(WorkspaceFileError, match=r"caf\\\\xe9.py.*not valid UTF-8; rename it"):
        Workspace(project).scan()


@pytest.mark.parametrize("name", ["helpers.py", "pkg/deep"])
def test_what_cannot_be_read_is_refused_by_name(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """D06: unreadable files and folders; the refusal is made here, since it may be root who runs the test."""

    def refuse(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: str, *more: Any) -> Any:
            if path.rstrip("/") == str(project / name):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *more)

        return call

    monkeypatch.setattr(scanning, "_open_plainly", refuse(scanning._open_plainly))
    monkeypatch.setattr(surveying.os, "scandir", refuse(os.scandir))
    with pytest.raises(WorkspaceFileError, match=f"'{name}/?'.*Permission denied.*exclude it"):
        Workspace(project).scan()


def test_names_that_collide_where_case_does_not_count_are_warned_of(project: Path) -> None:
    (project / "Helpers.py").touch()
    workspace = Workspace(project)
    with pytest.warns(WorkspaceWarning, match="'helpers.py' and 'Helpers.py'"):
        workspace.scan()
    (project / "main.py").write_text("")
    workspace.scan()  # once is enough


def test_a_root_that_is_not_there_is_refused(project: Path) -> None:
    for root, reason in {project / "nowhere": "no such folder", project / "main.py": "it is no folder"}.items():
        workspace = Workspace(root)
        with pytest.raises(WorkspaceFileError, match=reason):
            workspace.scan()
        assert workspace.changed()


def test_wrong_patterns_are_refused_at_once(project: Path) -> None:
    with pytest.raises(ConfigError, match="include="):
        Workspace(project, ["../x"])
    with pytest.raises(ConfigError, match="exclude="):
        Workspace(project, exclude=["["])


# ---------------------------------------------------------------- sizes


def test_a_big_workspace_is_warned_of_once_with_what_makes_it_big(project: Path) -> None:
    """D06: above the soft limit the biggest items are named."""
    (project / "model").mkdir()
    for number in range(3):
        (project / "model" / f"part{number}").write_bytes(bytes(5_000))
    workspace = Workspace(project, nbytes_soft="10kB")
    with pytest.warns(WorkspaceWarning, match=r"has 14.7 KiB; most of it: model/ \(14.6 KiB\), .*distributedignore"):
        workspace.scan()
    (project / "model" / "part1").write_bytes(b"other")
    workspace.scan()


@pytest.mark.parametrize("limits", [{"nbytes_max": 1_000}, {"files_max": 7}])
def test_a_workspace_above_the_cap_is_refused_with_what_makes_it_big(project: Path, limits: dict[str, int]) -> None:
    """D06: above the cap nothing is read; the error names the biggest items and the cure."""
    (project / "model").mkdir()
    for number in range(20):
        (project / "model" / f"part{number}").write_bytes(bytes(100))
    with pytest.raises(WorkspaceTooLargeError, match=r"model/.*\.distributedignore") as caught:
        Workspace(project, **limits).scan()
    assert caught.value.biggest[0][0] == "model/"
    assert paths(Workspace(project, exclude=["model"], **limits).scan()) == ALWAYS


def test_a_tree_of_empty_folders_is_refused_too(project: Path) -> None:
    for number in range(30):
        (project / "model" / str(number)).mkdir(parents=True)
    with pytest.raises(WorkspaceTooLargeError, match=r"at least \d+ folders, more than 7 folders; .*model/"):
        Workspace(project, files_max=7).scan()


def test_more_links_than_a_worker_takes_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "LINKS_MAX", 3)
    for number in range(4):
        (project / f"link{number}").symlink_to("helpers.py")
    with pytest.raises(WorkspaceTooLargeError, match=r"4 links, more than 3 links"):
        Workspace(project).scan()


# ---------------------------------------------------------------- nothing is read twice


def test_files_that_have_not_changed_are_not_read_again(
    project: Path, settle: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """D08: a scan reads what is new or has changed, and nothing else, also in the next process."""
    settle(project)
    read = count_reads(monkeypatch)
    workspace = Workspace(project)
    first = workspace.scan()
    assert len(read) == len(ALWAYS)
    assert workspace.scan() is first
    again = Workspace(project)  # as another process does: it knows what the first one saved
    assert again.scan() == first
    assert len(read) == len(ALWAYS)
    (project / "helpers.py").write_text("x = 3\n")
    changed = workspace.scan()
    assert read[len(ALWAYS) :] == [str(project / "helpers.py")]
    assert [entry.path for entry in changed.delta(first).changed] == ["helpers.py"]


def test_a_file_that_was_changed_a_moment_ago_is_read_again(project: Path) -> None:
    """D08: the same size and time do not hide an edit within one tick of the clock."""
    workspace = Workspace(project)
    first = workspace.scan()
    status = (project / "helpers.py").stat()
    for number in range(50):
        (project / "helpers.py").write_text(f"x = {number % 10}\n")
        os.utime(project / "helpers.py", ns=(status.st_atime_ns, status.st_mtime_ns))
        digest = hashlib.sha256(f"x = {number % 10}\n".encode()).digest()
        assert digest in workspace.scan().digests()
    assert workspace.scan().id != first.id


def test_a_change_of_mode_is_a_change(project: Path, settle: Callable[[Path], None]) -> None:
    settle(project)
    workspace = Workspace(project)
    first = workspace.scan()
    (project / "helpers.py").chmod(0o755)
    assert [entry.mode for entry in workspace.scan().delta(first).changed] == [EXECUTABLE]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x94\x01\xa1x\x00\x90"])
def test_a_damaged_memory_is_as_good_as_none(
    project: Path, settle: Callable[[Path], None], private_cache: Path, content: bytes
) -> None:
    settle(project)
    first = Workspace(project).scan()
    for file in (private_cache / "distributed" / "scans").iterdir():
        file.write_bytes(content)
    assert Workspace(project).scan() == first


def test_a_memory_that_others_may_write_is_not_used(
    project: Path, settle: Callable[[Path], None], private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(project)
    Workspace(project).scan()
    for file in (private_cache / "distributed" / "scans").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        file.chmod(0o666)
    read = count_reads(monkeypatch)
    Workspace(project).scan()
    assert len(read) == len(ALWAYS)


def test_a_file_that_changes_while_it_is_read_is_read_again_and_then_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read
    times = 1

    def read(number: int, count: int) -> bytes:
        nonlocal times
        content = real(number, count)
        if content == b"x = 1\n" and times:
            times -= 1
            os.utime(project / "helpers.py", (5, 5))
        return content

    monkeypatch.setattr(scanning.os, "read", read)
    assert paths(Workspace(project).scan()) == ALWAYS
    assert times == 0
    times = 99
    os.utime(project / "helpers.py", (6, 6))
    with pytest.raises(WorkspaceFileError, match=r"'helpers.py'.*changed while it was read, 3 times"):
        Workspace(project).scan()


# ---------------------------------------------------------------- contents


@pytest.mark.parametrize("kept_nbytes", [0, scanning.KEPT_NBYTES_MAX])
def test_contents_are_read_by_their_digest(project: Path, kept_nbytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "KEPT_NBYTES_MAX", kept_nbytes)
    workspace = Workspace(project)
    for digest, nbytes in workspace.scan().digests().items():
        content = workspace.read(digest)
        assert len(content) == nbytes
        assert hashlib.sha256(content).digest() == digest
        with workspace.open(digest) as file:
            assert file.read(3) == content[:3]


def test_what_was_read_lately_can_be_sent_after_an_edit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D08: results that a program writes again and again do not take the workspace from calls that were made before."""
    monkeypatch.setattr(scanning, "KEPT_NBYTES_MAX", 40)
    workspace = Workspace(project)
    first = {entry.path: entry.digest for entry in workspace.scan()}
    (project / "helpers.py").write_text("x = 2\n")
    workspace.scan()
    assert workspace.read(first["helpers.py"]) == b"x = 1\n"
    with workspace.open(first["helpers.py"]) as file:
        assert file.read() == b"x = 1\n"
    for number in range(9):  # but only so much of it
        (project / "helpers.py").write_text(f"x = {number}\n")
        workspace.scan()
    with pytest.raises(WorkspaceChangedError):
        workspace.read(first["helpers.py"])


def test_a_content_that_is_gone_is_refused_by_the_name_of_its_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "KEPT_NBYTES_MAX", 0)
    workspace = Workspace(project)
    digests = {entry.path: entry.digest for entry in workspace.scan()}
    (project / "helpers.py").write_text("other\n")
    (project / "main.py").unlink()
    for name in ("helpers.py", "main.py"):
        with pytest.raises(WorkspaceChangedError, match=f"'{name}'.*scan it again"):
            workspace.read(digests[name])
        with pytest.raises(WorkspaceChangedError):
            workspace.open(digests[name])
    with pytest.raises(WorkspaceChangedError):
        workspace.read(bytes(32))
    os.utime(project / "pkg/deep/mod.py", (5, 5))
    assert workspace.read(digests["pkg/deep/mod.py"]) == b"y = 2\n"


def test_several_threads_may_scan_at_once(project: Path) -> None:
    workspace = Workspace(project)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(workspace.scan().id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_in_a_shared_folder_only_the_program_and_what_it_imported_belong_to_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(project, shared_with=project / "main.py")
    assert paths(workspace.scan()) == ["main.py"]
    assert not workspace.changed()
    module = ModuleType("helpers")
    module.__file__ = str(project / "helpers.py")
    monkeypatch.setitem(sys.modules, "helpers", module)
    assert workspace.changed()
    package = ModuleType("pkg")
    package.__file__ = str(project / "pkg" / "__init__.py")
    monkeypatch.setitem(sys.modules, "pkg", package)
    assert paths(workspace.scan()) == ["helpers.py", "main.py", "pkg/__init__.py", "pkg/deep/mod.py"]


def test_every_refusal_is_a_workspace_error() -> None:
    for kind in (WorkspaceFileError, WorkspaceTooLargeError, WorkspaceChangedError):
        assert issubclass(kind, WorkspaceError)
