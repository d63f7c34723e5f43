"""Writes what users notice into CHANGELOG.md, from the notes in ``docs/changes``.

Run as ``python -m distributed.testing.changelog [ROOT]``. The newest section, which is not released yet, is written
anew from all notes; older ones stay as they are. At a release its title gets the date, and the notes are deleted.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from distributed.versions import VERSION

__all__ = ["main", "section", "with_section"]

KINDS = {"break": "What has to be changed", "feature": "New", "fix": "Mended", "doc": "Manual"}


def section(notes: dict[str, str], version: str) -> str:
    """The section of `version`.

    Args:
        notes: texts by file name, such as ``tls.feature.md``.
    """
    lines = [f"## {version} (not yet released)", ""]
    for kind, title in KINDS.items():
        texts = [text for name, text in sorted(notes.items()) if name.endswith(f".{kind}.md")]
        if texts:
            lines += [f"### {title}", ""]
            lines += [f"- {_indented(text)}" for text in texts]
            lines.append("")
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(line if not number or not line else f"  {line}" for number, line in enumerate(text.splitlines()))


def with_section(changelog: str, new: str) -> str:
    """`changelog` with `new` in the place of its section that is not released, or before all others."""
    head, *sections = re.split(r"(?m)^(?=## )", changelog)
    released = [one for one in sections if "(not yet released)" not in one.partition("\n")[0]]
    return head + "\n".join([new, *released])


def main(arguments: list[str] | None = None) -> int:
    """Write the file."""
    root = Path((arguments if arguments is not None else sys.argv[1:] or ["."])[0])
    notes = {path.name: path.read_text().strip() for path in (root / "docs" / "changes").glob("*.md")}
    path = root / "CHANGELOG.md"
    path.write_text(with_section(path.read_text(), section(notes, VERSION)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
