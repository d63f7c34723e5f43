"""The rows of the project's checklist for the faces: each names a feature, and has a test of its own that begins with it.

H: hashing over HTTP · M: manager and workers · P: Center, Pool and Cluster · F25, F26: scripts and JSON of the engine ·
X: across all of them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROWS = [
    *(f"H{number:02}" for number in range(1, 26)),
    *(f"M{number:02}" for number in range(1, 19)),
    *(f"P{number:02}" for number in range(1, 18)),
    *("F25", "F26", "X01", "X05", "X06"),
]
ROW = re.compile(r"\b([HMPFX]\d\d)\b")


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
