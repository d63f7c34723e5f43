"""Both ends of a client's session: the real ledger over simulated connections, as `distributed.endpoint` has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgpack import packb, unpackb

from distributed.ledger import Ledger
from distributed.testing.simulation.clock import MS
from distributed.testing.simulation.network import TWICE, End
from distributed.testing.simulation.processes import Process

__all__ = ["ASK", "BYE", "Endpoint"]

ACK, ASK, BYE = "ack", "ack?", "bye"
CONFIRM = 200 * MS  # after a message, if too few came to confirm them at once


class Endpoint:
    """One end, over one connection after the other.

    Attributes:
        ledger: what was sent and received.
        end: the connection of this moment; None: it is cut off.
        cuts: how often it was; cut_at: when it was the last time.
        began_at: when the session began, on this side.
    """

    def __init__(
        self,
        process: Process,
        on_message: Callable[[Any], None],
        on_cut: Callable[[str], None],
        on_confirmed: Callable[[], None] | None = None,
        on_bye: Callable[[], None] | None = None,
    ) -> None:
        self.process = process
        self.ledger = Ledger()
        self.end: End | None = None
        self._on_message, self._on_cut = on_message, on_cut
        self._on_confirmed, self._on_bye = on_confirmed, on_bye
        self._timed: End | None = None
        self.cuts = 0
        self.began_at = self.cut_at = process.world.clock.now

    def attach(self, end: End, received: int = 0) -> None:
        """Go on over `end`, whose other side has received so many messages; an earlier one is closed."""
        missing = self.ledger.missing(received)
        self.detach()
        self.end = end
        end.on_message = self._on_wire
        end.on_closed = lambda reason: self._closed(end, reason)
        for packed in missing:
            end.send(unpackb(packed, strict_map_key=False))
            self.tell([ASK])

    def detach(self) -> None:
        """Close the connection; nobody is told."""
        end, self.end = self.end, None
        if end is not None:
            end.on_closed = _ignore
            end.close()

    def send(self, wire: list[Any]) -> None:
        """Send a message: now, or when there is a connection again."""
        packed = packb(wire)
        asks = self.ledger.send(packed, len(packed))
        if self.end is not None:
            self.end.send(wire)
        if asks:
            self.tell([ASK])

    def tell(self, control: list[Any]) -> None:
        """Send a word that is not counted."""
        if self.end is not None:
            self.end.send(control)

    def is_settled(self) -> bool:
        """Whether both sides have had everything that was sent, as far as this one knows."""
        return self.end is not None and self.end.is_quiet()

    def _closed(self, end: End, reason: str) -> None:
        if end is self.end:
            self.end = None
            self.cuts += 1
            self.cut_at = self.process.world.clock.now
            self._on_cut(reason)

    def _on_wire(self, wire: list[Any]) -> None:
        op = wire[0]
        if op == ACK:
            self.ledger.confirmed(wire[1])
            if self._on_confirmed is not None:
                self._on_confirmed()
        elif op == ASK:
            self._confirm()
        elif op == BYE:
            if self._on_bye is not None:
                self._on_bye()
        elif op == TWICE:  # a copy that came behind the account's back
            self._on_message(wire[1])
        else:
            is_due = self.ledger.receive()
            end = self.end
            self._on_message(wire)
            if is_due:
                self._confirm()
            elif self._timed is not end:
                self._timed = end
                self.process.later(CONFIRM, self._confirm_late, end)

    def _confirm(self) -> None:
        self.tell([ACK, self.ledger.confirm()])

    def _confirm_late(self, end: End | None) -> None:
        if self._timed is end:
            self._timed = None
        if end is self.end and self.ledger.owes:
            self._confirm()


def _ignore(_: str) -> None:
    """Whoever closed knows."""
