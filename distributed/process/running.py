"""How any process of ours runs its loop, hears signals, tells its parent, and ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Background", "live_with", "on_signals", "read_lines", "report", "run_loop"]

# Most of what a server allocates lives for long; with the defaults CPython looks through it again and again (measured:
# submit costs twice as much with half a million live tasks).
GC_THRESHOLDS = (50_000, 20, 50)


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on uvloop if it is installed, else asyncio's own loop; the exit code."""
    gc.freeze()  # modules live as long as we do; collecting what their imports left first would cost 5 ms
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    try:
        from uvloop import new_event_loop  # lazy: the extra [fast]
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def on_signals(stop: Callable[[str], object]) -> None:
    """Call ``stop(reason)`` once at SIGINT or SIGTERM; a second one ends the process the hard way."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle(number: signal.Signals) -> None:
        for each in numbers:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        stop(number.name)

    for number in numbers:
        loop.add_signal_handler(number, handle, number)


class Background:
    """Coroutines that run beside, with nobody who awaits them.

    Args:
        on_failure: told what one of them raised.
    """

    def __init__(self, on_failure: Callable[[BaseException], object]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run it on the running loop."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def cancel(self) -> None:
        """Cancel all of them but the one that calls this."""
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def wait_ended(self) -> None:
        """Until none of them runs any more, but for the one that calls this."""
        while tasks := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)


def report(status: int, content: dict[str, Any]) -> None:
    """One JSON line on a status pipe; nobody may be reading any more."""
    with contextlib.suppress(BrokenPipeError):
        os.write(status, json.dumps(content).encode() + b"\n")


def live_with(descriptor: int, end: Callable[[], object]) -> None:
    """Call `end` when the other side of a pipe is gone: this process serves nobody any more."""
    asyncio.get_running_loop().add_reader(descriptor, end)


async def read_lines(descriptor: int, on_line: Callable[[str], object], count_max: int | None = None) -> None:
    """Give the lines of a pipe to `on_line` until its other end is closed, or `count_max` have come; then close it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1024 * 1024)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    try:
        while (count_max is None or count_max > 0) and (line := await _one_line(reader)):
            on_line(line.decode(errors="replace").rstrip("\n"))
            count_max = None if count_max is None else count_max - 1
    finally:
        transport.close()


async def _one_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as error:  # a line of over a megabyte: in pieces
        return await reader.readexactly(error.consumed)
