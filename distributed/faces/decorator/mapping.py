"""`fn.map`: a call for each element, several of them in one task where calls are short.

    chunk=1       ──▶ a task for each call
    chunk=100     ──▶ a task for each hundred
    chunk=None    ──▶ first a few calls alone ─ measured ─▶ chunks that take about 50 ms ─▶ the rest

A measured map begins with as many calls as workers may have slots, each alone, and learns from what comes back. If
nothing does within `PATIENCE_S`, calls are long, and the rest goes one by one: no worker is left without work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from distributed.client.chunks import Chunks
from distributed.deploy.machine import cores_available
from distributed.errors import ConfigError
from distributed.faces.decorator.chunks import Chunk, Element
from distributed.faces.decorator.sources import Late, Source
from distributed.ids import counter

__all__ = ["start_chunks", "start_measured"]

PATIENCE_S = 0.2  # for a call to come back, from when it was given to a scheduler
SLOTS_MIN = 8  # that are taken to be there

Calls = Sequence[tuple[Any, ...]]
Start = Callable[[tuple[Any, ...], dict[str, Any]], Source]


def checked_chunk(chunk: object) -> int | None:
    """`chunk` as it may be given; ConfigError: it is neither None nor an integer of at least 1."""
    if chunk is not None and (type(chunk) is not int or chunk < 1):
        raise ConfigError("chunk", chunk, "it is an integer of at least 1, or None: as measured")
    return chunk


def start_chunks(calls: Calls, length: int, start: Start, start_chunk: Start) -> list[Source]:
    """All calls, `length` in a task.

    Args:
        start: begins one call.
        start_chunk: begins a task for a list of calls.
    """
    if length == 1:
        return [start(args, {}) for args in calls]
    sources: list[Source] = []
    for first in range(0, len(calls), length):
        part = calls[first : first + length]
        chunk = Chunk(start_chunk((part,), {}), part, start)
        sources += [Element(chunk, index) for index in range(len(part))]
    return sources


def start_measured(name: str, calls: Calls, start: Start, start_chunk: Start) -> list[Source]:
    """All calls, as many in a task as what was measured makes sensible."""
    slots = max(SLOTS_MIN, cores_available())
    if len(calls) <= 2 * slots:
        return start_chunks(calls, 1, start, start_chunk)
    feed = Feed(name, calls, slots, start, start_chunk)
    feed.begin()
    return list(feed.sources)


class Feed:
    """Begins the calls of one measured map, each round with what the one before it has shown."""

    def __init__(self, name: str, calls: Calls, slots: int, start: Start, start_chunk: Start) -> None:
        self.sources = [Late(f"{name}-{counter()}") for _ in calls]
        self._calls = calls
        self._slots = slots
        self._start = start
        self._start_chunk = start_chunk
        self._sizes = Chunks(slots, len(calls))
        self._lock = threading.RLock()
        self._begun = 0
        self._round = 0
        self._length = 1

    def begin(self) -> None:
        """The first round."""
        with self._lock:
            self._begin_round()

    def _begin_round(self) -> None:
        self._round += 1
        first: Source | None = None
        for _ in range(2 * self._slots):
            chunk = self._begin_chunk(self._length)
            if chunk is None:
                return
            first = first or chunk.source
            chunk.source.add_done_callback(lambda done, chunk=chunk, number=self._round: self._learn(chunk, number))  # type: ignore[misc]
        assert first is not None
        self._watch(first, self._round)

    def _begin_chunk(self, length: int) -> Chunk | None:
        part = self._calls[self._begun : self._begun + length]
        if not part:
            return None
        chunk = Chunk(self._start_chunk((part,), {}), part, self._start)
        for index in range(len(part)):
            self.sources[self._begun + index].become(Element(chunk, index))
        self._begun += len(part)
        return chunk

    def _learn(self, chunk: Chunk, number: int) -> None:
        """A chunk of this round is decided; in a thread of the client's."""
        with self._lock:
            if number != self._round:
                return
            try:
                seconds, parts = chunk.answer(None)
            except Exception:  # it was lost, or cannot be loaded: there is nothing to learn, and its handles say why
                self._begin_rest(1)
                return
            self._sizes.packed(self._begun, 0)
            self._sizes.done(len(parts), seconds, 0)
            length = self._sizes.next_count()
            if length <= 2 * self._length:
                self._begin_rest(length)
            else:
                self._length = length
                self._begin_round()

    def _begin_rest(self, length: int) -> None:
        self._round += 1
        while self._begun < len(self._calls):
            if length > 1:
                self._begin_chunk(length)
                continue
            self.sources[self._begun].become(self._start(self._calls[self._begun], {}))
            self._begun += 1

    def _watch(self, first: Source, number: int) -> None:
        """Should nothing come back in time, do not wait for it."""
        timer = threading.Timer(PATIENCE_S, self._give_up, (first, number))
        timer.daemon = True
        timer.start()

    def _give_up(self, first: Source, number: int) -> None:
        with self._lock:
            if number != self._round:
                return
            if getattr(first, "is_placed", True):
                self._begin_rest(1)
            else:  # the workers are still being looked for
                self._watch(first, number)
