"""Zygotes of environments: children run in the environment's interpreter, and an idle zygote ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from distributed.environments.builder import Environment
from distributed.environments.zygotes import Zygotes
from distributed.errors import WorkerStartError
from distributed.process.zygote import Zygote

OWN = Environment(sys.executable, ".".join(map(str, sys.version_info[:3])), "inherit", False)


@pytest.fixture
def mains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A kind of child that tells where it is."""
    (tmp_path / "telling.py").write_text(
        textwrap.dedent("""
        import json, os, sys

        def main(options, status, life):
            told = {"prefix": sys.prefix, "path": os.environ.get("PYTHONPATH"), "pid": os.getpid()}
            os.write(status, json.dumps(told).encode())
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return {"telling": "telling:main"}


async def told_by(zygote: Zygote) -> dict[str, object]:
    said, status = os.pipe()
    child = await zygote.spawn("telling", {}, 2, status)
    os.close(status)
    assert (await child.ended).exitcode == 0
    with open(said, "rb") as pipe:
        told: dict[str, object] = json.loads(pipe.read())
    return told


async def test_children_of_the_own_interpreter_find_what_this_process_finds(mains: dict[str, str]) -> None:
    zygotes = Zygotes(mains, ("telling",))
    zygote = zygotes.get(OWN)
    assert zygotes.get(OWN) is zygote
    assert (await told_by(zygote))["prefix"] == sys.prefix
    zygotes.close()


async def test_an_idle_one_ends_and_a_used_one_stays(mains: dict[str, str]) -> None:
    zygotes = Zygotes(mains, idle_s=0)
    zygote = zygotes.get(OWN)
    zygotes.get(OWN)
    zygotes.release(OWN)
    await asyncio.sleep(0)
    assert not zygote.is_gone()
    zygotes.release(OWN)
    while not zygote.is_gone():
        await asyncio.sleep(0.01)
    assert zygotes.get(OWN) is not zygote
    zygotes.close()


async def test_one_that_was_killed_is_replaced(mains: dict[str, str]) -> None:
    zygotes = Zygotes(mains)
    zygote = zygotes.get(OWN)
    os.kill(zygote.pid, signal.SIGKILL)
    while not zygote.is_gone():
        await asyncio.sleep(0.01)
    other = zygotes.get(OWN)
    assert other is not zygote
    zygotes.release(OWN, zygote)  # late news of the first one
    assert "prefix" in await told_by(other)
    zygotes.close()


async def test_an_interpreter_that_is_not_there_is_named() -> None:
    zygotes = Zygotes({})
    with pytest.raises(WorkerStartError, match="/nowhere/python cannot be started"):
        zygotes.get(Environment("/nowhere/python", "3.11.7", "x", True))
    zygotes.close()
