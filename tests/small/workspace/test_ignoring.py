"""What of a project belongs to its workspace, as far as names decide it."""

from __future__ import annotations

import pytest

from distributed.errors import ConfigError
from distributed.workspace.ignoring import Includes, Rules, is_built_in


@pytest.mark.parametrize(
    "name", [".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", "x.egg-info", ".tox"]
)
def test_folders_of_tools_are_left_out(name: str) -> None:
    assert is_built_in(name, True)
    assert Rules.top(("", "")).leaves_out(name, True)


@pytest.mark.parametrize("name", ["x.pyc", "a.py~", ".a.py.swp", ".#a.py", ".~lock.a.ods#", "a.ipynb", ".DS_Store"])
def test_files_of_tools_are_left_out(name: str) -> None:
    assert is_built_in(name, False)
    assert not Rules.top((f"!{name}", "")).leaves_out(name, False)


@pytest.mark.parametrize(
    ("name", "is_folder"), [("x.pyc", True), ("x.egg-info", False), ("env", True), ("build", True)]
)
def test_what_only_looks_like_it_is_not(name: str, is_folder: bool) -> None:
    assert not is_built_in(name, is_folder)


def test_distributedignore_beats_gitignore_and_the_built_in_list() -> None:
    rules = Rules.top(("!keep\n!.tox\n!.git\nsecret\n", "keep\nother\n!secret\n"))
    assert not rules.leaves_out("keep", False)
    assert not rules.leaves_out(".tox", True)
    assert rules.leaves_out("other", False)
    assert rules.leaves_out("secret", False)
    assert rules.leaves_out(".git", True)


def test_gitignore_does_not_bring_back_what_tools_made() -> None:
    assert Rules.top(("", "!__pycache__\n!*.pyc\n")).leaves_out("x.pyc", False)


def test_the_deepest_ignore_file_is_asked_first() -> None:
    top = Rules.top(("", "*.log\n/sub/x\n"))
    below = top.below("sub", ("", "!keep.log\n/only\n"))
    assert below.leaves_out("x.log", False)
    assert not below.leaves_out("keep.log", False)
    assert below.leaves_out("x", False)
    assert below.leaves_out("only", False)
    assert not below.below("deeper", ("", "")).leaves_out("only", False)
    assert not below.below("deeper", ("", "")).leaves_out("keep.log", False)
    assert not top.leaves_out("only", False)


def test_ignore_files_above_the_root_count_from_where_they_are() -> None:
    rules = Rules.top(("", ""), [("project/", "/project/data\n/other\n*.tmp\n")])
    assert rules.leaves_out("data", True)
    assert rules.leaves_out("x.tmp", False)
    assert not rules.leaves_out("other", False)


def walk(patterns: list[str], path: str) -> tuple[bool, bool]:
    """Whether a path is matched, or something above it; and whether anything below it may be."""
    includes = Includes(patterns)
    states = includes.start
    found = False
    for part in path.split("/"):
        states, whole = includes.step(states, part)
        found = found or bool(whole)
    return found, bool(states)


@pytest.mark.parametrize(
    ("patterns", "path", "answer"),
    [
        (["a/b"], "a", (False, True)),
        (["a/b"], "a/b", (True, False)),
        (["a/b"], "a/c", (False, False)),
        (["./a/b/"], "a/b", (True, False)),
        (["a/*.csv"], "a/x.csv", (True, False)),
        (["a/**/x"], "a/x", (True, True)),
        (["a/**/x"], "a/b/c/x", (True, True)),
        (["**/x"], "a", (False, True)),
        (["a/**"], "a/b", (True, True)),
        (["a", "b/c"], "b/c", (True, False)),
        (["[ab]/c"], "b/c", (True, False)),
    ],
)
def test_includes_are_matched_on_the_way_down(patterns: list[str], path: str, answer: tuple[bool, bool]) -> None:
    assert walk(patterns, path) == answer


@pytest.mark.parametrize("pattern", ["", "/abs", "../x", "a/../b", "."])
def test_an_include_stays_inside(pattern: str) -> None:
    with pytest.raises(ConfigError, match="include="):
        Includes([pattern])


def test_only_what_names_one_thing_is_missed() -> None:
    includes = Includes(["a/b", "c/*.x", "d"])
    assert includes.missing({2}) == ["a/b"]
