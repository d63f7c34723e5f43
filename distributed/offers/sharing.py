"""How the rooms of an offer hear how many of their slots they may use: one socket for each of them, and lines of JSON.

A room's worker is given the path of its socket (``Worker(shares_path=...)``, so ``shares_path`` among a nanny's options
for it) and connects to it, again after breaks. Until it is told more, it may use no slot::

    room ──▶ offer   {"running": 2, "waiting": 5, "least": 3, "serial": 7}
    offer ──▶ room   {"allowed": 3, "most": 4, "serial": 8}

``running`` are the slots that its tasks have, ``waiting`` those that others could use, ``least`` how many it must be
allowed before the next of these begins. ``allowed`` is how many it may use now, ``most`` how many it will ever be
allowed: a task of more threads is content with so many. ``serial`` numbers what the offer says; a room repeats the last
it has taken in, 0 before the first.

Not here: who gets how many (`shares`), and what a worker does with it (`distributed.worker.allowed`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from typing import Any

from distributed.comm.unix_paths import fitting
from distributed.dataclass import dataclass
from distributed.offers.shares import News, Shares

__all__ = ["Sharing"]

logger = logging.getLogger(__name__)

LINE_NBYTES_MAX = 1000
_KEEP: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}  # we remove it ourselves
NEWS_S = 0.002  # so often rooms are told at most; their reports come every 5 ms


@dataclass(slots=True, eq=False)
class _Door:
    """The socket of one room, and its connection."""

    path: str
    server: asyncio.AbstractServer | None = None
    writer: asyncio.StreamWriter | None = None


class Sharing:
    """Serves the slots of one offer to its rooms.

    Args:
        folder: where sockets are made, for its owner only.
        cores: slots there are in all.
    """

    def __init__(self, folder: str, cores: int) -> None:
        self._folder = folder
        self._shares = Shares(cores)
        self._doors: dict[str, _Door] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None

    @property
    def cores(self) -> int:
        """Slots there are in all."""
        return self._shares.cores

    async def open_room(self, room: str, tenant: str, nthreads: int, weight: float = 1.0) -> str:
        """The path of the socket of this room, which has `nthreads` slots of its own; its worker connects to it.

        Args:
            room: its name, of no other room that is open.
            weight: > 0, of the tenant; it is entitled to so many times what one of weight 1 gets.
        Raises:
            OSError: the socket cannot be made.
        """
        self._count += 1
        door = self._doors[room] = _Door(os.path.join(self._folder, f"shares-{self._count}"))
        try:
            with fitting(door.path) as path:
                door.server = await asyncio.start_unix_server(
                    lambda reader, writer: self._serve(room, door, reader, writer), path, limit=LINE_NBYTES_MAX, **_KEEP
                )
        except BaseException:
            del self._doors[room]
            raise
        os.chmod(door.path, 0o600)
        self._shares.open_room(room, tenant, nthreads, weight, time.monotonic())
        self._tell_soon()
        return door.path

    def close_room(self, room: str) -> None:
        """The room has ended: its slots are others'. Unknown ones are no error."""
        door = self._doors.pop(room, None)
        if door is None:
            return
        _close(door)
        self._shares.close_room(room, time.monotonic())
        self._tell_soon()

    def set_cores(self, cores: int) -> None:
        """The owner lends so many from now on, >= 0; what runs goes on."""
        self._shares.set_cores(cores, time.monotonic())
        self._tell_soon()

    def shares(self) -> dict[str, dict[str, float]]:
        """By tenant: ``slots`` in use, ``waiting`` for one, and ``slot_seconds`` used in all."""
        self._shares.tick(time.monotonic())
        self._tell_soon()
        return self._shares.shares()

    async def close(self) -> None:
        """End all connections; rooms go on with what they had."""
        for handle in (self._timer, self._telling):
            if handle is not None:
                handle.cancel()
        for room in list(self._doors):
            _close(self._doors.pop(room))

    async def _serve(self, room: str, door: _Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if door.writer is not None:
            door.writer.close()  # an older connection, of a process that is gone perhaps
        door.writer = writer
        self._shares.link(room, True)
        self._tell_soon()
        try:
            while line := await reader.readline():
                running, waiting, least, serial = _numbers(json.loads(line))
                self._shares.report(room, running, waiting, least, serial, time.monotonic())
                self._tell_soon()
        except OSError as error:  # its process has ended
            logger.debug("room %s is gone: %s", room, error)
        except ValueError as error:  # no JSON, too long, or not what was agreed
            logger.warning("room %s says what is not understood: %s", room, error)
        finally:
            writer.close()
            if door.writer is writer:
                door.writer = None
                self._shares.link(room, False)

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(NEWS_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        for news in self._shares.take_news():
            door = self._doors.get(news.room)
            if door is not None and door.writer is not None:
                door.writer.write(_line(news))  # short, and few: who does not read them is closed by its tenant's end
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._shares.next_wakeup is not None:
            wait_s = max(0.0, self._shares.next_wakeup - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._shares.tick(time.monotonic())
        self._tell()


def _close(door: _Door) -> None:
    if door.server is not None:
        door.server.close()
    if door.writer is not None:
        door.writer.close()
    with contextlib.suppress(FileNotFoundError):  # the folder was removed first
        os.unlink(door.path)


def _line(news: News) -> bytes:
    text = json.dumps({"allowed": news.allowed, "most": news.most, "serial": news.serial})
    return text.encode() + b"\n"


def _numbers(line: Any) -> list[int]:
    """What a room says, checked.

    Raises:
        ValueError: it is not four numbers of slots.
    """
    if not isinstance(line, dict):
        raise ValueError("it is no object")
    numbers = [line.get(name) for name in ("running", "waiting", "least", "serial")]
    if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
        raise ValueError(f"{numbers!r:.100} are no numbers of slots")
    return [int(number or 0) for number in numbers]
