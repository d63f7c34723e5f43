"""`Workspace.changed`: whoever edits a file and asks afterwards is told, and nobody else is."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from distributed.errors import WorkspaceWarning
from distributed.workspace import scanning, surveying, watching
from distributed.workspace.scanning import Workspace
from distributed.workspace.watching import Watcher, is_watchable


@pytest.fixture
def workspace(project: Path, tmp_path: Path) -> Workspace:
    if not is_watchable(str(tmp_path)):
        pytest.skip("the temporary folder is not on a local file system of Linux")
    made = Workspace(project)
    made.scan()
    assert not made.changed()
    return made


def replace(path: Path) -> None:
    """As editors do."""
    new = path.with_name("4913")
    new.write_text("other\n")
    new.replace(path)


EDITS: dict[str, Callable[[Path], object]] = {
    "write": lambda root: (root / "helpers.py").write_text("x = 2\n"),
    "append": lambda root: os.close(_appended(root / "helpers.py")),
    "replace": lambda root: replace(root / "pkg/deep/mod.py"),
    "create": lambda root: (root / "pkg/new.py").write_text(""),
    "delete": lambda root: (root / "helpers.py").unlink(),
    "rename": lambda root: (root / "helpers.py").rename(root / "h.py"),
    "chmod": lambda root: (root / "helpers.py").chmod(0o755),
    "link": lambda root: (root / "link").symlink_to("helpers.py"),
    "new folder": lambda root: (root / "pkg/sub").mkdir(),
    "folder gone": lambda root: shutil.rmtree(root / "pkg/deep"),
    "folder renamed": lambda root: (root / "pkg").rename(root / "other"),
    "ignore file": lambda root: (root / ".gitignore").write_text("*.py\n"),
    "a weaker ignore file": lambda root: (root / "pkg/.gitignore").write_text("mod.py\n"),
    "a stronger ignore file": lambda root: (root / ".distributedignore").write_text("pkg\n"),
}


def _appended(path: Path) -> int:
    """A file that was written to and is still open."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(number, b"y = 3\n")
    return number


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_told_to_whoever_asks_next(workspace: Workspace, edit: str) -> None:
    """D08: a call made after an edit never runs the old code."""
    first = workspace.scan()
    EDITS[edit](workspace.root)
    assert workspace.changed()
    assert workspace.changed()  # until somebody scans
    second = workspace.scan()
    assert (second.id == first.id) is (edit == "new folder")
    assert not workspace.changed()


def test_a_write_is_seen_before_the_file_is_closed(workspace: Workspace) -> None:
    number = _appended(workspace.root / "helpers.py")
    assert workspace.changed()
    os.close(number)
    assert workspace.changed()


def test_what_this_process_writes_is_no_part_of_the_workspace_until_it_is_closed(workspace: Workspace) -> None:
    """D08: a program may print into its own project."""
    first = workspace.scan()
    results = workspace.root / "results.txt"
    with open(results, "w") as file:
        assert workspace.changed()
        assert workspace.scan() == first
        for number in range(3):
            print(number, file=file, flush=True)
            assert not workspace.changed()
    assert workspace.changed()
    assert [entry.path for entry in workspace.scan().delta(first).changed] == ["results.txt"]
    assert not workspace.changed()
    results.unlink()
    with open(results, "w"):
        assert workspace.changed()
        assert workspace.scan() == first
        results.unlink()
        assert not workspace.changed()
        results.touch()  # another file of that name
        assert workspace.changed()


def test_results_that_change_the_workspace_again_and_again_are_warned_of(workspace: Workspace) -> None:
    for number in range(scanning.DRIFTS_MAX - 1):
        (workspace.root / "result.txt").write_text(str(number))
        workspace.scan()
    (workspace.root / "helpers.py").write_text("x = 8\n")
    workspace.scan()
    for number in range(scanning.DRIFTS_MAX - 1):
        (workspace.root / f"result-{number}.txt").touch()
        workspace.scan()
    (workspace.root / "result.txt").unlink()
    with pytest.warns(WorkspaceWarning, match=r"last by 'result.txt', .*\.distributedignore"):
        workspace.scan()


def test_a_new_folder_is_watched_too(workspace: Workspace) -> None:
    (workspace.root / "new" / "deeper").mkdir(parents=True)
    workspace.scan()
    (workspace.root / "new" / "deeper" / "x.py").touch()
    assert workspace.changed()
    assert "new/deeper/x.py" in [entry.path for entry in workspace.scan()]


def test_a_renamed_folder_is_watched_under_its_new_name(workspace: Workspace) -> None:
    (workspace.root / "pkg").rename(workspace.root / "other")
    workspace.scan()
    (workspace.root / "other" / "deep" / "run.log").touch()
    assert not workspace.changed()
    (workspace.root / "other" / "deep" / "mod.py").touch()
    assert workspace.changed()


