"""The worker's end of a connection: a thread that talks to the manager, and the pipe by which the worker uses it.

The thread beats, answers pings and notices the end of either side whatever the worker's own code does meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.client.loop_thread import LoopThread
from distributed.comm.peer import Peer
from distributed.comm.stream import Stream
from distributed.dataclass import dataclass
from distributed.errors import CommClosedError, ProtocolError
from distributed.faces.manager.outbox import Outbox
from distributed.faces.manager.wire import BEAT, MESSAGE, PING, PONG, REGISTER, STOP, WELCOME, pack, read_from_manager
from distributed.protocol.serialize import Payload, loads_payload, payload_nbytes
from distributed.units import MiB

__all__ = ["Word", "WorkerPipe", "exit_at_once", "open_pipe", "share_interpreter", "stream_of"]

WELCOME_S = 30.0  # a manager says what to run as soon as it knows us
UNREAD_MAX = 10_000  # messages that the worker has not handled; then no more are received until it has
UNREAD_NBYTES_MAX = 256 * MiB
SEND_S = 3600.0  # a manager that reads nothing for so long is gone
FINISH_S = 10.0  # to send what is left in the end
SWITCH_S = 5e-4  # instead of 5 ms, which every message to a busy worker would take
GRACE_S = 10.0  # for the worker's code when it has to end; then its process ends without it


@dataclass(slots=True)
class Word:
    """Something the manager said that the worker has to act on: stop, or handle a message."""

    is_stop: bool
    payload: Payload | None = None
    error: Exception | None = None

    def load(self) -> Any:
        """The message. Raises CommClosedError: there is none, since the manager is gone."""
        if self.error is not None:
            raise self.error
        return loads_payload(self.payload)


class WorkerPipe:
    """What a worker holds of the connection with its manager. Any of its threads may send.

    Attributes:
        received: messages of the manager that were handled or are being handled.
        start: payload of what a local child has to run; None: it knows.
    """

    def __init__(self, stream: Stream, thread: LoopThread, on_overdue: Callable[[], object] | None) -> None:
        self.received = 0
        self.start: Payload | None = None
        self._thread = thread
        self._stream = stream
        self._outbox = Outbox(stream, thread.loop)
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()
        self.has_words: Callable[[], bool] = lambda empty=self._words.empty: not empty()  # type: ignore[misc]
        self._come_nbytes = 0  # counted by the thread
        self._read_nbytes = 0  # counted by the worker
        self._is_held_back = False
        self._is_over = False  # stopped or cut off: nothing more comes
        self._on_overdue = on_overdue
        self._beating: asyncio.Task[None] | None = None
        self._welcomed: asyncio.Future[None] = thread.loop.create_future()
        stream.set_message_handler(self._on_message)
        stream.add_close_callback(self._on_close)

    @property
    def traffic(self) -> int:
        """How many messages came and went."""
        return self.received + self._outbox.sent

    def register(self) -> None:
        """Tell the manager that this worker was made."""
        self._outbox.send(REGISTER, {"pid": os.getpid(), "host": socket.gethostname()[:255]}, SEND_S)

    def send(self, value: Any) -> None:
        """See `DistributedWorker.send`."""
        self._outbox.send(MESSAGE, pack(value), SEND_S)

    def next_word(self, timeout_s: float | None) -> Word | None:
        """The next word of the manager; None: there is none within the time. Without a time there must be one."""
        try:
            word = self._words.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if word.payload is not None:
            self.received += 1
            self._read_nbytes += payload_nbytes(word.payload)
            if self._is_held_back and not self._has_too_much():
                self._is_held_back = False
                self._thread.loop.call_soon_threadsafe(self._stream.resume_reading)
        return word

    def close(self) -> None:
        """Send what is left, and end the connection and its thread."""
        if not self._thread.loop.is_closed():
            self._thread.run(self._finish())
            self._thread.stop()

    async def wait_welcome(self) -> None:
        """Wait until the manager has said how often to beat, and what to run.

        Raises:
            CommClosedError: it has not.
        """
        try:
            async with asyncio.timeout(WELCOME_S):
                await self._welcomed
        except TimeoutError:
            self._stream.close()
            raise CommClosedError(self._stream.peer.address, f"no welcome within {WELCOME_S:g} s") from None

    async def _finish(self) -> None:
        self._is_over = True
        if self._beating is not None:
            self._beating.cancel()
        await self._outbox.finish(FINISH_S)

    def _has_too_much(self) -> bool:
        return self._words.qsize() > UNREAD_MAX or self._come_nbytes - self._read_nbytes > UNREAD_NBYTES_MAX

    # ------------------------------------------------------------ on the thread's loop

    def _on_message(self, message: Any) -> None:
        try:
            kind, value = read_from_manager(message)
        except ProtocolError:
            self._stream.close()
            return
        if kind == MESSAGE:
            self._come_nbytes += payload_nbytes(value)
            self._words.put(Word(False, value))
            if self._has_too_much():
                self._is_held_back = True
                self._stream.pause_reading()
                if not self._has_too_much():  # the worker took all of them just now, and did not see that we wait
                    self._is_held_back = False
                    self._stream.resume_reading()
        elif kind == PING:
            self._outbox.say(PONG, value)
        elif kind == STOP:
            self._end(Word(True))
        elif kind == WELCOME and not self._welcomed.done():
            self.start = value["start"]
            self._beating = self._thread.loop.create_task(self._beat(value["beat_s"]))
            self._welcomed.set_result(None)

    async def _beat(self, every_s: float) -> None:
        while not self._stream.closed():
            await asyncio.sleep(every_s)
            self._outbox.say(BEAT, None)

    def _on_close(self) -> None:
        error = self._stream.why_closed()
        if not self._welcomed.done():
            self._welcomed.set_exception(error)
            _ = self._welcomed.exception()  # whoever waits is told; perhaps nobody does any more
        if self._beating is not None:
            self._beating.cancel()
        if not self._is_over:
            reason = error.reason if isinstance(error, CommClosedError) else str(error)
            self._end(Word(False, None, CommClosedError(self._stream.peer.address, f"the manager is gone: {reason}")))

    def _end(self, word: Word) -> None:
        """The last word. A worker whose code does not come back to hear it is ended without it."""
        if not self._is_over:
            self._is_over = True
            self._words.put(word)
            if self._on_overdue is not None:
                self._thread.loop.call_later(GRACE_S, self._on_overdue)


async def open_pipe(
    connecting: Awaitable[Stream], thread: LoopThread, on_overdue: Callable[[], object] | None
) -> WorkerPipe:
    """A pipe to the manager that `connecting` leads to, once it has welcomed us; on the loop of `thread`."""
    pipe = WorkerPipe(await connecting, thread, on_overdue)
    await pipe.wait_welcome()
    return pipe


async def stream_of(descriptor: int) -> Stream:
    """A stream on one end of a socket pair, whose other end is with the manager that made us."""
    return Stream(socket.socket(fileno=descriptor), Peer("the manager of this process", "client"))


def share_interpreter() -> None:
    """Let the thread that talks have its turn soon, though the worker's code never pauses; for processes of ours."""
    sys.setswitchinterval(SWITCH_S)


def exit_at_once() -> None:
    """End this process, whatever its threads do."""
    os._exit(1)
