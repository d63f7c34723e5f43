"""`Slots`: the processes of a push worker. Each takes the content of one file after the other, as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

from distributed.push.process import ABORTED, END, frame
from distributed.recipes.digesting import algorithm_of, digest_function

__all__ = ["Outcome", "Slot", "Slots"]

PATIENCE_S = 2.0  # for a process to end once it is told to; then it is killed

Outcome = dict[str, str]  # {"digest": text} or {"error": text}; {} if it was not begun when the process died


class Slot:
    """One process, and the job that it has.

    Attributes:
        is_idle: it can be given a job. What came of its files so far is in `outcomes`, in order.
    """

    def __init__(self, algorithm: str) -> None:
        self.is_idle = True
        self.outcomes: list[Outcome] = []
        self._algorithm = algorithm
        self._process: asyncio.subprocess.Process | None = None
        self._ended = 0  # files of this job whose content is complete
        self._has_died = False
        self._news = asyncio.Event()
        self._collecting: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """A process, if the last one is gone."""
        self.outcomes, self._ended = [], 0
        if self._process is not None and not self._has_died:
            return
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "distributed.push.process", self._algorithm,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._has_died = False
        self._collecting = asyncio.create_task(self._collect(self._process))

    async def feed(self, piece: bytes) -> None:
        """The next piece of a file; waits while the process is busy with those before."""
        await self._write(frame(piece), piece)

    async def end_file(self) -> None:
        """The file is complete."""
        self._ended += 1
        await self._write(END)

    async def abort_file(self) -> None:
        """The rest of the file will not come."""
        self._ended += 1
        await self._write(ABORTED)

    async def finish(self) -> list[Outcome]:
        """What came of all files, in order. If the process died, the first without an outcome is to blame."""
        assert self._process is not None
        while len(self.outcomes) < self._ended and not self._has_died:
            self._news.clear()
            await self._news.wait()
        if len(self.outcomes) < self._ended:
            code = await self._process.wait()
            self.outcomes.append({"error": f"the process that had it died ({_how(code)})"})
        return self.outcomes + [{}] * (self._ended - len(self.outcomes))

    async def _collect(self, process: asyncio.subprocess.Process) -> None:
        """Outcomes as they come, lest the process waits for somebody to read them."""
        assert process.stdout is not None
        while (line := await process.stdout.readline()).endswith(b"\n"):
            self.outcomes.append(json.loads(line))
            self._news.set()
        self._has_died = True
        self._news.set()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _write(self, *pieces: bytes) -> None:
        """What a dead process does not take is dropped; `finish` tells."""
        assert self._process is not None and self._process.stdin is not None
        if self._has_died:
            return
        try:
            self._process.stdin.writelines(pieces)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            self._has_died = True
            self._news.set()


class Slots:
    """So many processes.

    Args:
        config: where the settings are; None: `distributed.config`.
    Raises:
        ConfigError: ``HASH_ALGORITHM`` cannot be used.
    """

    def __init__(self, count: int, config: Any = None) -> None:
        digest_function(config)
        self._slots = [Slot(algorithm_of(config)) for _ in range(count)]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._slots)

    @property
    def idle(self) -> int:
        """How many have no job."""
        return sum(slot.is_idle for slot in self._slots)

    def take(self) -> Slot | None:
        """One that is idle, which it is not any more; None: there is none."""
        for slot in self._slots:
            if slot.is_idle:
                slot.is_idle = False
                return slot
        return None

    async def start(self) -> None:
        """All processes, so that the first files need not wait."""
        await asyncio.gather(*(slot.start() for slot in self._slots))

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(slot.close() for slot in self._slots))


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