def test_what_is_ignored_may_change(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """D08: logs, byte code and caches that come and go make no scan."""
    (workspace.root / "run.log").write_text("started\n")
    (workspace.root / "data" / "table.csv").write_text("3\n")
    (workspace.root / "pkg" / "__pycache__").mkdir()
    (workspace.root / "pkg" / "__pycache__" / "mod.pyc").touch()
    (workspace.root / ".git").mkdir()
    (workspace.root / "helpers.py~").touch()
    assert not workspace.changed()


def test_ten_thousand_questions_look_at_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """D08: calls in a row scan nothing."""
    looks: list[object] = []
    monkeypatch.setattr(surveying.Surveyor, "survey", lambda *given: looks.append(given))
    for _ in range(10_000):
        assert not workspace.changed()
    assert looks == []


def test_only_folders_in_which_something_happened_are_looked_into_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D08: an edit of one file costs a look at its folder."""
    looked: list[str] = []
    real = surveying.Surveyor._list

    def look(surveyor: surveying.Surveyor, path: str) -> object:
        looked.append(path)
        return real(surveyor, path)

    monkeypatch.setattr(surveying.Surveyor, "_list", look)
    workspace.scan()
    assert looked == []
    (workspace.root / "pkg" / "deep" / "mod.py").write_text("y = 9\n")
    (workspace.root / "run.log").touch()
    workspace.scan()
    assert looked == ["pkg/deep/"]
    (workspace.root / "pkg" / ".gitignore").write_text("nothing\n")  # may count for all that is below
    workspace.scan()
    assert looked == ["pkg/deep/", "pkg/", "pkg/deep/"]
    (workspace.root / "pkg" / "deep").rename(workspace.root / "deep")
    workspace.scan()
    assert looked[3:] in (["", "deep/", "pkg/"], ["", "pkg/", "deep/"])


def test_more_events_than_the_kernel_keeps_count_as_a_change(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.root / "run.log").write_text("started\n")
    overflow = watching._EVENT.pack(-1, watching._OVERFLOW, 0, 0)
    contents = [overflow]

    def read(number: int, count: int) -> bytes:
        if contents:
            return contents.pop()
        raise BlockingIOError

    monkeypatch.setattr(watching.os, "read", read)
    assert workspace.changed()


def test_while_one_thread_scans_others_are_told_to_wait_for_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.root / "helpers.py").write_text("x = 4\n")
    reading, go_on = threading.Event(), threading.Event()
    real = scanning._digest_of_file

    def digest(path: str) -> object:
        reading.set()
        assert go_on.wait(10)
        return real(path)

    monkeypatch.setattr(scanning, "_digest_of_file", digest)
    thread = threading.Thread(target=workspace.scan)
    thread.start()
    assert reading.wait(10)
    assert workspace.changed()
    (workspace.root / "main.py").write_text("later\n")
    go_on.set()
    thread.join()
    assert workspace.changed()  # the edit during the scan
    workspace.scan()
    assert not workspace.changed()


def test_a_child_takes_no_notices_of_its_parent(workspace: Workspace) -> None:
    (workspace.root / "helpers.py").write_text("x = 5\n")
    answers, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which the child does not need
        child = os.fork()
    if child == 0:
        os.write(tell, b"y" if workspace.changed() and workspace.scan() and not workspace.changed() else b"n")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(answers, 1) == b"y"
    os.close(answers)
    os.close(tell)
    assert workspace.changed()


def test_a_closed_workspace_can_be_used_again(workspace: Workspace) -> None:
    workspace.close()
    assert workspace.changed()
    workspace.scan()
    assert not workspace.changed()


# ---------------------------------------------------------------- without notices


@pytest.mark.parametrize("why", ["no inotify", "not local", "no more watches"])
def test_without_notices_files_are_looked_at_now_and_then(
    project: Path, why: str, monkeypatch: pytest.MonkeyPatch, settle: Callable[[Path], None]
) -> None:
    """D08: on network file systems and other systems edits are seen too, within a bounded time."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if why == "not local":
        monkeypatch.setattr(scanning, "is_watchable", lambda path: path == str(project))  # the root is, folders are not
    else:
        monkeypatch.setattr(Watcher, "__init__" if why == "no inotify" else "add", refuse)
    if why == "no inotify":
        monkeypatch.setattr(Watcher, "__del__", lambda self: None)
    now_s = 100.0
    monkeypatch.setattr(scanning.time, "monotonic", lambda: now_s)
    settle(project)
    workspace = Workspace(project)
    first = workspace.scan()
    assert not workspace.changed()
    (project / "helpers.py").write_text("x = 6\n")
    assert not workspace.changed()  # it has just looked
    now_s += 0.06
    assert workspace.changed()
    settle(project)
    assert workspace.scan().id != first.id
    now_s += 0.06
    assert not workspace.changed()
    (project / "new.py").touch()
    now_s += 0.06
    assert workspace.changed()
    settle(project)
    with open(project / "results.txt", "w") as file:
        workspace.scan()
        now_s += 0.06
        assert not workspace.changed()
        file.write("one\n")
        file.flush()
        now_s += 0.06
        assert not workspace.changed()
    now_s += 0.06
    assert workspace.changed()
    shutil.rmtree(project)
    assert workspace.changed()


def test_a_python_without_ctypes_looks_at_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    watching._libc.cache_clear()
    assert not is_watchable(str(project))
    assert [entry.path for entry in Workspace(project).scan()][-1] == "pkg/deep/mod.py"
    with pytest.raises(OSError, match="no inotify"):
        Watcher()


def test_folders_that_others_may_change_cannot_be_watched() -> None:
    assert not is_watchable("/proc")
    assert not is_watchable("/nowhere/at/all")


def test_a_watcher_tells_folder_and_name(tmp_path: Path) -> None:
    if not is_watchable(str(tmp_path)):
        pytest.skip("the temporary folder is not on a local file system of Linux")
    watcher = Watcher()
    (tmp_path / "a").mkdir()
    watcher.add(str(tmp_path), "top")
    watcher.add(str(tmp_path / "a"), "a")
    assert watcher.count == 2
    (tmp_path / "a" / "x").mkdir()
    assert watcher.take() == [("a", "x", True)]
    assert watcher.take() == []
    watcher.keep(["top"])
    (tmp_path / "a" / "y").touch()
    assert watcher.take() == []
    with pytest.raises(NotADirectoryError):
        watcher.add(str(tmp_path / "a" / "y"), "y")
    watcher.add(str(tmp_path / "a"), "a")
    shutil.rmtree(tmp_path / "a")
    assert watcher.take() is None
    watcher.close()
    watcher.close()
