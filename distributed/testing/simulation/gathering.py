"""How a simulated client fetches results that stayed on workers, as the real one does: several times, elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.client.records import KeyRecord, Status
from distributed.testing.simulation.clock import MS
from distributed.testing.simulation.scheduler import SCHEDULER_ADDRESS

__all__ = ["Gathering"]

ATTEMPTS_MAX = 8
PAUSE = 50 * MS


class Gathering:
    """One fetch of some results."""

    def __init__(self, client: Any, records: list[KeyRecord], on_end: Callable[[list[str]], None]) -> None:
        self.client = client
        self.session = client.client
        self.missing = {record.key: record for record in records}
        self._on_end = on_end
        self._attempt = 0
        self._left = 0
        self._found: dict[str, Any] = {}

    def begin(self) -> None:
        """Wait until all are decided, then fetch."""
        self._left = 1 + len(self.missing)
        for record in list(self.missing.values()):
            self.client.table.add_waiter(record, self._settled)
        self._settled(None)

    def _settled(self, record: KeyRecord | None) -> None:
        self._left -= 1
        if not self._left:
            self.client.later(0, self._look)

    def _is_over(self) -> bool:
        return bool(self.client.client != self.session)

    def _look(self) -> None:
        if self._is_over():
            return
        for key, record in list(self.missing.items()):
            if record.status is Status.FINISHED and record.payload is not None:
                self._check(key, record.payload)
            elif record.status in (Status.FINISHED, Status.PENDING):
                continue
            del self.missing[key]
        if not self.missing:
            self._end()
            return
        self.client.calls.call(SCHEDULER_ADDRESS, "who_has", list(self.missing), self._holders, self._failed)

    def _failed(self, reason: str) -> None:
        self._holders({})

    def _holders(self, holders: dict[str, list[str]]) -> None:
        if self._is_over():
            return
        by_worker: dict[str, list[str]] = {}
        for number, key in enumerate(self.missing):
            workers = holders.get(key)
            if workers:
                by_worker.setdefault(workers[(number + self._attempt) % len(workers)], []).append(key)
        self._found = {}
        self._left = 1 + len(by_worker)
        for worker, keys in by_worker.items():
            self.client.calls.call(worker, "get_data", [keys, False], self._answered, lambda reason: self._answered({}))
        self._answered({})

    def _answered(self, answer: dict[str, Any]) -> None:
        if self._is_over():
            return
        self._found.update(answer)
        self._left -= 1
        if self._left:
            return
        for key, (value, _) in self._found.items():
            if self.missing.pop(key, None) is not None:
                self._check(key, value)
        if not self.missing:
            self._end()
            return
        if not self._found:
            self._attempt += 1
            if self._attempt == ATTEMPTS_MAX:
                self._end()
                return
        pause = 0 if self._found else PAUSE << (self._attempt - 1)
        self.client.later(pause, self.begin)

    def _check(self, key: str, value: bytes) -> None:
        self.client.world.check_result(self.client, key, value)

    def _end(self) -> None:
        self.client.gatherings.pop(self, None)
        self._on_end(list(self.missing))
