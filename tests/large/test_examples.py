"""Every script in examples/ does what its first line says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(folder: Path, name: str, *arguments: str) -> str:
    """What an example prints, with a key of its own."""
    environment = {**os.environ, "DISTRIBUTED_KEY_FILE": str(folder / "key"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_listed_and_tested_here() -> None:
    scripts = sorted(path.name for path in EXAMPLES.glob("*.py"))
    listing = (EXAMPLES / "README.md").read_text()
    assert scripts == ["chat.py", "primes.py", "retries.py", "word_count.py"]
    assert [script for script in scripts if f"`{script}`" not in listing] == []


def test_a_chat_is_heard_by_all_listeners(tmp_path: Path) -> None:
    assert run(tmp_path, "chat.py").splitlines()[-3:] == ["2 heard it", *["alan: can machines think?"] * 2]


def test_words_are_counted_over_all_files(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text("one two two\n" * (number + 1))
    lines = run(tmp_path, "word_count.py", str(tmp_path), "--glob", "*.txt").splitlines()
    assert [line.split() for line in lines[-2:]] == [["156", "two"], ["78", "one"]]


def test_pages_come_in_spite_of_failures(tmp_path: Path) -> None:
    printed = run(tmp_path, "retries.py")
    assert printed.startswith("19 pages came")
    assert "LookupError('there is no page 13')" in printed


@pytest.mark.parametrize("style", ["loop", "subclass"])
def test_primes_are_found_by_local_and_remote_workers(tmp_path: Path, style: str) -> None:
    """M14: document's prime example (minimally corrected) in both styles, 100 000 numbers."""
    assert run(tmp_path, "primes.py", "--style", style).splitlines()[-1] == "9592 of 100000 numbers are prime"


@pytest.mark.parametrize("style", ["loop", "subclass"])
def test_primes_are_found_though_a_worker_is_killed(tmp_path: Path, style: str) -> None:
    """M15: worker killed mid-task → chunk redone."""
    options = ("--style", style, "--kill-one", "--numbers", "20000", "--local", "1")
    lines = run(tmp_path, "primes.py", *options).splitlines()
    assert lines[-1] == "2262 of 20000 numbers are prime"
    assert sum("died, its numbers are looked at again" in line for line in lines) == 1


@pytest.mark.parametrize("name", ["retries.py", "word_count.py"])
def test_an_example_tells_how_it_is_used(tmp_path: Path, name: str) -> None:
    assert "--address" in run(tmp_path, name, "--help")
