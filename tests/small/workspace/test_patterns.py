"""Lines of ignore files, as git reads them; a medium test compares whole trees with git itself."""

from __future__ import annotations

import pytest

from distributed.errors import ConfigError
from distributed.workspace.patterns import compile_lines, compile_pattern, compile_text, decide


@pytest.mark.parametrize(
    ("line", "matching", "others"),
    [
        ("foo", ["foo", "a/foo", "foo/"], ["food", "foo/x"]),
        ("foo/", ["foo/", "a/foo/"], ["foo", "a/foo"]),
        ("/foo", ["foo", "foo/"], ["a/foo"]),
        ("a/foo", ["a/foo"], ["b/a/foo", "foo"]),
        ("*.log", ["x.log", "a/x.log", ".log"], ["x.logs"]),
        ("*", ["x", "a/x", "é"], []),
        ("/*", ["x"], ["a/x"]),
        ("a/*", ["a/x"], ["a/x/y", "a"]),
        ("**/b", ["b", "a/b", "a/c/b"], ["a/bb"]),
        ("a/**", ["a/x", "a/x/y"], ["a", "b/a/x"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "x/a/b"]),
        ("a**b", ["ab", "axb", "x/axxb"], ["a/b"]),
        ("**", ["x", "a/x"], []),
        ("b?", ["bx", "a/bx"], ["b", "b/"]),
        ("[ab]", ["a", "x/b"], ["c", "ab"]),
        ("[!ab]", ["c"], ["a"]),
        ("[^ab]", ["c"], ["a"]),
        ("[a-c]x", ["bx"], ["dx"]),
        ("[]x]", ["]", "x"], ["["]),
        ("[a-]", ["a", "-"], ["b"]),
        (r"[\]]", ["]"], ["\\"]),
        ("[[:digit:]_]", ["5", "_"], ["a"]),
        ("a[/]b", [], ["a/b"]),
        ("a[!x]b", ["a.b"], ["a/b"]),
        (r"\!x", ["!x"], ["x"]),
        (r"\#x", ["#x"], []),
        (r"a\*b", ["a*b"], ["axb"]),
        ("foo   ", ["foo"], ["foo   "]),
        (r"foo\ ", ["foo "], ["foo"]),
        ("sp ace", ["sp ace"], []),
        ("foo.bar", ["foo.bar"], ["fooxbar"]),
        ("a/[x", [], ["a/[x"]),
    ],
)
def test_a_line_matches_as_git_matches_it(line: str, matching: list[str], others: list[str]) -> None:
    pattern = compile_pattern(line)
    for path in (*matching, *others):
        plain = path.removesuffix("/")
        found = pattern is not None and pattern.matches(plain, plain.rpartition("/")[2], path.endswith("/"))
        assert found is (path in matching), path


@pytest.mark.parametrize("line", ["", "   ", "#c", "!", "/", "\\", "[", "[a", "x[!", "[[:what:]]"])
def test_a_line_that_is_no_pattern_matches_nothing(line: str) -> None:
    assert compile_pattern(line) is None


def test_the_last_line_that_matches_decides() -> None:
    patterns = compile_text("*.log\r\n!keep.log\n\n# a comment\n/keep.log\n")
    assert decide(patterns, "x.log", "x.log", False) is True
    assert decide(patterns, "a/keep.log", "keep.log", False) is False
    assert decide(patterns, "keep.log", "keep.log", False) is True
    assert decide(patterns, "x", "x", False) is None
    assert compile_text("\ufefffoo")[0].name == "foo"


def test_a_wrong_line_of_an_argument_is_an_error() -> None:
    with pytest.raises(ConfigError, match="exclude='\\['"):
        compile_lines(("a", "["), "exclude")
