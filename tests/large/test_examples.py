"""Every script in examples/ does what its first line says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from distributed.testing.environments import offer_of, other_python, write_wheel

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(folder: Path, name: str, *arguments: str) -> str:
    """What an example prints, with a key of its own."""
    environment = {
        "DISTRIBUTED_KEY_FILE": str(folder / "key"),
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder),
    }
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_listed_and_tested_here() -> None:
    scripts = sorted(str(path.relative_to(EXAMPLES)) for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/*.py")])
    listing = (EXAMPLES / "README.md").read_text()
    assert scripts == [
        *("books/count.py", "chat.py", "edit_and_call.py", "primes.py", "retries.py", "sleep_sum.py", "word_count.py")
    ]
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


def test_the_documents_program_sums_and_sleeps(tmp_path: Path) -> None:
    assert run(tmp_path, "sleep_sum.py", "4") == "[1, 3, 5, 7]\n"


def test_an_edited_module_is_called_without_a_restart(tmp_path: Path) -> None:
    lines = run(tmp_path, "edit_and_call.py").splitlines()
    assert lines[:2] == ["before: 300", "after: 270"]
    assert lines[2].startswith("edit to result: ")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one package that ``books`` needs, as far as it needs it, where installers are told to look."""
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "roman", "4.2", {"roman.py": "def toRoman(number):\n    return 'I' * number\n"})
    return folder


@pytest.fixture
def two_workers(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[tuple[str, list[str]]]:
    """Offers of this and of another version of Python, and what both are."""
    other = other_python(tmp_path_factory.mktemp("other") / "venv")
    if other is None:
        pytest.skip("this machine has one minor version of Python only")
    minors = [
        subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True).stdout
        for python in (sys.executable, other)
    ]
    with ExitStack() as stack:
        addresses = [
            stack.enter_context(offer_of(python, tmp_path_factory.mktemp("offer"), wheels))
            for python in (sys.executable, other)
        ]
        yield ",".join(addresses), sorted(minor.decode().strip() for minor in minors)


def test_a_project_with_a_dependency_runs_through_workers_of_two_versions_of_python(
    two_workers: tuple[str, list[str]], tmp_path: Path
) -> None:
    addresses, minors = two_workers
    assert run(tmp_path, "books/count.py", "--workers", addresses).splitlines() == [
        *("chapter I: 5 words", "chapter II: 8 words", "chapter III: 2 words", "the 6, cat 2, saw 2"),
        f"run by Python {' and '.join(minors)}",
        "as it should be: chapter 4 has no words",
    ]


def test_a_project_with_a_dependency_runs_on_workers_of_its_own(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = {"PIP_FIND_LINKS": str(wheels), "UV_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "book.txt").write_text("# one\nto be or not to be\n")
    lines = run(tmp_path, "books/count.py", str(tmp_path / "book.txt")).splitlines()
    assert lines[:2] == ["chapter I: 6 words", "to 2, be 2, or 1"]
