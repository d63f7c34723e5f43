"""The calling side of actors: one stream to each worker, over which calls leave in order and answers come in any.

After the request ``{'op': 'actors', 'reply': False}`` the stream carries lists of ours, many calls or answers in each:

    calls      [[number, key, actor, name, is_read, arguments], ...]     arguments: a pickle of (args, kwargs)
    answers    [[number, kind, value], ...]

    RETURNED   value is the result, pickled
    RAISED     value is a failure, see `distributed.protocol.failure`
    PART       value is a piece of a result that is too big for one message; all pieces, in order, then JOINED
    JOINED     value is how many bytes of the pieces belong to each frame of the result

One stream is what keeps the calls of one caller in order. When it breaks, calls under way fail: whether they ran is not
known, so none is ever sent twice. A call of the name '' only asks whether the actor is there.
Not here: who holds an actor (`proxy`), and what runs it (`worker.actors`).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.comm.connect import connect_address
from distributed.comm.shortcut import Shortcut
from distributed.comm.stream import UNSENT_NBYTES_HIGH, Stream
from distributed.errors import (
    ActorLostError,
    CommClosedError,
    ConnectTimeoutError,
    DistributedError,
    MessageTooLargeError,
    ProtocolError,
    UnencodableError,
)
from distributed.messages import Failure, Payload
from distributed.protocol.codec import ErrorReply
from distributed.protocol.failure import failure_from_exception
from distributed.protocol.serialize import Serialized
from distributed.security.keys import Keyring

__all__ = ["JOINED", "PART", "RAISED", "RETURNED", "ActorCalls", "Pending"]

RETURNED, RAISED, PART, JOINED = 0, 1, 2, 3

BATCH_MAX = 1_000  # calls in one message
IN_FLIGHT_MAX = 10_000  # calls of one caller that a worker keeps at once; the rest waits here
CONNECT_S = 3.0


class Pending:
    """A call on its way; `settle` is called once, on the loop of its `ActorCalls`.

    Attributes:
        key, actor: the task that made the object, and which life of it.
        settle: gets kind and value, RETURNED and a payload or RAISED and a failure.
    """

    __slots__ = ("actor", "arguments", "is_read", "key", "name", "settle")

    def __init__(
        self, key: str, actor: str, name: str, is_read: bool, arguments: Payload,
        settle: Callable[[int, Any], object],
    ) -> None:  # fmt: skip
        self.key = key
        self.actor = actor
        self.name = name
        self.is_read = is_read
        self.arguments = arguments
        self.settle = settle


class ActorCalls:
    """Calls to the actors of any worker, from any thread; they travel on one loop.

    Args:
        loop: runs for as long as this is used.
        role, keys: what to be at workers, and to prove it with, see `connect_address`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, role: str | None = None, keys: Keyring | None = None) -> None:
        self.loop = loop
        self.role, self.keys = role, keys
        self._links: dict[str, _Link] = {}
        self._error: DistributedError | None = None

    def send(self, address: str, call: Pending) -> None:
        """Queue `call` for the actors at `address`, after those queued before.

        Raises:
            CommClosedError: this was closed.
        """
        if self._error is not None:
            raise CommClosedError(address, str(self._error))
        link = self._links.get(address)
        if link is None:
            link = self._links.setdefault(address, _Link(self, address))
        link.push(call)

    def fail(self, address: str, actor: str, error: DistributedError) -> None:
        """Whatever is under way to `actor` at `address` has failed; on the loop."""
        link = self._links.get(address)
        if link is not None:
            link.fail(error, lambda call: call.actor == actor)

    def close(self, reason: str) -> None:
        """Close every stream; what is under way fails. On the loop."""
        self._error = CommClosedError("actors", reason)
        for link in list(self._links.values()):
            link.close(CommClosedError(link.address, reason))
        self._links.clear()


