"""The records of all keys that somebody in this program holds, and whoever waits for them.

What the scheduler says changes records on the loop; users hold, release and wait from any thread. One lock guards all.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from distributed.client.records import KeyRecord, Latch, Status
from distributed.messages import Failure, KeysCancelled, KeysDone, KeysFailed, KeysLost

__all__ = ["KeyTable"]

PIECE = 1000  # records looked at in one go: 0.2 ms during which nothing else is known

Waiter = Callable[[KeyRecord], Any]


class KeyTable:
    """See the module.

    Attributes:
        records: by key.
        lock: of records, their holders and waiters; short, never held while code of others runs.
    """

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.lock = threading.Lock()
        self._fading: dict[str, int | None] = {}
        self._fading_by_number: deque[tuple[int, list[str]]] = deque()

    # ------------------------------------------------------------ what users hold

    def hold(self, key: str) -> KeyRecord:
        """One more holder of a key that is known here."""
        with self.lock:
            record = self.records[key]
            record.holders += 1
            return record

    def admit(self, key: str) -> tuple[KeyRecord, bool]:
        """One more holder of any key, and whether the scheduler has to hear of it. The caller has the lock."""
        record = self.records.get(key)
        if record is None:
            record = self.records[key] = KeyRecord(key)
            return record, True
        record.holders += 1
        if record.status is Status.CANCELLED or record.status is Status.LOST:
            record.status, record.reason = Status.PENDING, ""  # the scheduler has forgotten it: asking means computing
            return record, True
        return record, False

    def let_go(self, keys: Sequence[str], tell: Callable[[list[str]], object]) -> None:
        """One holder less of each of `keys`; those that nobody holds now are forgotten, and told to `tell`.

        Both under the lock: if somebody submits such a key again meanwhile, the scheduler must hear of that later.
        """
        self.settle(self._drop(keys, tell, fades=False))

    def drop(self, keys: Sequence[str], tell: Callable[[list[str]], object]) -> list[KeyRecord]:
        """`let_go` for who calls `fade` and `confirmed` too, on any thread: the answer is to be settled on the loop."""
        return self._drop(keys, tell, fades=True)

    def _drop(self, keys: Sequence[str], tell: Callable[[list[str]], object], fades: bool) -> list[KeyRecord]:
        gone: list[str] = []
        waited_for: list[KeyRecord] = []
        data: list[str] = []
        with self.lock:
            for key in chain(keys, data):  # which grows meanwhile
                record = self.records.get(key)
                if record is None:
                    continue
                record.holders -= 1
                if record.holders:
                    continue
                del self.records[key]
                gone.append(key)
                if record.data is not None:
                    data += record.data
                is_known = record.status is not Status.CANCELLED and record.status is not Status.LOST
                if fades and is_known and not record.is_unsent:
                    # One that is decided may have been lost and computed again meanwhile, or retried by somebody else.
                    self._fading[key] = None
                if record.payload is None and record.failure is None and record.status is not Status.LOST:
                    # Whoever released it by hand and asks for it later must not wait for ever.
                    record.status, record.reason = Status.CANCELLED, "it was released here"
                    if record.waiters is not None:
                        waited_for.append(record)
            if gone:
                tell(gone)
        return waited_for

    def begin_cancelling(
        self, records: Iterable[KeyRecord], reason: str = "", force: bool = False
    ) -> tuple[list[str], list[KeyRecord]]:
        """Whatever they were, these are PENDING until the scheduler has answered. The caller has the lock.

        Returns:
            The keys to ask the scheduler about, and the records that are decided now, to be settled without the lock.
        """
        asked: list[str] = []
        decided: list[KeyRecord] = []
        for record in records:
            if record.status is Status.CANCELLED or record.status is Status.LOST:
                if force:  # the scheduler has forgotten it, but it may run on
                    asked.append(record.key)
                continue
            if self.records.get(record.key) is not record:
                asked.append(record.key)
                continue
            record.payload = record.failure = None
            if record.is_unsent:
                record.status, record.reason, record.is_unsent = Status.CANCELLED, reason, False
                decided.append(record)
            else:
                record.status, record.is_cancelling = Status.PENDING, True
                asked.append(record.key)
        return asked, decided

    def begin_retrying(self, records: Iterable[KeyRecord]) -> list[str]:
        """Those that failed are PENDING until the scheduler has answered; their keys. The caller has the lock.

        Left as they are: those that could not be sent, or were sent to another scheduler.
        """
        asked: list[str] = []
        for record in records:
            if record.status is Status.ERROR and not record.is_unsent and self.records.get(record.key) is record:
                record.status, record.failure = Status.PENDING, None
                asked.append(record.key)
        return asked

    # ------------------------------------------------------------ keys that were released undecided

    # The scheduler may have answered already when it hears that a key is released. Were the key submitted again at
    # once, that answer would settle the new task. So answers are ignored until it has confirmed the release.

    def fade(self, keys: Sequence[str], number: int) -> bool:
        """The release of `keys` left as the message `number`; whether its confirmation is waited for."""
        with self.lock:
            fading = [key for key in keys if key in self._fading]
            for key in fading:
                self._fading[key] = number
            if fading:
                self._fading_by_number.append((number, fading))
        return bool(fading)

    def confirmed(self, count: int) -> None:
        """The scheduler has taken `count` messages: answers from now on are about what was submitted after them."""
        with self.lock:
            while self._fading_by_number and self._fading_by_number[0][0] <= count:
                number, keys = self._fading_by_number.popleft()
                for key in keys:
                    if self._fading.get(key) == number:
                        del self._fading[key]

    # ------------------------------------------------------------ waiting

    def add_waiter(self, record: KeyRecord, waiter: Waiter) -> None:
        """Call ``waiter(record)`` on the loop when it settles; here and now if it has."""
        with self.lock:
            if record.status is Status.PENDING:
                if record.waiters is None:
                    record.waiters = []
                record.waiters.append(waiter)
                return
        waiter(record)

    def forget_waiter(self, records: Iterable[KeyRecord], waiter: Waiter) -> None:
        """`waiter` waits no longer for `records`: its time is up, or it has seen enough."""
        with self.lock:
            for record in records:
                if record.waiters and waiter in record.waiters:
                    record.waiters.remove(waiter)

    def latch(self, records: Sequence[KeyRecord]) -> Latch:
        """Opens when all `records` have settled. Cost: 0.2 us each, in pieces, so that answers come in meanwhile."""
        latch = Latch(len(records))
        skipped = 0
        for start in range(0, len(records), PIECE):
            with self.lock:
                for record in records[start : start + PIECE]:
                    if record.status is not Status.PENDING:
                        skipped += 1
                    elif record.waiters is None:
                        record.waiters = [latch.settle]
                    else:
                        record.waiters.append(latch.settle)
        latch.skip(skipped)
        return latch

    def settle(self, records: Iterable[KeyRecord]) -> None:
        """Tell the waiters of `records`, which are decided."""
        for record in records:
            with self.lock:
                waiters, record.waiters = record.waiters, None
            for waiter in waiters or ():
                waiter(record)

    # ------------------------------------------------------------ what the scheduler says

    def on_done(self, message: KeysDone) -> None:
        """Results exist."""
        records, settled = self.records, []
        with self.lock:
            fading = self._fading
            for key, payload in zip(message.keys, message.results, strict=True):
                record = records.get(key)
                if record is not None and not record.is_cancelling and not (fading and key in fading):
                    record.status = Status.FINISHED
                    record.payload = payload
                    record.failure = None
                    if record.waiters is not None:
                        settled.append(record)
        self.settle(settled)

    def on_failed(self, message: KeysFailed) -> None:
        """Tasks raised."""
        for key, failure in zip(message.keys, message.failures, strict=True):
            self._decide(key, Status.ERROR, failure=failure)

    def fail_unsent(self, keys: Iterable[str], failure: Failure) -> None:
        """Tasks that no message can carry: they fail here, and the scheduler hears nothing of them."""
        for key in keys:
            self._decide(key, Status.ERROR, failure=failure, is_unsent=True)

    def on_cancelled(self, message: KeysCancelled) -> None:
        """Somebody cancelled."""
        for key in message.keys:
            self._decide(key, Status.CANCELLED, reason=message.reason)

    def on_lost(self, message: KeysLost) -> None:
        """Results are gone; what came here with the answer is not."""
        for key in message.keys:
            if not message.recomputing:
                self._decide(key, Status.LOST)
                continue
            with self.lock:
                record = self.records.get(key)  # one that fades is not decided
                if record is None or record.is_unsent:
                    continue
                if record.status is Status.ERROR or (record.status is Status.FINISHED and record.payload is None):
                    record.status, record.failure = Status.PENDING, None

    def lose_pending(self) -> None:
        """Nobody will decide what is pending: the connection has ended."""
        with self.lock:
            pending = [record for record in self.records.values() if record.status is Status.PENDING]
            for record in pending:
                record.status, record.is_cancelling = Status.LOST, False
        self.settle(pending)

    def lose_session(self, reason: str) -> list[KeyRecord]:
        """The scheduler has forgotten us: all is lost that has not come here. The caller has the lock, then settles."""
        lost: list[KeyRecord] = []
        self._fading.clear()
        self._fading_by_number.clear()
        for record in self.records.values():
            if record.status is Status.PENDING or (record.status is Status.FINISHED and record.payload is None):
                record.status, record.reason, record.is_cancelling = Status.LOST, reason, False
                lost.append(record)
            else:
                record.is_unsent = True  # a new scheduler knows nothing of it, and would not answer a cancel
        return lost

    def _decide(
        self, key: str, status: Status, failure: Failure | None = None, reason: str = "", is_unsent: bool = False
    ) -> None:
        with self.lock:
            record = self.records.get(key)
            if record is None or key in self._fading or (record.is_cancelling and status is not Status.CANCELLED):
                return
            record.status, record.failure, record.reason, record.payload = status, failure, reason, None
            record.is_cancelling, record.is_unsent = False, is_unsent
        self.settle([record])
