"""Names that a script binds below ``if __name__ == "__main__":``: no room has them, so they travel by value."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

__all__ = ["guarded_names", "names_below_guard"]

ONLY_AST = 0x400  # ast.PyCF_ONLY_AST, without 5 ms for importing `ast`
SOURCE_NBYTES_MAX = 4 * 2**20  # of a script that is looked at

_MAIN = r"(?:'__main__'|\"__main__\")"
_GUARD = re.compile(rf"^if\s*\(?\s*(?:__name__\s*==\s*{_MAIN}|{_MAIN}\s*==\s*__name__)", re.MULTILINE)
_OUTSIDE = re.compile(r"^[^\s#]", re.MULTILINE)


def guarded_names() -> frozenset[str]:
    """Of the program that runs. Its file is read once."""
    return _of_file(getattr(sys.modules["__main__"], "__file__", None))


@cache
def _of_file(path: str | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    try:
        with open(path, encoding="utf-8") as file:
            return names_below_guard(file.read(SOURCE_NBYTES_MAX))
    except (OSError, UnicodeDecodeError):  # no file, or none of text: nothing is known to be below
        return frozenset()


def names_below_guard(source: str) -> frozenset[str]:
    """Functions, classes and variables that the guard's block binds; only this block is parsed."""
    names: set[str] = set()
    for guard in _GUARD.finditer(source):
        line_end = source.find("\n", guard.end()) + 1
        outside = _OUTSIDE.search(source, line_end) if line_end else None
        block = source[guard.start() : outside.start() if outside else len(source)]
        try:
            tree = compile(block, "<guard>", "exec", ONLY_AST)
        except (SyntaxError, ValueError):  # a text of several lines that begins like a guard
            continue
        names.update(_bound(getattr(tree, "body", ())))
    return frozenset(names)


def _bound(body: Iterable[Any]) -> Iterator[str]:
    """Names that statements bind, with those inside of other blocks, but not inside of functions and classes."""
    for statement in body:
        kind = type(statement).__name__
        if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
            yield statement.name
        elif kind in ("Assign", "AnnAssign"):
            targets = statement.targets if kind == "Assign" else [statement.target]
            yield from (target.id for target in targets if type(target).__name__ == "Name")
        else:
            for part in ("body", "orelse", "finalbody", "handlers"):
                inner = getattr(statement, part, ())
                yield from _bound(inner if part != "handlers" else [each for h in inner for each in h.body])