class _Link:
    """One worker: what waits for it, and what it has not answered."""

    def __init__(self, calls: ActorCalls, address: str) -> None:
        self.address = address
        self.waiting: deque[Pending] = deque()
        self._loop = calls.loop
        self._role, self._keys = calls.role, calls.keys
        self._lock = threading.Lock()  # of what is written, its numbers, and the next three
        self._stream: Stream | None = None
        self._shortcut: Shortcut | None = None
        self._rest: list[Any] = []  # to be written before anything else
        self._under_way: dict[int, Pending] = {}
        self._parts: dict[int, list[Any]] = {}
        self._number = 0
        self._awake = False
        self._busy: asyncio.Task[None] | None = None  # it connects, or lets the stream drain

    def push(self, call: Pending) -> None:
        """Queue `call`, from any thread; one that is alone leaves at once."""
        if not self._under_way and self._shortcut is not None and type(call.arguments) is bytes:
            with self._lock:
                if self._shortcut is not None and not self._under_way and not self.waiting and not self._rest:
                    entry = self._entry(call)
                    self._under_way[self._number] = call  # before it leaves: the answer may be quicker than this thread
                    rest = self._shortcut.send([entry])
                    if rest is None:
                        return
                    self._rest.append(rest)
                    self.wake()
                    return
        self.waiting.append(call)
        self.wake()

    def _entry(self, call: Pending) -> list[Any]:
        self._number += 1
        return [self._number, call.key, call.actor, call.name, call.is_read, call.arguments]

    def wake(self) -> None:
        """Something waits; from any thread."""
        if not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self.flush)
            except RuntimeError:  # the loop has ended
                self.close(CommClosedError(self.address, "the loop of this client has ended"))
            except BaseException:  # Ctrl-C, or an interrupt of the task that calls: or nothing would ever leave again
                self._awake = False
                raise

    def flush(self) -> None:
        """Send what waits, as far as the other side keeps up; on the loop."""
        self._awake = False
        if self._busy is not None or not (self.waiting or self._rest):
            return
        stream = self._stream
        if stream is None or stream.closed():
            self._spawn(self._connect())
            return
        failed: list[tuple[Pending, Failure]] = []
        while (self.waiting or self._rest) and len(self._under_way) < IN_FLIGHT_MAX:
            if stream.nbytes_unsent > UNSENT_NBYTES_HIGH:
                self._spawn(self._drain(stream))
                break
            with self._lock:
                self._send_batch(stream, failed)
        for call, failure in failed:
            call.settle(RAISED, failure)

    def _send_batch(self, stream: Stream, failed: list[tuple[Pending, Failure]]) -> None:
        """Write the rest of what has begun to leave, and up to `BATCH_MAX` calls. With the lock."""
        batch: list[list[Any]] = []
        try:
            if self._rest:
                rest, self._rest = self._rest, []
                stream.write_buffers(rest)
            while self.waiting and len(batch) < BATCH_MAX:
                call = self.waiting.popleft()
                entry = self._entry(call)
                self._under_way[self._number] = call
                if type(call.arguments) is bytes:
                    batch.append(entry)
                    continue
                if batch:
                    stream.write_plain_nowait(batch)
                    batch = []
                try:
                    stream.write_plain_nowait([entry])
                except (UnencodableError, MessageTooLargeError) as error:  # it fails, and no other call
                    failed.append((self._under_way.pop(entry[0]), failure_from_exception(error)))
            if batch:
                stream.write_plain_nowait(batch)
        except CommClosedError:
            return  # what is under way hears of it from the close callback

    def _spawn(self, coroutine: Any) -> None:
        self._busy = self._loop.create_task(coroutine)
        self._busy.add_done_callback(self._free)

    def _free(self, task: asyncio.Task[None]) -> None:
        self._busy = None
        if not task.cancelled() and task.exception() is None:
            self.flush()

    async def _connect(self) -> None:
        try:
            stream = await connect_address(self.address, CONNECT_S, self._role, self._keys, patient=False)
        except (CommClosedError, ConnectTimeoutError) as error:
            self._fail_waiting(error)
            return
        except DistributedError as error:
            self.close(error)
            return
        stream.set_close_callback(lambda: self._on_close(stream))
        stream.set_message_handler(self._on_answers)
        stream.write_plain_nowait({"op": "actors", "reply": False})
        with self._lock:
            self._stream, self._shortcut = stream, Shortcut(stream)

    async def _drain(self, stream: Stream) -> None:
        try:
            await stream.drain()
        except CommClosedError:
            return  # its close callback has told everybody

    def _on_answers(self, message: Any) -> None:
        if isinstance(message, ErrorReply):
            self._protocol_error(f"the worker refused: {message['text']}")
            return
        try:
            for number, kind, value in message:
                self._on_answer(number, kind, value)
        except (TypeError, ValueError):
            self._protocol_error("it answered with no list of answers")
        if self.waiting:
            self.flush()

    def _on_answer(self, number: int, kind: int, value: Any) -> None:
        if kind == PART:
            if number in self._under_way:
                self._parts.setdefault(number, []).append(value)
            return
        call = self._under_way.pop(number, None)
        parts = self._parts.pop(number, None)
        if call is None:
            return
        if kind == JOINED:
            kind, value = RETURNED, _joined(parts or [], value)
        call.settle(kind, value)

    def _protocol_error(self, text: str) -> None:
        stream = self._stream
        error = ProtocolError(f"{self.address}: {text}")
        self.fail(error)
        if stream is not None:
            stream.close()

    def _on_close(self, stream: Stream) -> None:
        if stream is not self._stream:
            return
        error = stream.why_closed()
        reason = getattr(error, "reason", str(error))
        with self._lock:
            self._forget_stream()
            broken, self._under_way = list(self._under_way.values()), {}
        self._parts.clear()
        self.waiting.extendleft(_probe(call, self.address, reason) for call in reversed(broken))
        if self.waiting:
            self.flush()

    def fail(self, error: DistributedError, concerns: Callable[[Pending], bool] = lambda call: True) -> None:
        """Calls under way and waiting that `concerns` picks have failed."""
        failure = failure_from_exception(error)
        for number, call in list(self._under_way.items()):
            if concerns(call):
                del self._under_way[number]
                self._parts.pop(number, None)
                call.settle(RAISED, failure)
        waiting = [call for call in self.waiting if concerns(call)]
        for call in waiting:
            self.waiting.remove(call)
            call.settle(RAISED, failure)

    def _forget_stream(self) -> None:
        """With the lock."""
        self._stream = None
        self._rest = []
        if self._shortcut is not None:
            self._shortcut.close()
            self._shortcut = None

    def close(self, error: DistributedError) -> None:
        """End; whatever is under way or waits fails with `error`."""
        stream = self._stream
        with self._lock:
            self._forget_stream()
        if self._busy is not None:
            self._busy.cancel()
        self.fail(error)
        if stream is not None:
            stream.close()

    def _fail_waiting(self, error: DistributedError) -> None:
        reason = getattr(error, "reason", str(error))
        waiting, self.waiting = self.waiting, deque()
        for call in waiting:
            lost = ActorLostError(call.key, self.address, f"its worker cannot be reached ({reason})")
            call.settle(RAISED, failure_from_exception(lost))


def _probe(call: Pending, address: str, reason: str) -> Pending:
    """What finds out why the answer to `call` did not come: its actor is gone, or only the connection was."""

    def settle(kind: int, value: Any) -> None:
        if kind == RETURNED:
            text = f"the connection broke while {call.name} of {call.key} was under way, so whether it ran is not known"
            kind, value = RAISED, failure_from_exception(CommClosedError(address, f"{text} ({reason})"))
        call.settle(kind, value)

    return Pending(call.key, call.actor, "", True, b"", settle)


def _joined(parts: list[Serialized], lengths: list[int]) -> Serialized:
    whole = memoryview(b"".join(part.frames[-1] for part in parts))
    frames, start = [], 0
    for length in lengths:
        frames.append(whole[start : start + length])
        start += length
    return Serialized(list(frames))
