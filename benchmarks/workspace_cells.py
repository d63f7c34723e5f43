"""Cells of workspaces on the Main's side. With ``--beside`` (see `cells.main`) each is the figure to reach."""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from sides import Plan, Sample, Side

__all__ = ["workspace_changed", "workspace_first", "workspace_rescan"]

FILES, FOLDERS = 1_000, 40
SOURCE = b"def value():\n    return 1\n" * 20


def workspace_first(side: Side, plan: Plan) -> Sample:
    """The first scan of a project of 1,000 small files, nothing remembered; beside: 150 ms."""
    if _is_beside():
        return Sample(150.0, [150.0], 1, 1)
    with _project() as (root, make):
        return _sample([_timed_ms(make(root).scan) for _ in range(5 if plan.is_quick else 15)])


def workspace_rescan(side: Side, plan: Plan) -> Sample:
    """A scan of it after nothing has changed; beside: 15 ms."""
    if _is_beside():
        return Sample(15.0, [15.0], 1, 1)
    with _project() as (root, make):
        workspace = make(root)
        for _ in range(2):
            workspace.scan()
            time.sleep(0.05)  # files that were changed a moment ago are read once more
        return _sample([_timed_ms(workspace.scan) for _ in range(10 if plan.is_quick else 50)])


def workspace_changed(side: Side, plan: Plan) -> Sample:
    """The question whether it has changed, which each call asks; beside: 2 us."""
    if _is_beside():
        return Sample(2.0, [2.0], 1, 1)
    count = 10_000
    with _project() as (root, make):
        workspace = make(root)
        workspace.scan()

        def ask() -> None:
            for _ in range(count):
                if workspace.changed():
                    raise RuntimeError("nothing has changed")

        return _sample([_timed_ms(ask) * 1000 / count for _ in range(5 if plan.is_quick else 20)])


@contextmanager
def _project() -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """A folder with 1,000 files, and what makes a workspace of it; each time without what earlier ones remembered."""
    scanning = importlib.import_module("distributed.workspace.scanning")
    with tempfile.TemporaryDirectory(prefix="workspace-") as name:
        root = Path(name) / "project"
        for number in range(FILES):
            folder = root / f"package{number % FOLDERS}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"module{number}.py").write_bytes(SOURCE + b"# %d\n" % number)
        (root / ".gitignore").write_text("*.log\nbuild/\n/data\n!keep.log\n*.o\ndocs/_build/\n.env*\ndist\n")
        made = 0

        def make(root: Path) -> Any:
            nonlocal made
            made += 1
            os.environ["XDG_CACHE_HOME"] = f"{name}/cache{made}"
            return scanning.Workspace(root)

        time.sleep(0.05)
        yield root, make


def _timed_ms(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1000


def _sample(samples: list[float]) -> Sample:
    return Sample(median(samples), samples, len(samples), len(samples))


def _is_beside() -> bool:
    return "BENCHMARK_BESIDE" in os.environ
