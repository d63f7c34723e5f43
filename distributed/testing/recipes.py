"""What tests of the recipes are made of: settings of their own, folders with odd names, servers in this process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distributed import config
from distributed.web.guard import GuardedApplication
from distributed.web.listening import listen, port_of

__all__ = ["ODD_NAMES", "die_on_4", "hang", "made_folder", "refuse_4", "serving", "some_settings"]

ODD_NAMES = [
    b"plain", b"with space", b" leading", b"trailing ", b"-dash", b"new\nline", b"back\\slash", b"return\rhere",
    b"not utf-8 \xff\xfe", "ümläut ✓".encode(), b"tab\tand\x01control", b"quote'\"`$(x)", b"100%25",
    b"a+b&c=d;e?f#g", b"...", b"l" * 255,
]  # fmt: skip


def some_settings(**values: Any) -> Any:
    """The settings of the recipes, some of them others."""
    given = {name: getattr(config, name) for name in dir(config) if name.isupper()}
    return SimpleNamespace(**{**given, "WORKERS": [], **values})


def made_folder(folder: Path, contents: dict[bytes, bytes]) -> Path:
    """A folder with these files, made if it is missing."""
    for name, content in contents.items():
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return folder


@asynccontextmanager
async def serving(app: GuardedApplication, port: int | None = 0, **keywords: Any) -> AsyncIterator[int]:
    """Serves `app` on a free port, which is given."""
    server = listen(app, port, **keywords)
    try:
        yield port_of(server)
    finally:
        server.stop()
        await server.close_all_connections()


def die_on_4(pieces: Iterator[bytes]) -> str:
    """A task that takes its process along when a file begins with the digit 4."""
    if next(pieces, b"")[:1] == b"4":
        os.kill(os.getpid(), signal.SIGKILL)
    return "fine"


def hang(pieces: Iterator[bytes]) -> str:
    """A task that says so, and does not end."""
    print("hangs", file=sys.stderr, flush=True)
    while True:
        time.sleep(60)


def refuse_4(pieces: Iterator[bytes]) -> str:
    """A task that prints, and raises when a file begins with the digit 4."""
    print("this must not get among the answers")
    if next(pieces, b"")[:1] == b"4":
        raise ValueError("this one is bad")
    return "fine"
