"""The checklist of the faces: each row names a feature, and has a test of its own that begins with it.

H: hashing over HTTP · M: manager and workers · P: Center, Pool and Cluster · D: the decorator ·
F25, F26: scripts and JSON of the engine · X: across all of them.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from distributed.testing import pages

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ROWS = [
    *(f"H{number:02}" for number in range(1, 26)),
    *(f"M{number:02}" for number in range(1, 19)),
    *(f"P{number:02}" for number in range(1, 18)),
    *(f"D{number:02}" for number in range(1, 23)),
    *("F25", "F26", "X01", "X05", "X06"),
]
ROW = re.compile(r"\b([HMPDFX]\d\d)\b")


def rows_with_tests() -> set[str]:
    """Rows that the docstring of a test begins with, several of them with a colon after the last."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                found.update(ROW.findall((ast.get_docstring(node) or "").partition(":")[0]))
    return found


HAVE = rows_with_tests()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_its_own_test(row: str) -> None:
    assert row in HAVE


# By document that the project began with: where it is told again, and the heading above its corrections.
PAGES = {
    "hashing over HTTP": ("recipes.md", "What is different from the first version"),
    "hashing over HTTP, pull": ("pull.md", "What is different from the first version"),
    "manager and workers": ("manager.md", "What this corrects"),
    "center, pool and cluster": ("center-and-pool.md", "Where this differs from the first Pool"),
    "foundations": ("foundations.md", "What this corrects"),
    "the decorator": ("decorator.md", "What this corrects"),
}


@pytest.mark.parametrize("document", PAGES)
def test_a_page_tells_a_document_again_with_its_corrections(document: str) -> None:
    """X05: each seed's document is a page whose examples are run, and which notes what it corrects."""
    name, heading = PAGES[document]
    page = ROOT / "docs" / name
    assert pages.examples(page) or list(pages.sessions(page)), "tests/large/test_docs.py has nothing to run"
    assert f"\n## {heading}\n" in page.read_text()
    assert f"\n{page.stem}\n" in (ROOT / "docs" / "index.md").read_text()


CHAPTERS = {  # of the first document that were headings only, and what they tell
    "2. Protocols": ("The wire", "Identity", "From a call to its result", "Redistribution"),
    "3. Concerns": ("Trust", "Failure", "Fairness", "What is not guaranteed"),
}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_that_the_first_document_left_empty_is_written(chapter: str) -> None:
    """D22: the chapters Protocols and Concerns, in the manual."""
    text = (ROOT / "docs" / "concepts.md").read_text().partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    sections = {section.partition("\n")[0]: section for section in text.split("\n### ")[1:]}
    assert tuple(sections) == CHAPTERS[chapter]
    assert all(len(section) > 400 for section in sections.values())
    assert "\nconcepts\n" in (ROOT / "docs" / "index.md").read_text()


# Cells of the benchmarks, by what they measure beside the original or the best rival.
CELLS = {
    "hashing over HTTP": ("pull_small", "pull_large"),
    "manager and workers": ("manager_slices", "manager_messages"),
    "the decorator": ("decorated_calls", "decorated_first"),
    "center and pool": ("center_pool", "pool_map_million", "pool_map_10k"),
    "foundations": ("rpc_latency", "rpc_in_flight"),
    "engine": ("map_100k", "latency"),
}


@pytest.mark.parametrize("system", CELLS)
def test_each_system_has_cells_in_the_benchmarks(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """X06: each system is measured beside its original or its best rival."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "catalogue", raising=False)
    from catalogue import CELLS as cells

    targets = {cell.name: cell.target for cell in cells}
    assert all(name in targets for name in CELLS[system])
    assert any(targets[name] is not None for name in CELLS[system])
