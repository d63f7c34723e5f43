"""`distributed.testing.tidy` finds what CONVENTIONS.md forbids, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.testing import tidy


def faults_of(root: Path, files: dict[str, str]) -> list[str]:
    """Faults of a project with these files: ``{name without .py: text}``."""
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""A subject."""\n{text}')
    return tidy.find_faults(root)


BAD = [
    ("distributed/units", "from distributed.core import read", "imports core, which is not above units"),
    ("distributed/units", "from distributed import core", "imports core, which is not above units"),
    ("distributed/units", "import distributed.core", "imports core, which is not above units"),
    ("distributed/core", "import distributed", "imports __init__, which is not above core"),
    ("distributed/worker/a", "from distributed.client import x", "imports client, which is not above worker.a"),
    ("distributed/strange", "", "has no place in the layer list"),
    ("distributed/core", "from . import ids", "relative import"),
    ("distributed/core", "from json import *", "import *"),
    (
        "distributed/core",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json",
        "TYPE_CHECKING hides",
    ),
    ("distributed/core", "def _f():\n    import json", "import of json inside a function"),
    ("distributed/core", "def _f():\n    from distributed.ids import x", "import of distributed.ids.x inside"),
    ("distributed/core", "try:\n    pass\nexcept:\n    raise", "bare except"),
    ("distributed/core", "try:\n    pass\nexcept Exception:\n    pass", "hides our own bugs"),
    ("distributed/core", "try:\n    pass\nexcept (OSError, BaseException):\n    pass", "hides our own bugs"),
    ("distributed/core", "with contextlib.suppress(Exception):\n    pass", "hides our own bugs"),
    ("distributed/core", "def f():\n    return 1", "f is public and has no docstring"),
    ("distributed/core", "class C:\n    '''c'''\n    def m(self):\n        return 1", "C.m is public"),
    ("distributed/core", "def _f():\n" + "    x = 1\n" * 60, "_f: 61 lines without docstring"),
    ("distributed/core", "x = 1\n" * 500, "501 lines"),
    ("distributed/core", "# FIX" + "ME later", "do it, or write it"),
    ("distributed/core", "# TO" + "DO later", "do it, or write it"),
    ("distributed/core", "def (", "is not Python"),
    ("distributed/protocol/codec", "import time", "time in a pure module"),
    ("distributed/scheduler/placement", "from random import choice", "random.choice in a pure module"),
    ("tests/small/test_x", "import time\ndef test_x():\n    time.sleep(1)", "test_x sleeps"),
]

GOOD = [
    ("distributed/core", "from distributed.ids import x\nfrom distributed.comm import y"),
    ("distributed/scheduler/a", "from distributed.scheduler.b import x"),
    ("distributed/scheduler/server", "import time"),
    ("distributed/core", "def _f():\n    import cloudpickle"),
    ("distributed/core", "def _f():\n    '''f\n" + "\n" * 70 + "    '''"),
    ("distributed/core", "class _C:\n    def m(self):\n        return 1"),
    ("distributed/core", "try:\n    pass\nexcept OSError:\n    pass"),
    ("distributed/core", "try:\n    pass\nexcept Exception as error:\n    print(error)"),
    ("distributed/core", "# TO" + "DO(#12): later"),
    ("tests/small/test_x", "import time\ndef test_x():\n    def task():\n        time.sleep(1)\n    run(task)"),
    ("tests/small/test_x", "import time\ndef test_x():\n    run(lambda: time.sleep(1))"),
]


@pytest.mark.parametrize(("name", "code", "fault"), BAD, ids=[f"{fault} ({n})" for n, (_, _, fault) in enumerate(BAD)])
def test_a_fault_is_found(tmp_path: Path, name: str, code: str, fault: str) -> None:
    others = {"distributed/core": "", "distributed/client/__init__": "", "distributed/__init__": ""}
    found = faults_of(tmp_path, {**others, name: code})
    assert [line for line in found if fault in line], found
    assert len(found) == 1, found


@pytest.mark.parametrize(("name", "code"), GOOD)
def test_what_is_allowed_is_no_fault(tmp_path: Path, name: str, code: str) -> None:
    others = {"distributed/ids": "", "distributed/comm/__init__": "", "distributed/scheduler/b": ""}
    assert faults_of(tmp_path, {**others, name: code}) == []


def test_a_circle_of_imports_is_found(tmp_path: Path) -> None:
    files = {
        "distributed/comm/a": "from distributed.comm.b import x",
        "distributed/comm/b": "from distributed.comm.c import x",
        "distributed/comm/c": "import distributed.comm.a",
    }
    assert faults_of(tmp_path, files) == [
        "distributed/comm/a.py:1: imports run in a circle: comm.a -> comm.b -> comm.c -> comm.a"
    ]


def test_a_module_without_docstring_is_found(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text("x = 1\n")
    assert tidy.find_faults(tmp_path) == ["setup.py:1: a module begins with a docstring that names its subject"]


def test_the_command_tells_by_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tidy.main([str(tmp_path)]) == 0
    (tmp_path / "setup.py").write_text("x = 1\n")
    assert tidy.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "tidy"
