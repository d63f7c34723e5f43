"""How far a master is: one line on stderr, drawn again and again, if that is a terminal; else nothing."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping

__all__ = ["ProgressLine", "line_of", "say", "showing"]

REDRAW_S = 0.2
BAR_WIDTH = 24
ERASE = "\r\x1b[K"  # the line that the cursor is on


class ProgressLine:
    """Drawn by `draw`, and gone after `erase`; both do nothing if stderr is no terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def draw(self, state: Mapping[str, int]) -> None:
        """Show a state: ``{"total": n, "finished": k}``, and ``failed`` if some have no digest."""
        if is_terminal():
            line = line_of(state, time.monotonic() - self._began)
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(ERASE + line[:width])
            sys.stderr.flush()

    def erase(self) -> None:
        """Leave the terminal as if nothing had been drawn."""
        if is_terminal():
            sys.stderr.write(ERASE)
            sys.stderr.flush()


@contextlib.asynccontextmanager
async def showing(state: Callable[[], Mapping[str, int]]) -> AsyncIterator[None]:
    """Draw what `state` says, several times a second, as long as the block runs."""
    line = ProgressLine()

    async def draw() -> None:
        while True:
            line.draw(state())
            await asyncio.sleep(REDRAW_S)

    drawing = asyncio.ensure_future(draw()) if is_terminal() else None
    try:
        yield
    finally:
        if drawing is not None:
            drawing.cancel()
            await asyncio.wait([drawing])
            line.erase()


def say(text: str) -> None:
    """Print a line while a progress line may be there: above it."""
    if is_terminal():
        sys.stderr.write(ERASE)
        sys.stderr.flush()
    print(text, flush=True)


def line_of(state: Mapping[str, int], seconds: float) -> str:
    """Bar, counts, speed, and how long the rest takes at that speed."""
    total, failed = state["total"], state.get("failed", 0)
    settled = state["finished"] + failed
    filled = BAR_WIDTH * settled // max(1, total)
    line = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {settled:,} of {total:,} files"
    if failed:
        line += f", {failed:,} failed"
    line += f", {_clock(seconds)}"
    if 0 < settled < total and seconds > 0:
        line += f", {settled / seconds:,.0f} files/s, {_clock(seconds * (total - settled) / settled)} left"
    return line


def is_terminal() -> bool:
    """Whether stderr is one."""
    return sys.stderr.isatty()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
