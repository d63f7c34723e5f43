"""One seed gives one trace: in every process, whatever its hashes, and on every Python that is found here."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

ROOT = Path(__file__).parents[3]
VERSIONS = ("3.12", "3.13", "3.14")
PRINT_TRACES = """
from distributed.testing.simulation.simulate import simulate
for seed in range(20, 32):
    print(simulate(seed).trace)
"""


def traces(python: str, hash_seed: str, folder: Path) -> str:
    """What this interpreter prints; msgpack may lack its compiled part there, which changes nothing but the time."""
    link = folder / "msgpack"
    if not link.exists():
        link.symlink_to(Path(msgpack.__file__).parent)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([python, "-c", PRINT_TRACES], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpreter(version: str) -> str | None:
    """A Python of this version, on the path or beside the one that runs here."""
    beside = glob.glob(str(Path(sys.base_prefix).parent / f"{version}.*" / "bin" / "python3"))
    for python in [f"python{version}", *sorted(beside)]:
        try:
            asked = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
        except OSError:
            continue
        if asked.stdout.startswith(version):
            return python
    return None


def test_hashes_of_texts_do_not_matter(tmp_path: Path) -> None:
    first = traces(sys.executable, "1", tmp_path)
    assert len(set(first.split())) == 12
    assert traces(sys.executable, "4711", tmp_path) == first


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_of_python_do_not_matter(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    assert traces(python, "0", tmp_path) == traces(sys.executable, "0", tmp_path)
