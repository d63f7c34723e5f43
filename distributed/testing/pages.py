"""Code blocks of the manual, found so that tests can compile and run them; ``tests/large/test_docs.py`` does.

Pages are Markdown. A comment on a line of its own marks the fenced block that follows it:

    <!-- example: NAME -->             the block (with all others of that name, in order) is a script
    <!-- example: NAME beside=OTHER --> the same; the script OTHER, a server, ``cluster`` or ``center`` must be running
    <!-- prints: NAME -->              what that script prints; a last line ``...`` means: and so on, without end
    <!-- session -->                   commands after ``$ `` and their output; ``beside=`` as above
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Example", "Session", "blocks", "examples", "pages", "sessions"]

_MARK = re.compile(r"<!-- (example|prints|session)(?:: (\S+))?(?: beside=(\S+))? -->")
_FENCE = re.compile(r"(```+)(.*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: ``kind`` is example, prints, session or empty when it is not marked; ``line`` is its first."""

    page: Path
    line: int
    language: str
    text: str
    kind: str = ""
    name: str = ""
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A script of a page; ``prints`` is None when the page does not show its output."""

    page: Path
    name: str
    code: str
    prints: str | None
    beside: str


@dataclass(frozen=True, slots=True)
class Session:
    """Commands typed one after the other, each with the output that the page shows."""

    page: Path
    line: int
    commands: tuple[tuple[str, str], ...]
    beside: str


def pages(root: Path) -> list[Path]:
    """Every page that users read, in a fixed order."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page.

    Raises:
        ValueError: a mark with no block below it, or a fence that is not closed.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    mark: re.Match[str] | None = None
    position = 0
    while position < len(lines):
        line, position = lines[position], position + 1
        if found := _MARK.fullmatch(line.strip()):
            mark = found
        elif fence := _FENCE.fullmatch(line):
            start = position
            while position < len(lines) and lines[position] != fence[1]:
                position += 1
            if position == len(lines):
                raise ValueError(f"{page}:{start}: this fence is not closed")
            kind, name, beside = (part or "" for part in mark.groups()) if mark else ("", "", "")
            yield Block(page, start + 1, fence[2].strip(), "\n".join(lines[start:position]) + "\n", kind, name, beside)
            mark, position = None, position + 1
        elif line.strip() and mark:
            raise ValueError(f"{page}:{position}: the mark {mark[0]} has no block below it")


def examples(page: Path) -> dict[str, Example]:
    """The scripts of a page, by name."""
    found: dict[str, Example] = {}
    for block in blocks(page):
        old = found.get(block.name) or Example(page, block.name, "", None, "")
        if block.kind == "example":
            code = f"{old.code}\n\n{block.text}" if old.code else block.text
            found[block.name] = Example(page, block.name, code, old.prints, block.beside or old.beside)
        elif block.kind == "prints":
            found[block.name] = Example(page, block.name, old.code, (old.prints or "") + block.text, old.beside)
    return found


def sessions(page: Path) -> list[Session]:
    """The marked console sessions of a page."""
    return [
        Session(page, block.line, tuple(_commands(block.text)), block.beside)
        for block in blocks(page)
        if block.kind == "session"
    ]


def _commands(text: str) -> Iterator[tuple[str, str]]:
    command, output = "", ""
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        else:
            output += line + "\n"
    if command:
        yield command, output
