"""One end of a session over streams: sends, keeps, confirms, and sends again on the next stream.

Beside messages three small lists travel, which are not counted: ``["ack", count]`` confirms, ``["ack?"]`` asks for it,
``["bye"]`` says that the session ends on purpose. What is *not* here: who connects again, and for how long one waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from distributed.comm.stream import Stream
from distributed.config import settings
from distributed.errors import CommClosedError, DistributedError, ProtocolError
from distributed.ledger import Ledger
from distributed.protocol.codec import encode_plain

__all__ = ["Endpoint"]

ACK, ASK, BYE = "ack", "ack?", "bye"
CONFIRM_S = 0.2  # after a message, if too few came to confirm them at once


class Endpoint:
    """See the module. Used on one loop.

    Args:
        on_message: called with every message of the other side, once, in order; and with whatever is no list, which
            nobody counts, such as an error reply.
        on_cut: called with the reason when the stream ends and no other one took its place.
        on_fault: called when the other side breaks the rules of a session.
        on_confirmed: called when the other side has confirmed something.
        on_bye: called when the other side ends the session.
    """

    def __init__(
        self,
        on_message: Callable[[Any], object],
        on_cut: Callable[[DistributedError], object],
        on_fault: Callable[[ProtocolError], object],
        on_confirmed: Callable[[], object] | None = None,
        on_bye: Callable[[], object] | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.limits = settings().limits  # of one message
        self.stream: Stream | None = None  # None: cut off
        self._on_message, self._on_cut, self._on_fault = on_message, on_cut, on_fault
        self._on_confirmed, self._on_bye = on_confirmed, on_bye
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, stream: Stream, received: int = 0) -> None:
        """Go on over `stream`, whose other side has received so many messages; an earlier stream is closed."""
        missing = self.ledger.missing(received)
        self.detach()
        self.stream = stream
        stream.set_close_callback(lambda: self._on_close(stream))
        stream.set_message_handler(self._on_wire)
        for buffers in missing:
            self._write(buffers)
            self.ask()  # what was asked before is lost; who waits for it must hear before the answers to what follows

    def detach(self) -> None:
        """Close the stream; nobody is told."""
        stream = self.release()
        if stream is not None:
            stream.close()

    def release(self) -> Stream | None:
        """Use the stream no more, and leave it open."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.set_message_handler(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return stream

    def send(self, message: Any) -> None:
        """Send a message of our own, see `encode_plain`: now, or when there is a stream again.

        Raises:
            UnencodableError, MessageTooLargeError: it cannot be sent; it was not counted.
        """
        buffers = encode_plain(message, self.limits)
        asks = self.ledger.send(buffers, sum(map(len, buffers)))
        self._write(buffers)
        if asks:
            self.ask()

    def ask(self) -> None:
        """Ask the other side to confirm what has left."""
        self._tell([ASK])

    def say_bye(self) -> None:
        """Tell the other side that the session ends on purpose."""
        self._tell([BYE])

    def _tell(self, control: list[Any]) -> None:
        self._write(encode_plain(control))

    def _write(self, buffers: list[Any]) -> None:
        if self.stream is None or self.stream.closed():
            return
        try:
            self.stream.write_encoded(buffers)
        except CommClosedError:
            return  # its close callback follows; what is counted is kept

    def _on_close(self, stream: Stream) -> None:
        if stream is self.stream:
            self.detach()
            self._on_cut(stream.why_closed())

    # ------------------------------------------------------------ receiving

    def _on_wire(self, wire: Any) -> None:
        if type(wire) is not list:
            self._on_message(wire)
            return
        if wire and wire[0] in _CONTROLS:
            try:
                self._on_control(wire)
            except ProtocolError as error:
                self._on_fault(error)
            return
        is_due = self.ledger.receive()
        self._on_message(wire)
        if is_due:
            self._confirm()
        elif self._timer is None:
            self._timer = self._loop.call_later(CONFIRM_S, self._on_timer)

    def _on_control(self, wire: list[Any]) -> None:
        if wire == [ASK]:
            self._confirm()
        elif wire == [BYE]:
            if self._on_bye is not None:
                self._on_bye()
        elif len(wire) == 2 and wire[0] == ACK and type(wire[1]) is int:
            self.ledger.confirmed(wire[1])
            if self._on_confirmed is not None:
                self._on_confirmed()
        else:
            raise ProtocolError(f"{wire[0]!r}: no such message of a session")

    def _confirm(self) -> None:
        self._tell([ACK, self.ledger.confirm()])

    def _on_timer(self) -> None:
        self._timer = None
        if self.ledger.owes:
            self._confirm()


_CONTROLS = (ACK, ASK, BYE)
