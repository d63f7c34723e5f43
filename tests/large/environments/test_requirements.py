"""A project with requirements runs in rooms that have them, and one with others beside it; failures reach the call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.process.fresh import import_paths
from distributed.testing.environments import offer_of, write_wheel

PROGRAM = """
import sys
from distributed.crews.main import Main
from distributed.crews.options import MainSettings

def size():
    import pebble
    return pebble.SIZE, sys.prefix

if __name__ == "__main__":
    main = Main(MainSettings(workers=(sys.argv[1],), requirements=sys.argv[2], timeout_s=30))
    try:
        print(*main.submit(size).future(30).result(30))
    except Exception as error:
        print(type(error).__name__, error)
    finally:
        main.close()
"""


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an offer that installs from a folder of wheels only."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("offer")
    for size in (1, 2):
        write_wheel(wheels, "pebble", f"{size}.0", {"pebble.py": f"SIZE = {size}\n"})
    with offer_of(sys.executable, folder, wheels) as address:
        yield address


def run(folder: Path, offer: str, requirements: str) -> str:
    folder.mkdir()
    (folder / ".distributedignore").touch()
    (folder / "requirements.txt").write_text(requirements)
    (folder / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py", offer, "requirements.txt"], cwd=folder, capture_output=True, text=True,
        timeout=60, env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    return done.stdout or done.stderr


def test_projects_have_what_they_require_side_by_side(offer: str, tmp_path: Path) -> None:
    one, two = run(tmp_path / "one", offer, "pebble<2"), run(tmp_path / "two", offer, "pebble>=2  # newer")
    assert one.startswith("1 "), one
    assert two.startswith("2 "), two
    assert one.split()[1] != two.split()[1] != sys.prefix


def test_a_package_that_does_not_exist_fails_the_call_with_the_installers_words(offer: str, tmp_path: Path) -> None:
    told = run(tmp_path / "project", offer, "granite")
    assert "EnvironmentBuildError" in told
    assert "granite" in told.partition("could not be built")[2]
