"""What tests of workspaces share: a cache of their own, and a project to try things on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distributed.workspace.remembering import RACY_LOCAL_NS


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test may touch the caches of the user who runs it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project."""
    root = tmp_path / "project"
    for path, text in {
        "main.py": "import helpers\n",
        "helpers.py": "x = 1\n",
        "pkg/__init__.py": "",
        "pkg/deep/mod.py": "y = 2\n",
        "data/table.csv": "1,2\n",
        ".gitignore": "*.log\n/data/\n",
    }.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


@pytest.fixture
def settle() -> Callable[[Path], None]:
    """``settle(folder)``: wait until its files were left alone so long that their times tell of any change."""

    def wait(folder: Path) -> None:
        last_ns = max(path.lstat().st_ctime_ns for path in [folder, *folder.rglob("*")])
        while time.time_ns() <= last_ns + RACY_LOCAL_NS:
            time.sleep(0.002)

    return wait
