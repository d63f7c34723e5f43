"""`FreshZygote`: forks children for a program that has threads already."""

from __future__ import annotations

import asyncio
import os
import textwrap
from pathlib import Path

import pytest

from distributed.process.fresh import FreshZygote


def test_children_find_what_this_program_finds_and_have_the_users_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text(
        textwrap.dedent("""
        import os

        def main(options, status, life):
            os.write(status, f"{options['word']} {os.environ.get('PYTHONPATH')}".encode())
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "/the/users")

    async def run() -> tuple[bytes, int | None]:
        zygote = FreshZygote({"one": "only_here:main"})
        try:
            zygote.attach()
            said, status = os.pipe()
            child = await zygote.spawn("one", {"word": "hello"}, 2, status)
            os.close(status)
            ending = await child.ended
            with open(said, "rb") as pipe:
                return pipe.read(), ending.exitcode
        finally:
            zygote.close()

    assert asyncio.run(run()) == (b"hello /the/users", 0)
