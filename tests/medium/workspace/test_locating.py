"""Where a program's project is, and what its modules are called."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from distributed.errors import WorkspaceEntryError
from distributed.workspace import locating
from distributed.workspace.locating import (
    FALLBACK_NAME,
    MARKERS,
    Project,
    entry_name,
    import_roots,
    imported_beside,
    project_of,
)
from distributed.workspace.scanning import Workspace


def touch(*files: Path) -> Path:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return files[0]


@pytest.mark.parametrize("marker", MARKERS)
def test_the_project_is_the_nearest_folder_upwards_with_a_marker(tmp_path: Path, marker: str) -> None:
    entry = touch(tmp_path / "a" / "b" / "c" / "main.py")
    touch(tmp_path / "a" / "b" / marker, tmp_path / marker)
    assert project_of(entry) == Project(tmp_path / "a" / "b")
    assert project_of(entry.parent) == Project(tmp_path / "a" / "b")


def test_without_a_marker_it_is_the_folder_of_the_entry(tmp_path: Path) -> None:
    assert project_of(touch(tmp_path / "a" / "main.py")) == Project(tmp_path / "a")


def test_home_and_the_temporary_folder_are_never_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "TMPDIR"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(tmp_path))
            touch(tmp_path / ".git" / "config")
            below = touch(tmp_path / "a" / "main.py")
            assert project_of(below) == Project(tmp_path / "a")
            inside = touch(tmp_path / "main.py")
            assert project_of(inside) == Project(tmp_path, is_shared=True)
            workspace = Workspace.of(inside, exclude=["x"])
            assert [entry.path for entry in workspace.scan()] == ["main.py"]
            workspace.close()
    assert project_of(touch(tmp_path / "main.py")) == Project(tmp_path)


def test_an_entry_has_the_name_by_which_others_import_it(tmp_path: Path) -> None:
    package = tmp_path / "src" / "pkg"
    touch(package / "__init__.py", package / "sub" / "__init__.py", package / "sub" / "mod.py", tmp_path / "main.py")
    touch(tmp_path / "scripts" / "run.py", package / "__main__.py")
    assert entry_name(tmp_path / "main.py", tmp_path) == "main"
    assert entry_name(tmp_path / "scripts" / "run.py", tmp_path) == "run"
    assert entry_name(package / "sub" / "mod.py", tmp_path) == "pkg.sub.mod"
    assert entry_name(package / "__main__.py", tmp_path, "pkg.__main__") == "pkg.__main__"
    assert entry_name(tmp_path / "scripts" / "run.py", tmp_path, "scripts.run") == "scripts.run"


@pytest.mark.parametrize(
    "name", ["my-script.py", "2d.py", "class.py", "random.py", "distributed.py", "script", "x.y.py"]
)
def test_an_entry_that_cannot_be_imported_by_its_name_gets_another_one(tmp_path: Path, name: str) -> None:
    assert entry_name(touch(tmp_path / name), tmp_path) == FALLBACK_NAME


def test_an_entry_lies_inside_of_its_workspace(tmp_path: Path) -> None:
    root = tmp_path / "project"
    outside = touch(tmp_path / "project2" / "main.py")
    root.mkdir()
    for entry in (outside, root / "nothing.py", root):
        with pytest.raises(WorkspaceEntryError, match="choose another root or entry"):
            entry_name(entry, root)


def test_modules_come_from_the_folders_of_the_path_that_lie_inside(tmp_path: Path) -> None:
    root = tmp_path / "project"
    touch(root / "scripts" / "run.py", root / "lib" / "x.py", root / "src" / "pkg" / "__init__.py")
    touch(root / ".venv" / "lib" / "python3.11" / "site-packages" / "y.py")
    touch(root / "env" / "lib" / "python3.11" / "site-packages" / "y.py")
    inside = [root / "scripts", root / "lib", root / "scripts", root / ".venv/lib/python3.11/site-packages"]
    path = [str(each) for each in [*inside, root / "env/lib/python3.11/site-packages", root / "gone", "/usr/lib"]]
    assert import_roots(root, path) == ["scripts", "lib"]
    assert import_roots(root, [str(root), *path]) == [".", "scripts", "lib"]
    assert import_roots(root, ["/usr/lib"]) == ["."]
    touch(root / "pyproject.toml")
    assert import_roots(root, path) == ["scripts", "lib", "src"]
    assert import_roots(root, [str(root / "src"), str(root)]) == ["src", "."]


def test_the_empty_entry_of_the_path_is_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert import_roots(tmp_path, [""]) == ["."]


def test_beside_a_program_lie_the_modules_that_it_has_imported(tmp_path: Path) -> None:
    entry = touch(tmp_path / "main.py")
    touch(tmp_path / "one.py", tmp_path / "pkg" / "__init__.py", tmp_path / "space" / "x.py", tmp_path / "far" / "y.py")
    modules = {name: ModuleType(name) for name in ("one", "pkg", "pkg.sub", "space", "y", "builtin")}
    modules["one"].__file__ = str(tmp_path / "one.py")
    modules["pkg"].__file__ = str(tmp_path / "pkg" / "__init__.py")
    modules["space"].__path__ = [str(tmp_path / "space")]
    modules["y"].__file__ = str(tmp_path / "far" / "y.py")
    assert imported_beside(entry, {**sys.modules, **modules}) == ["main.py", "one.py", "pkg", "space"]
    assert imported_beside(tmp_path, modules) == ["one.py", "pkg", "space"]


def test_a_user_without_a_home_has_projects_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locating.os.path, "expanduser", lambda path: path)
    assert project_of(touch(tmp_path / "a" / "main.py")) == Project(tmp_path / "a")
