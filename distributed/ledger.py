"""The account of a session that outlives its connections: what one side has sent and the other not yet confirmed.

Both sides count messages. Each keeps what it sent until the other has confirmed it; after a cut each tells how many it
has received, and gets the rest again. So every message arrives exactly once and in order, however often the connection
breaks. Pure: messages are opaque here; `distributed.endpoint` moves them over streams.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from distributed.errors import ProtocolError
from distributed.units import MiB

__all__ = ["Ledger"]

CONFIRM_COUNT = 32  # messages received, after which the other side is told: one small message for many
ASK_NBYTES = 1 * MiB  # sent, after which we ask to be told: big messages are not kept for long
COUNT_MAX, NBYTES_MAX = 100_000, 64 * MiB  # kept at most


class Ledger:
    """One side's account.

    Attributes:
        sent: messages given to `send`, ever.
        received: messages counted by `receive`, ever.
        nbytes: of the messages that are kept.
    """

    __slots__ = ("_count_max", "_kept", "_nbytes_max", "_told", "_unasked", "nbytes", "received", "sent")

    def __init__(self, count_max: int = COUNT_MAX, nbytes_max: int = NBYTES_MAX) -> None:
        self.sent = self.received = self.nbytes = 0
        self._count_max, self._nbytes_max = count_max, nbytes_max
        self._kept: deque[tuple[Any, int]] = deque()  # the last messages of `sent`, and their sizes
        self._told = 0  # of `received`, what the other side was told
        self._unasked = 0  # bytes sent since we asked

    # ------------------------------------------------------------ sending

    def send(self, message: Any, nbytes: int) -> bool:
        """Keep a message that is being sent; whether to ask the other side now how far it is."""
        self.sent += 1
        self._kept.append((message, nbytes))
        self.nbytes += nbytes
        self._unasked += nbytes
        if self._unasked < ASK_NBYTES and not self.is_full:
            return False
        self._unasked = 0
        return True

    @property
    def is_full(self) -> bool:
        """Whether as much is kept as may be: send no more until `confirmed`, or `trim`."""
        return self.nbytes >= self._nbytes_max or len(self._kept) >= self._count_max

    def trim(self) -> None:
        """For who cannot wait: forget the oldest messages until there is room. A session that needs them is over."""
        while self.is_full:
            self.nbytes -= self._kept.popleft()[1]

    def confirmed(self, count: int) -> None:
        """The other side has received `count` messages in all.

        Raises:
            ProtocolError: more than were sent, or fewer than it said before.
        """
        if not self.can_resume(count):
            raise ProtocolError(f"a peer confirms {count:,} messages, {self.sent:,} were sent")
        while self.confirmed_count < count:
            self.nbytes -= self._kept.popleft()[1]

    @property
    def confirmed_count(self) -> int:
        """How many messages the other side has received, as far as we know; after `trim`, at most."""
        return self.sent - len(self._kept)

    def can_resume(self, count: int) -> bool:
        """Whether all is here that a peer lacks who has received `count` messages."""
        return self.confirmed_count <= count <= self.sent

    def missing(self, count: int) -> list[Any]:
        """What to send again to a peer who has received `count` messages, in order; see `can_resume`."""
        self.confirmed(count)
        self._unasked = 0
        return [message for message, _ in self._kept]

    # ------------------------------------------------------------ receiving

    def receive(self) -> bool:
        """Count a message that has come; whether to `confirm` at once, and not only after a while."""
        self.received += 1
        return self.received - self._told >= CONFIRM_COUNT

    @property
    def owes(self) -> bool:
        """Whether the other side has not been told of everything that came."""
        return self.received > self._told

    def confirm(self) -> int:
        """What to tell the other side: how many messages have come."""
        self._told = self.received
        return self.received
