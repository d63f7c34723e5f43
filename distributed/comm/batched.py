"""BatchedSend: many small messages, one write."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.comm.stream import Stream
from distributed.errors import CommClosedError, MessageTooLargeError, UnencodableError

__all__ = ["BatchedSend"]

WAITING_MAX = 1_000_000  # messages; beyond it the caller is told instead of memory being filled


class BatchedSend:
    """Collects messages and sends them as one list, at most every `interval_ms`.

    `send` never waits. Messages given before `start` are kept and leave first. The receiver reads lists.

    Args:
        interval_ms: milliseconds >= 0 between two writes; 0: once per turn of the loop.
    """

    def __init__(self, interval_ms: float) -> None:
        if interval_ms < 0:
            raise ValueError(f"interval_ms={interval_ms!r} must be >= 0")
        self.interval_ms = interval_ms
        self.stream: Stream | None = None
        self._waiting: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None
        self._next_time = 0.0
        self._failure: UnencodableError | MessageTooLargeError | None = None  # nobody has been told yet

    def start(self, stream: Stream) -> None:
        """Send through `stream` from now on, what is waiting first."""
        self.stream = stream
        self._schedule()

    def send(self, message: Any) -> None:
        """Queue one message.

        Raises:
            CommClosedError: the stream has ended.
            BufferError: a million messages wait.
            UnencodableError, MessageTooLargeError: an earlier message could not be sent; those around it were.
        """
        self._raise_failure()
        if self.stream is not None and self.stream.closed():
            raise CommClosedError(self.stream.peer.address, "the stream of this BatchedSend has ended")
        if len(self._waiting) >= WAITING_MAX:
            raise BufferError(f"{WAITING_MAX:,} messages wait to be sent; start() it, or send less")
        self._waiting.append(message)
        self._schedule()

    async def close(self) -> None:
        """Send what is waiting, wait until it has left, and close the stream. Errors as `send`."""
        self._flush()
        if self.stream is not None:
            await self.stream.close_after_flush()
        self._raise_failure()

    def _schedule(self) -> None:
        if self.stream is None or not self._waiting or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(max(self._next_time, loop.time()), self._flush)
        self._next_time = max(self._next_time, loop.time()) + self.interval_ms / 1000

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and self.stream is not None and not self.stream.closed():
            waiting, self._waiting = self._waiting, []
            self._write(self.stream, waiting)

    def _write(self, stream: Stream, messages: list[Any]) -> None:
        try:
            stream.write_message_nowait(messages)
        except CommClosedError:
            return  # the next send tells
        except (UnencodableError, MessageTooLargeError) as error:
            if len(messages) == 1:
                self._failure = self._failure or error
                return
            for message in messages:  # one bad message must not take the others with it
                self._write(stream, [message])

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
