"""Random edits of a project: whoever asks is told of all that counts, and a scan finds what a first look would find."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from distributed.errors import WorkspaceFileError
from distributed.workspace.scanning import Workspace
from distributed.workspace.watching import is_watchable

NAMES = ["a", "b.py", "c.log", "d", "e.pyc", "__pycache__"]
LINES = ["*.log", "a/", "/d", "!c.log", "b.py", "d/**", "!/d/a"]


def edit(chance: random.Random, root: Path, aside: Path) -> str:
    """Do something to a random path, if it can be done."""
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    folder = chance.choice(folders)
    path, other = folder / chance.choice(NAMES), chance.choice(folders) / chance.choice(NAMES)
    act = chance.choice(["write", "write", "same", "mkdir", "delete", "rename", "chmod", "link", "ignore", "out", "in"])
    try:
        if act == "write":
            path.write_text(str(chance.randrange(3)))
        elif act == "same" and path.is_file():
            status = path.stat()
            path.write_text(path.read_text()[::-1])
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif act == "mkdir":
            path.mkdir()
        elif act == "delete":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif act == "rename":
            path.rename(other)
        elif act == "chmod":
            path.chmod(chance.choice([0o644, 0o755]))
        elif act == "link":
            path.symlink_to(chance.choice(NAMES))
        elif act == "ignore":
            name = chance.choice([".gitignore", ".distributedignore"])
            (folder / name).write_text("\n".join(chance.choices(LINES, k=2)) + "\n")
        elif act == "out":
            path.rename(aside / str(len(os.listdir(aside))))
        elif act == "in" and os.listdir(aside):
            (aside / chance.choice(sorted(os.listdir(aside)))).rename(path)
    except OSError:
        return f"{act} failed"
    return f"{act} {path.relative_to(root)} {other.relative_to(root)}"


def outcome(workspace: Workspace) -> str:
    """The id, or what is wrong."""
    try:
        return workspace.scan().id
    except WorkspaceFileError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.filterwarnings("ignore::distributed.errors.WorkspaceWarning")
def test_no_edit_is_missed(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D08: after each edit `changed` is asked, and the scan compared with that of a workspace that knows nothing."""
    if not is_watchable(str(tmp_path)):
        pytest.skip("the temporary folder is not on a local file system of Linux")
    chance = random.Random(seed)
    root, aside = tmp_path / "root", tmp_path / "aside"
    root.mkdir()
    aside.mkdir()
    options = {"include": ["d/*.log"], "exclude": ["/a/b.py"]} if seed % 2 else {}
    workspace = Workspace(root, **options)
    last, done = outcome(workspace), []
    for number in range(60):
        done.append(edit(chance, root, aside))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache" / str(number)))
        fresh = Workspace(root, **options)
        wanted = outcome(fresh)
        fresh.close()
        assert wanted == last or workspace.changed(), done
        if chance.random() < 0.7:
            if workspace.changed():
                last = outcome(workspace)
            assert last == wanted, done
