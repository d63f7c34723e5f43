"""Sending on a stream that the loop of another thread serves, from any thread, in order and with a bound.

A small message that is alone goes straight to the socket: waking a loop costs more than sending. All that writes to the
stream does so under one lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from distributed.comm.shortcut import Shortcut
from distributed.comm.stream import UNSENT_NBYTES_HIGH, Stream
from distributed.config import settings
from distributed.errors import CommClosedError
from distributed.protocol.codec import encode_plain
from distributed.protocol.serialize import Buffer

__all__ = ["Outbox"]

WAITING_NBYTES_HIGH = 16 * 1024 * 1024  # given to us and not yet to the stream; then `send` waits
ALONE_S = 1e-4  # after the one before; two threads that wake each other take about as long


class Outbox:
    """The sending half of a stream, for threads.

    Args:
        stream: of `loop`; make this on that loop.
    Attributes:
        sent: how many messages were given to us.
    """

    def __init__(self, stream: Stream, loop: asyncio.AbstractEventLoop) -> None:
        self.sent = 0
        self._stream = stream
        self._shortcut = Shortcut(stream)
        self._sent_at = 0.0
        self._loop = loop
        self._limits = settings().limits
        self._room = threading.Condition()
        self._waiting: list[list[Buffer]] = []
        self._nbytes = 0  # of those
        self._is_flush_due = False
        self._is_full = False
        self._is_closed = False
        self._draining: asyncio.Task[None] | None = None
        stream.add_close_callback(self._on_close)

    def send(self, kind: int, value: Any, timeout_s: float) -> None:
        """Send ``[kind, value]``; waits while the other side does not read what was sent before.

        Raises:
            CommClosedError: the connection has ended, or the other side read nothing for `timeout_s`: then it ends.
            MessageTooLargeError, UnencodableError: nothing was sent.
        """
        buffers = encode_plain([kind, value], self._limits)
        nbytes = sum(map(len, buffers))
        with self._room:
            if self._is_full and not self._is_closed:
                self._wait_room(timeout_s)
            if self._is_closed:
                raise self._error()
            self.sent += 1
            if len(buffers) == 1 and not self._waiting and self._is_alone():
                left = self._shortcut.send_encoded(buffers[0])
                if left is None:
                    return
                buffers = [left]
            self._waiting.append(buffers)
            self._nbytes += nbytes
            self._is_full = self._nbytes > WAITING_NBYTES_HIGH
            if self._is_flush_due:
                return
            self._is_flush_due = True
        self._wake(self._flush)

    def say(self, kind: int, value: Any) -> None:
        """Send a word of ours, past what waits for room; on the loop only. Nothing happens when it has ended."""
        if not self._stream.closed():
            try:
                with self._room:
                    self._stream.write_plain_nowait([kind, value])
            except CommClosedError:  # by this very message: nobody reads
                self._stream.close()

    def say_last(self, kind: int, value: Any) -> None:
        """As `say`, after everything that was sent before."""
        self._flush()
        self.say(kind, value)

    def _is_alone(self) -> bool:
        """Whether nothing was sent just before: many messages in a row are cheaper over the loop."""
        now = time.monotonic()
        before, self._sent_at = self._sent_at, now
        return now - before > ALONE_S

    def _wait_room(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._is_full and not self._is_closed:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self._is_closed = True
                self._wake(self._stream.close)
                raise CommClosedError(self._stream.peer.address, f"the other side read nothing for {timeout_s:g} s")
            self._room.wait(min(left_s, threading.TIMEOUT_MAX))

    def _wake(self, callback: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop has ended, and the stream with it
            with self._room:
                self._is_closed = True

    def _flush(self) -> None:
        with self._room:
            waiting, self._waiting = self._waiting, []
            self._nbytes = 0
            self._is_flush_due = False
            try:
                for buffers in waiting:
                    self._stream.write_encoded(buffers)
            except CommClosedError:  # told by its close callback
                return
        if self._stream.nbytes_unsent <= UNSENT_NBYTES_HIGH:
            self._make_room()
        elif self._draining is None:
            with self._room:
                self._is_full = True
            self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._stream.drain()
        except CommClosedError:
            return
        finally:
            self._draining = None
        self._make_room()

    def _make_room(self) -> None:
        with self._room:
            self._is_full = self._nbytes > WAITING_NBYTES_HIGH
            if not self._is_full:
                self._room.notify_all()

    def _on_close(self) -> None:
        with self._room:
            self._is_closed = True
            self._waiting.clear()
            self._shortcut.close()
            self._room.notify_all()

    def _error(self) -> CommClosedError:
        error = self._stream.why_closed() if self._stream.closed() else None
        if isinstance(error, CommClosedError):
            return error
        return CommClosedError(self._stream.peer.address, "it has ended" if error is None else str(error))

    async def finish(self, timeout_s: float) -> None:
        """Give everything to the operating system, within a time, and end the connection; on the loop only."""
        self._flush()
        try:
            async with asyncio.timeout(timeout_s):
                await self._stream.close_after_flush()
        except TimeoutError:
            self._stream.close()
