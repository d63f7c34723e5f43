"""The lines of an ignore file, as git reads them: what a pattern matches is the thing itself, never what lies below it.

A pattern with a slash at its beginning or in its middle is matched with the whole path below the folder of its file,
any other one with the last part. ``*``, ``?`` and ``[...]`` stay within a part; ``**`` as a whole part is any number
of parts. A slash at the end: only folders. ``!`` at the beginning: what matches is no longer left out. Most lines are
plain names or endings, for which no regular expression is made.
"""

from __future__ import annotations

import functools
import re

from distributed.dataclass import dataclass
from distributed.errors import ConfigError

__all__ = ["Pattern", "compile_pattern", "compile_text", "decide"]

_SPECIAL = re.compile(r"[*?\[\\]")
_CLASS_NAMES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \\t", "cntrl": "\\x00-\\x1f\\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z", "xdigit": "0-9a-fA-F",
}  # fmt: skip


@dataclass(slots=True, frozen=True)
class Pattern:
    """One line.

    Attributes:
        leaves_out: False: the line begins with ``!``.
        is_for_folders: it matches nothing else.
        name, ending, regex: one of them is not None: the last part is that, or ends so, or the path matches.
    """

    leaves_out: bool
    is_for_folders: bool
    name: str | None = None
    ending: str | None = None
    regex: re.Pattern[str] | None = None

    def matches(self, path: str, name: str, is_folder: bool) -> bool:
        """Whether it matches the thing at `path`, relative to the folder of its file; `name` is its last part."""
        if self.is_for_folders and not is_folder:
            return False
        if self.name is not None:
            return name == self.name
        if self.ending is not None:
            return name.endswith(self.ending)
        return self.regex is not None and self.regex.fullmatch(path) is not None


def decide(patterns: tuple[Pattern, ...], path: str, name: str, is_folder: bool) -> bool | None:
    """Whether the patterns of a file leave a thing out; None: none of them matches it."""
    for pattern in patterns:
        if pattern.matches(path, name, is_folder):
            return pattern.leaves_out
    return None


@functools.lru_cache(maxsize=256)
def compile_text(text: str) -> tuple[Pattern, ...]:
    """The patterns of an ignore file, last line first: the first that matches decides.

    A line that is no pattern matches nothing, as with git.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    patterns = (compile_pattern(line.removesuffix("\r")) for line in reversed(lines))
    return tuple(pattern for pattern in patterns if pattern is not None)


def compile_lines(lines: tuple[str, ...], setting: str) -> tuple[Pattern, ...]:
    """Likewise of the lines that the argument `setting` has.

    Raises:
        ConfigError: one of them is no pattern.
    """
    patterns = []
    for line in reversed(lines):
        pattern = compile_pattern(line)
        if pattern is None:
            raise ConfigError(setting, line, "write patterns as in a .gitignore")
        patterns.append(pattern)
    return tuple(patterns)


def compile_pattern(line: str) -> Pattern | None:
    """The pattern of one line; None: it is empty, a comment, or matches nothing."""
    text = _without_spaces_at_the_end(line)
    leaves_out = not text.startswith("!")
    if text.startswith("#"):
        return None
    text = text if leaves_out else text[1:]
    is_for_folders = text.endswith("/")
    text = text[:-1] if is_for_folders else text
    if not text:
        return None
    if "/" not in text:
        if not _SPECIAL.search(text):
            return Pattern(leaves_out, is_for_folders, name=text)
        if text[0] == "*" and not _SPECIAL.search(text[1:]):
            return Pattern(leaves_out, is_for_folders, ending=text[1:])
        text = f"**/{text}"
    source = _regex_of(text.removeprefix("/"))
    if source is None:
        return None
    return Pattern(leaves_out, is_for_folders, regex=re.compile(source, re.DOTALL))


def _without_spaces_at_the_end(line: str) -> str:
    end = len(line)
    while end and line[end - 1] == " ":
        backslashes = len(line[: end - 1]) - len(line[: end - 1].rstrip("\\"))
        if backslashes % 2:
            break
        end -= 1
    return line[:end]


def _regex_of(text: str) -> str | None:
    """The regular expression of a pattern that is matched with a path; None: it matches nothing."""
    made: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "*":
            end = position
            while end < len(text) and text[end] == "*":
                end += 1
            is_part = (
                end - position > 1 and text[position - 1 : position] in ("", "/") and text[end : end + 1] in ("", "/")
            )
            if is_part and end == len(text):
                made.append(".+")
            elif is_part:
                made.append("(?:.+/)?")
                end += 1  # the slash after it
            else:
                made.append("[^/]*")
            position = end
        elif character == "?":
            made.append("[^/]")
            position += 1
        elif character == "[":
            found = _class_of(text, position + 1)
            if found is None:
                return None
            source, position = found
            made.append(source)
        else:
            if character == "\\":
                position += 1
                if position == len(text):
                    return None
            made.append(re.escape(text[position]))
            position += 1
    return "".join(made)


def _class_of(text: str, position: int) -> tuple[str, int] | None:
    """The regular expression of the ``[...]`` whose content begins at `position`, and where it ends; None: nowhere."""
    is_negated = text[position : position + 1] in ("!", "^")
    position += is_negated
    members: list[str] = []
    is_first = True
    before: str | None = None  # a single character, with which a range may begin
    while position < len(text) and (is_first or text[position] != "]"):
        is_first = False
        if text.startswith("[:", position) and (end := text.find(":]", position + 2)) >= 0:
            members.append(_CLASS_NAMES.get(text[position + 2 : end], ""))
            before, position = None, end + 2
            if not members[-1]:
                return None
            continue
        is_range = text[position] == "-" and before is not None and text[position + 1 : position + 2] not in ("", "]")
        position += is_range
        if text[position] == "\\":
            position += 1
        if position >= len(text):
            return None
        last = text[position]
        position += 1
        if is_range and before is not None:
            members[-1] = f"{re.escape(before)}-{re.escape(last)}" if before <= last else ""
            before = None
        else:
            members.append(re.escape(last))
            before = last
    if position >= len(text):
        return None
    content = "".join(members)
    if is_negated:
        return f"[^/{content}]", position + 1
    return (f"(?!/)[{content}]" if content else "(?!)"), position + 1
