"""The link of a worker to the offer it works for: says what its tasks could use, hears how many slots they may use.

Lines of JSON over a Unix socket; what they say is in `distributed.offers.sharing`. Told when it changes, but never more
often than every `REPORT_S`. If the socket breaks, the worker keeps what it was allowed last and connects again.
Not here: how permits are withheld (`permits`), who gets how many (`distributed.offers.shares`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from distributed.comm.unix_paths import fitting

__all__ = ["AllowedLink"]

logger = logging.getLogger(__name__)

REPORT_S = 0.005  # between two reports; what was said in between is out of date anyway
LOOK_S = 0.05  # while there are tasks: threads that take up work, or wait, do not tell us
CONNECT_AGAIN_S = 0.2
LINE_NBYTES_MAX = 1000


class AllowedLink:
    """Connects one worker with the socket at `path`.

    Args:
        demand: permits out, permits that tasks wait for, and how many must be out in all for the next task to begin.
        allow: given ``allowed`` and ``most``, see `distributed.worker.permits.Permits.allow`.
    """

    def __init__(
        self, path: str, demand: Callable[[], tuple[int, int, int]], allow: Callable[[int, int], object]
    ) -> None:
        self._path = path
        self._demand = demand
        self._allow = allow
        self._serial = 0  # of the last line that came
        self._told: tuple[int, int, int, int] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_resting = False

    async def run(self) -> None:
        """Keep the link until cancelled."""
        while True:
            try:
                with fitting(self._path) as path:
                    reader, self._writer = await asyncio.open_unix_connection(path, limit=LINE_NBYTES_MAX)
                self._told = None
                self._report()
                while line := await reader.readline():
                    self._take(json.loads(line))
                logger.warning("the offer has closed %s; this worker goes on with what it was allowed", self._path)
            except (OSError, ValueError) as error:  # ValueError: no JSON, too long, or not what was agreed
                logger.warning("no word from the offer at %s: %s", self._path, error)
            finally:
                if self._writer is not None:
                    self._writer.close()
                    self._writer = None
            await asyncio.sleep(CONNECT_AGAIN_S)

    def close(self) -> None:
        """Say nothing any more; `run` is cancelled by whoever runs it."""
        if self._timer is not None:
            self._timer.cancel()

    def poke(self) -> None:
        """What the tasks could use may have changed: say so now, or soon if something was said just now."""
        if not self._is_resting:
            self._report()

    def _take(self, line: Any) -> None:
        if not isinstance(line, dict):
            raise ValueError(f"{line!r:.100} is no word of an offer")
        allowed, most, self._serial = (_count(line.get(name)) for name in ("allowed", "most", "serial"))
        self._allow(allowed, most)
        self._report(is_answer=True)

    def _report(self, is_answer: bool = False) -> None:
        """Say how things are, if that is news; then nothing for `REPORT_S`, but for answers."""
        said = (*self._demand(), self._serial)
        is_news = self._writer is not None and said != self._told
        if self._writer is not None and is_news:
            self._told = said
            running, waiting, least, serial = said
            text = json.dumps({"running": running, "waiting": waiting, "least": least, "serial": serial})
            self._writer.write(text.encode() + b"\n")  # one short line per REPORT_S: it needs no drain
        if is_answer and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_resting = is_news
        if is_news or said[0] or said[1]:
            self._timer = asyncio.get_running_loop().call_later(REPORT_S if is_news else LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        self._report()


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{value!r:.100} is no number of slots")
    return value
