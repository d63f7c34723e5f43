"""What the recipes leave behind: a file that ``sha1sum -c`` reads, and lines on the screen."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from distributed.ids import unique_id
from distributed.recipes.digesting import algorithm_of
from distributed.recipes.naming import escaped_line, shown

__all__ = ["Digests", "lines", "print_results", "write_output"]


class Digests(Protocol):
    """What there is to tell: a `Home`, or several as one."""

    @property
    def home_dir(self) -> str:
        """The folder that names are relative to."""

    @property
    def files(self) -> dict[str, str | None]:
        """Digest by name."""

    @property
    def errors(self) -> dict[str, str]:
        """Why there is none, by name."""

    @property
    def state(self) -> dict[str, int]:
        """Counts."""


def lines(home: Digests) -> Iterator[str]:
    """One ``path -> digest`` line per file; None for a file without one, with the reason where there is one."""
    for path, digest in sorted(home.files.items()):
        reason = home.errors.get(path)
        yield f"{shown(path)} -> {digest}" + (f" ({shown(reason)})" if reason else "")
    for path, reason in sorted(home.errors.items()):
        if path not in home.files:  # a folder
            yield f"{shown(path)}: {shown(reason)}"


def print_results(home: Digests, output: Path | None, config: Any = None) -> int:
    """What a master prints in the end, and the exit code: 1 if a file has no digest."""
    for line in lines(home):
        print(line)
    print(f"state: {json.dumps(home.state)}")
    if output is not None:
        print(shown(write_output(home, output, config)))
    print("done", flush=True)
    return 0 if all(home.files.values()) and not home.errors else 1


def write_output(home: Digests, output: Path, config: Any = None) -> str:
    """Write the digests as coreutils do, beside it and renamed; the command that verifies the files.

    Args:
        config: where the settings are; None: `distributed.config`. Of a task of the user's there is no such command.
    """
    temporary = output.with_name(f".{output.name}.{unique_id('tmp')}")
    try:
        with open(temporary, "wb") as file:
            file.writelines(escaped_line(d, os.fsencode(path)) for path, d in sorted(home.files.items()) if d)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    algorithm = algorithm_of(config)
    program = "b2sum" if algorithm == "blake2b" else f"{algorithm}sum"
    place = shlex.quote(os.path.abspath(output))
    folder = f"./{home.home_dir}" if home.home_dir.startswith("-") else home.home_dir  # it would be taken for an option
    return f"cat {place}" if ":" in algorithm else f"cd {shlex.quote(folder)} && {program} -c {place}"
