"""The client's end of its session with the scheduler: what is queued leaves in batches, and a cut is mended.

Users queue from any thread; one wake-up of the loop sends whatever came meanwhile. When the connection breaks the link
connects again for a while, and the session goes on where it was. A scheduler that has forgotten us begins a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from distributed.client.outbox import Outbox
from distributed.client.table import KeyTable
from distributed.comm.stream import Stream
from distributed.config import settings
from distributed.driver import StepTimes
from distributed.endpoint import Endpoint
from distributed.errors import CommClosedError, ConnectTimeoutError, DistributedError, ProtocolError
from distributed.messages import (
    SCHEDULER,
    Coordinate,
    Message,
    ReleaseKeys,
    RequestAnswered,
    ServerClosing,
    SubmitTasks,
)
from distributed.protocol.codec import ErrorReply
from distributed.wire import from_wire, halves

__all__ = ["Reconnect", "SchedulerLink"]

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 5.0  # for what was submitted to leave when the client is closed
PAUSE_S, PAUSE_S_MAX = 0.05, 1.0  # between two tries to connect again; doubled each time

Reconnect = Callable[[float, list[Any]], Coroutine[Any, Any, tuple[Stream, dict[str, Any]]]]


class SchedulerLink:
    """See the module. Everything but `wake` is called on the loop.

    Args:
        table: its lock also guards the order of `outbox`.
        handlers: what to do with each type of message.
        reconnect: introduces us again, given seconds and what `ClientSessions.serve` wants to be told.
        before_sending: called first whenever the outbox is emptied; true: it wants to be called again soon.
        on_lost: called with the reason when the scheduler has forgotten us, and at the end.

    Attributes:
        scheduler_id: of the scheduler's life that we talk with.
        end: why nothing can be asked any more; None: it can.
    """

    def __init__(
        self,
        table: KeyTable,
        handlers: dict[type, Callable[[Any], None]],
        reconnect: Reconnect,
        before_sending: Callable[[], bool],
        on_lost: Callable[[str], object],
    ) -> None:
        self.outbox = Outbox()
        self.end: DistributedError | None = None
        self.address = "the scheduler"
        self.steps = StepTimes()  # of sending and receiving on the client's loop
        self._loop = asyncio.get_running_loop()
        self._table = table
        self._handlers: dict[type, Callable[[Any], None]] = {**handlers, ServerClosing: self._on_server_closing}
        self._reconnect_once = reconnect
        self._before_sending = before_sending
        self._on_lost = on_lost
        self.scheduler_id = ""
        self._endpoint = self._new_endpoint()
        self._connected = asyncio.Event()  # also at the end
        self._reconnecting: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._awake = False

    def start(self, stream: Stream, hello: dict[str, Any]) -> None:
        """Begin; before anything else is awaited, or messages are lost."""
        self.address = stream.peer.address
        self.scheduler_id = str(hello["id"])
        self._endpoint.attach(stream)
        self._connected.set()

    @property
    def is_connected(self) -> bool:
        """Whether what is sent leaves now."""
        return self.end is None and self._endpoint.stream is not None

    @property
    def stream(self) -> Stream | None:
        """The connection of this moment; None: it is cut."""
        return self._endpoint.stream

    async def wait_connected(self) -> None:
        """Until there is a connection, or the end: `reconnect_timeout_s` at most."""
        await self._connected.wait()

    async def close(self) -> None:
        """Send what is waiting, if there is a connection, and end."""
        self.finish(CommClosedError(self.address, "this client was closed"))
        self.flush()
        await self._leave()

    def _leave(self) -> asyncio.Task[None]:
        """Say goodbye and close the connection; nothing is received from now on."""
        if self._leaving is None:
            self._endpoint.say_bye()
            self._leaving = asyncio.ensure_future(_close_flushed(self._endpoint.release()))
        return self._leaving

    def finish(self, error: DistributedError) -> None:
        """It is over: whoever waits hears `error`."""
        if self.end is not None:
            return
        with self._table.lock:
            self.end = error
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        self._connected.set()
        self._table.lose_pending()
        self._on_lost("is gone")

    # ------------------------------------------------------------ sending

    def wake(self) -> None:
        """Something is in the outbox; from any thread, even inside garbage collection."""
        if self._awake:
            return
        self._awake = True
        try:
            self._loop.call_soon_threadsafe(self.flush)
        except RuntimeError:  # the loop has ended, as it may before the last future is collected
            return
        except BaseException:  # Ctrl-C, or an interrupt of the task that submits: or nothing would ever leave again
            self._awake = False
            raise

    def flush(self) -> None:
        """Send what is in the outbox, as far as the other side keeps up."""
        began = perf_counter()
        self._awake = False
        if self._before_sending():
            self.wake()  # the rest in the next turn
        self._send_waiting()
        self.steps.add(perf_counter() - began)

    def _send_waiting(self) -> None:
        endpoint, outbox = self._endpoint, self.outbox
        while endpoint.stream is not None and not endpoint.ledger.is_full:
            message = outbox.next_message()
            if message is None:
                return
            try:
                endpoint.send(message.to_wire())
            except DistributedError as error:
                self._retry_smaller(message, error)
                continue
            if type(message) is ReleaseKeys and self._table.fade(message.keys, endpoint.ledger.sent):
                endpoint.ask()

    def _on_confirmed(self) -> None:
        self._table.confirmed(self._endpoint.ledger.confirmed_count)
        self.flush()

    def _retry_smaller(self, message: Message, error: DistributedError) -> None:
        """A message is over a limit: it is cut, so that only those tasks fail that do not fit by themselves."""
        parts = halves(message)
        if parts:
            self.outbox.put_back(parts)
            return
        logger.warning("%s could not be sent: %s", message.op, error)
        if isinstance(message, SubmitTasks):
            self.outbox.unsend_functions(message.functions)
            failure = [f"distributed.errors.{type(error).__name__}", str(error), "", None]
            self._table.fail_unsent(message.keys, failure)
        elif isinstance(message, Coordinate):  # whoever waits for the answer must not wait for ever
            self._handlers[RequestAnswered](RequestAnswered(message.request, "limit", str(error), 0, [], [], []))

    # ------------------------------------------------------------ receiving

    def _on_message(self, wire: Any) -> None:
        began = perf_counter()
        try:
            if isinstance(wire, ErrorReply):
                raise ProtocolError(f"the scheduler closed the connection: {wire['text']}")
            message = from_wire(wire, SCHEDULER)
            handler = self._handlers.get(type(message))
            if handler is None:
                raise ProtocolError(f"a client does not serve {message.op!r}")
        except ProtocolError as error:
            self._on_fault(error)
            return
        handler(message)
        self.steps.add(perf_counter() - began)

    def _on_fault(self, error: ProtocolError) -> None:
        self.finish(error)
        self._leave()

    def _on_server_closing(self, message: ServerClosing) -> None:
        self.finish(CommClosedError(self.address, f"the scheduler ended: {message.reason}"))

    # ------------------------------------------------------------ a cut, and what follows

    def _new_endpoint(self) -> Endpoint:
        return Endpoint(self._on_message, self._on_cut, self._on_fault, on_confirmed=self._on_confirmed)

    def _on_cut(self, error: DistributedError) -> None:
        if self.end is not None:
            return
        if isinstance(error, ProtocolError):  # what came was no message: it would come again
            self.finish(error)
            return
        self._connected.clear()
        self._reconnecting = asyncio.ensure_future(self._reconnect(getattr(error, "reason", str(error))))

    async def _reconnect(self, cause: str) -> None:
        patience_s = settings().reconnect_timeout_s
        logger.info("cut off from the scheduler at %s: %s", self.address, cause)
        deadline = self._loop.time() + patience_s
        pause_s = PAUSE_S
        while (left_s := deadline - self._loop.time()) > 0:
            try:
                told = [self.scheduler_id, self._endpoint.ledger.received]
                stream, hello = await self._reconnect_once(min(left_s, settings().connect_timeout_s), told)
            except (ConnectTimeoutError, CommClosedError):
                await asyncio.sleep(min(pause_s, max(0.0, left_s)))
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                continue
            except DistributedError as error:
                self.finish(CommClosedError(self.address, f"the scheduler is gone ({cause}; then: {error})"))
                return
            self._resume(stream, hello)
            return
        self.finish(CommClosedError(self.address, f"the scheduler is gone ({cause}), and not back in {patience_s:g} s"))

    def _resume(self, stream: Stream, hello: dict[str, Any]) -> None:
        received = hello.get("received")
        if type(received) is int and self._endpoint.ledger.can_resume(received):
            self._endpoint.attach(stream, received)
            self._table.confirmed(received)
        else:
            is_new = hello["id"] != self.scheduler_id
            self._begin_anew("was started anew" if is_new else "waited no longer for this client")
            self.scheduler_id = str(hello["id"])
            self._endpoint.attach(stream)
        self._connected.set()
        self.flush()

    def _begin_anew(self, reason: str) -> None:
        """The scheduler knows nothing of us: what it was told, or was to be told, is void."""
        logger.warning("the scheduler at %s %s: pending futures are lost", self.address, reason)
        self._endpoint = self._new_endpoint()
        with self._table.lock:
            self.outbox.clear()
            lost = self._table.lose_session(reason)
        self._table.settle(lost)
        self._on_lost(reason)


async def _close_flushed(stream: Stream | None) -> None:
    if stream is None:
        return
    try:
        async with asyncio.timeout(FLUSH_TIMEOUT_S):
            await stream.close_after_flush()
    except TimeoutError:
        stream.close()  # a scheduler that does not read
