"""Streams of calls to the actors of this worker, and their answers; and what carries calls of tasks that run here.

Not here: what runs the calls (`distributed.worker.actors`), and the format (`distributed.actors.calling`).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.actors import carriers
from distributed.actors.calling import JOINED, PART, RAISED, ActorCalls, Pending
from distributed.comm.shortcut import Shortcut
from distributed.comm.stream import UNSENT_NBYTES_HIGH, Stream
from distributed.config import settings
from distributed.errors import CommClosedError, DistributedError, ProtocolError
from distributed.messages import Payload
from distributed.protocol.failure import failure_from_exception
from distributed.protocol.serialize import Serialized
from distributed.security.permissions import WORKER
from distributed.units import GiB
from distributed.worker.context import await_lent, sheltered, wait_lent

__all__ = ["ActorCall", "Caller", "WorkerCarrier"]

PART_NBYTES = 4 * GiB  # bigger results come in pieces of half of that; smaller ones without a copy
CALLS_MAX = 10_000  # of one caller that wait or run here; then nothing more is read from it


class ActorCall:
    """One call that has come; `answer` is for any thread."""

    __slots__ = ("arguments", "caller", "is_read", "name", "number")

    def __init__(self, caller: Caller, number: int, name: str, is_read: bool, arguments: Payload) -> None:
        self.caller = caller
        self.number = number
        self.name = name
        self.is_read = is_read
        self.arguments = arguments

    def fail(self, error: BaseException, with_pickle: bool = True) -> None:
        """Answer that it raised `error`; any thread."""
        self.caller.answer(self.number, RAISED, failure_from_exception(error, with_pickle))


class Caller:
    """One stream of calls.

    Args:
        submit: takes key, life and call of an actor.
    """

    def __init__(self, submit: Callable[[str, str, ActorCall], object], stream: Stream) -> None:
        self.stream = stream
        self._submit = submit
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # of what is written and the next three
        self._shortcut: Shortcut | None = Shortcut(stream)
        self._rest: list[Any] = []  # to be written before anything else
        self._open = 0  # calls without an answer
        self._answers: deque[list[Any]] = deque()
        self._awake = False
        self._draining: asyncio.Task[None] | None = None
        self._part_nbytes = min(PART_NBYTES, settings().message_nbytes_max)

    def on_message(self, message: Any) -> None:
        """Calls have come."""
        try:
            with self._lock:
                self._open += len(message)
            for number, key, actor, name, is_read, arguments in message:
                self._submit(key, actor, ActorCall(self, number, name, is_read, arguments))
        except (TypeError, ValueError):
            self.stream.close()  # no right caller sends that
            return
        if self._open >= CALLS_MAX:
            self.stream.pause_reading()

    def answer(self, number: int, kind: int, value: Any) -> None:
        """Any thread: send the answer of one call. That of the only one leaves at once, others together."""
        if self._open == 1 and type(value) is not Serialized:
            with self._lock:
                if self._open == 1 and self._shortcut is not None and not self._answers and not self._rest:
                    self._open = 0
                    rest = self._shortcut.send([[number, kind, value]])
                    if rest is None:
                        return
                    self._rest.append(rest)
                    self._wake()
                    return
        self._answers.append([number, kind, value])
        self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._flush)
            except RuntimeError:  # the worker has ended
                return

    def close(self) -> None:
        """The stream has closed: nothing leaves any more."""
        with self._lock:
            if self._shortcut is not None:
                self._shortcut.close()
                self._shortcut = None

    def _flush(self) -> None:
        self._awake = False
        if self._draining is not None or self.stream.closed():
            return
        with self._lock:
            self._write_waiting()
        if self._open < CALLS_MAX and not self.stream.closed():
            self.stream.resume_reading()

    def _write_waiting(self) -> None:
        batch: list[list[Any]] = []
        if self._rest:
            rest, self._rest = self._rest, []
            self.stream.write_buffers(rest)
        while self._answers:
            entry = self._answers.popleft()
            self._open -= 1
            if type(entry[2]) is Serialized:  # big ones travel alone: one that cannot be sent fails alone
                self._write_big(entry)
                if self.stream.nbytes_unsent > UNSENT_NBYTES_HIGH:
                    self._draining = self._loop.create_task(self._drain())
                    break
            else:
                batch.append(entry)
        if batch:
            self._write(batch)

    def _write(self, batch: list[list[Any]]) -> None:
        try:
            self.stream.write_plain_nowait(batch)
        except (CommClosedError, ProtocolError):  # it has left, or does not read; or so much cannot be sent
            self.stream.close()

    def _write_big(self, entry: list[Any]) -> None:
        number, _, payload = entry
        if payload.nbytes < self._part_nbytes:
            try:
                self.stream.write_plain_nowait([entry])
            except CommClosedError:
                return
            except DistributedError as error:
                self._write([[number, RAISED, failure_from_exception(error)]])
            return
        step = max(1, self._part_nbytes // 2)
        for frame in payload.frames:
            view = memoryview(frame).cast("B")
            for start in range(0, len(view), step):
                self._write([[number, PART, Serialized([b"", view[start : start + step]])]])
        self._write([[number, JOINED, [memoryview(frame).nbytes for frame in payload.frames]]])

    async def _drain(self) -> None:
        try:
            await self.stream.drain()
        except CommClosedError:
            return
        finally:
            self._draining = None
        self._flush()


class ShelteredCalls(ActorCalls):
    """Calls of tasks, which share their streams: one that is interrupted must not leave half a message there."""

    def send(self, address: str, call: Pending) -> None:
        """As `ActorCalls.send`."""
        with sheltered():
            super().send(address, call)


class WorkerCarrier:
    """What carries the calls of tasks that run in this process to actors anywhere; see `actors`."""

    def __init__(self) -> None:
        self.actor_calls = ShelteredCalls(asyncio.get_running_loop(), WORKER)
        self.actor_thread = threading.get_ident()
        carriers.append(self)

    def wait_for_actor(self, gate: threading.Lock, timeout_s: float | None) -> bool:
        """Block a task's thread until there is an answer; False: time is up."""
        return wait_lent(lambda left_s: gate.acquire(timeout=-1 if left_s is None else left_s), timeout_s)

    async def await_actor(self, awaited: Awaitable[Any]) -> Any:
        """`wait_for_actor` for coroutines."""
        return await await_lent(awaited)

    def close(self) -> None:
        """Carry no more."""
        carriers.remove(self)
        self.actor_calls.close("this worker was closed")
