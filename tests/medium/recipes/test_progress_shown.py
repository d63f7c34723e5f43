"""The line that tells how far a master is, on a loop."""

from __future__ import annotations

import asyncio

import pytest

from distributed.recipes import progress


async def test_at_a_terminal_a_line_tells_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "is_terminal", lambda: True)
    drawn = asyncio.Event()

    def state() -> dict[str, int]:
        asyncio.get_running_loop().call_soon(drawn.set)
        return {"total": 8, "finished": 2}

    async with progress.showing(state):
        await drawn.wait()
    said = capsys.readouterr().err
    assert "[######..................] 2 of 8 files" in said
    assert said.endswith(progress.ERASE)
