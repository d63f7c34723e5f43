"""A Main and an offer of different minor versions of Python, where there are two: what works, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.environments.builder import Environments
from distributed.environments.spec import EnvironmentSpec
from distributed.process.fresh import import_paths
from distributed.testing.environments import offer_of, other_python

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"

HELPERS = """
import sys

class Point:
    def __init__(self, x):
        self.x = x

class Odd(Exception):
    pass

def where(point):
    return sys.version_info[:2], Point(point.x + 1)

def fail():
    raise Odd("here")

def give_code():
    return lambda: 5
"""

MAIN = """
import sys
import helpers
from distributed.crews.main import Main
from distributed.crews.options import MainSettings

def of_main(x):
    return sys.version_info[:2], x

if __name__ == "__main__":
    main = Main(MainSettings(workers=(sys.argv[1],), timeout_s=20))

    def tell(function, *args):
        try:
            print(function.__name__, main.submit(function, args).future(20).result(20))
        except Exception as error:
            print(function.__name__, type(error).__name__, error)

    try:
        minor, point = main.submit(helpers.where, (helpers.Point(1),)).future(20).result(20)
        print("where", minor, type(point) is helpers.Point, point.x)
        tell(of_main, 3)
        tell(helpers.fail)
        tell(lambda: 5)
        tell(helpers.give_code)
    finally:
        main.close()
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another minor version that has this package."""
    python = other_python(tmp_path_factory.mktemp("other") / "venv")
    if python is None:
        pytest.skip("this machine has one minor version of Python only")
    return python


@pytest.fixture
def offer(other: str, tmp_path: Path) -> Iterator[str]:
    """Address of an offer that the other version serves."""
    with offer_of(other, tmp_path) as address:
        yield address


async def test_an_offer_prefers_the_minor_version_of_the_main(other: str, tmp_path: Path) -> None:
    environments = Environments(tmp_path, pythons=[other])
    minors = await environments.minors()
    theirs = next(minor for minor in minors if minor != OWN)
    assert list(minors) == [OWN, theirs]
    found = [(await environments.get(EnvironmentSpec(python=minor))).minor for minor in (OWN, theirs, "3.99", "")]
    assert found == [OWN, theirs, OWN, OWN]
    environments.close()


def test_a_main_uses_an_offer_of_another_minor_version_by_name_only(offer: str, other: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".distributedignore").touch()
    (project / "helpers.py").write_text(HELPERS)
    (project / "program.py").write_text(MAIN)
    done = subprocess.run(
        [sys.executable, "program.py", offer], cwd=project, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    theirs = subprocess.run([other, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True)
    there = theirs.stdout.strip()
    assert lines[0] == f"where {there} True 2", done.stdout + done.stderr
    assert lines[1] == f"of_main ({there}, 3)"
    assert lines[2] == "fail Odd here"
    assert lines[3].startswith(f"<lambda> PythonMismatchError <lambda> cannot go from Python {OWN} to Python 3.")
    assert "PythonMismatchError" in lines[4]
    assert f"to Python {OWN}" in lines[4]
