"""Which names of a script no room has."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from distributed.rooms.guarded import guarded_names, names_below_guard
from distributed.rooms.references import Carried, packable

SCRIPT = """
def above(x): return x

class Above:
    def method(self): return 1

if __name__ == "__main__":
    def below(x): return above(x) + 1
    class Below:
        def method(self): return 2
    # a comment at the left

    number: int = 1
    first = second = below
    with open("x") as file:
        try:
            inside = 1
        except ValueError:
            handled = 2
    for turn in range(3):
        async def late(): return 3

def after(): return 4
"""


def test_names_of_the_guards_block_are_found_and_no_others() -> None:
    names = names_below_guard(SCRIPT)
    assert names == {"below", "Below", "number", "first", "second", "inside", "handled", "late"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("", set()),
        ("def f(): pass", set()),
        ("if '__main__' == __name__:\n    f = 1", {"f"}),
        ("if (__name__ == '__main__'): f = 1", {"f"}),
        ("if __name__ == '__main__': f = 1\ng = 2", {"f"}),
        ("x = '''\nif __name__ == '__main__':\n'''\ng = 2", set()),
        ("if __name__ == '__main__'", set()),
    ],
)
def test_guards_of_all_spellings(source: str, names: set[str]) -> None:
    assert names_below_guard(source) == names


def test_what_stands_below_the_guard_travels_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D11: a function and a class that no room has work all the same."""
    path = tmp_path / "guarded.py"
    path.write_text('def above(x): return x\nif __name__ == "__main__":\n    def below(x): return above(x) + 1\n')
    main: Any = ModuleType("__main__")
    main.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile(path.read_text(), str(path), "exec"), main.__dict__)
    assert guarded_names() == {"below"}
    assert not isinstance(packable(main.above, "guarded"), Carried)
    assert isinstance(packable(main.below, "guarded"), Carried)
