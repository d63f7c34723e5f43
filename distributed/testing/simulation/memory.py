"""The memory of a simulated worker: the real machine and the real store, over a disk that may be full or break."""

from __future__ import annotations

import errno
from typing import Any

from distributed.messages import WorkerPaused
from distributed.testing.simulation.clock import MS, SECOND, seconds
from distributed.testing.simulation.engine import UnknownEffectError
from distributed.worker.memory import Levels, Look, Measure, Measured, MemoryMachine, Pause, Spill, SpillEnded, Trim
from distributed.worker.spill import Spilled, SpillReadError
from distributed.worker.store import Lent, Store

__all__ = ["Disk", "Memory"]

DISK_BANDWIDTH = 200  # bytes per tick: 200 MB/s
KEPT_SHARE = 0.01  # of the limit: so much more kept, and it is time to look


class Disk:
    """In-memory disk of one worker over all its lives.

    Attributes:
        is_full: it takes nothing more; is_broken: what is on it cannot be read now.
        files: ``{path: value}``.
    """

    def __init__(self) -> None:
        self.is_full = False
        self.is_broken = False
        self.files: dict[str, bytes] = {}
        self._serial = 0

    def write(self, value: bytes, nbytes: int) -> File:
        """A new file; OSError if it is full."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "no space left on the simulated disk")
        self._serial += 1
        path = f"simulated/{self._serial}"
        self.files[path] = value
        return File(self, path, nbytes)


class File(Spilled):
    """A result on a simulated disk."""

    __slots__ = ("_disk",)

    def __init__(self, disk: Disk, path: str, nbytes: int) -> None:
        super().__init__(path, [(0, nbytes)], is_plain=True)
        self._disk = disk

    def load(self) -> Any:
        """The value; SpillReadError if the disk does not give it."""
        if self._disk.is_broken or self.path not in self._disk.files:
            raise SpillReadError(self.path, "the simulated disk does not answer")
        return self._disk.files[self.path]

    def payload(self) -> Any:
        """The same: values are bytes."""
        return self.load()


class Memory:
    """The store of one life of a worker, kept within its limit.

    Attributes:
        store: the real one; values are the bytes that tasks return.
        is_paused: no task begins.
    """

    def __init__(self, worker: Any, limit_nbytes: int | None) -> None:
        self.worker = worker
        self.world = worker.world
        self.disk: Disk = worker.disk
        self.disk.files.clear()  # the folder of a life goes with it
        self.store = Store(self._remove)
        self._limit_nbytes = limit_nbytes or 0
        self._machine = MemoryMachine(Levels.of(limit_nbytes, 0.6, 0.7, 0.8, 0.95)) if limit_nbytes else None
        self._writing = 0
        self._disk_works = True
        self._added = 0
        self._wakeup: int | None = None
        self._handle(Look())

    @property
    def is_paused(self) -> bool:
        """Whether memory is short."""
        return self._machine is not None and self._machine.is_paused

    def keep(self, keys: list[str], values: list[Any], nbytes: list[int]) -> None:
        """Put these into the store, and look at once if it was much."""
        self.store.put_columns(keys, values, nbytes)
        if self.store.added_nbytes - self._added > KEPT_SHARE * self._limit_nbytes:
            self._handle(Look())

    def value(self, key: str) -> bytes | None:
        """For a task; None: it is not here, or cannot be read."""
        try:
            value: bytes = self.store.get(key)
        except (KeyError, SpillReadError):
            return None
        return value

    def payload(self, key: str) -> bytes | None:
        """For a peer; the same here, but it does not count as used."""
        if key not in self.store:
            return None
        try:
            value = self.store._values[key]
            given: bytes = value.payload() if isinstance(value, Spilled) else value
        except SpillReadError:
            return None
        return given

    def files(self) -> list[Spilled]:
        """Of all values that are on disk, loaded or not."""
        return [value for value in self.store._values.values() if isinstance(value, Spilled)]

    def _handle(self, event: Any) -> None:
        machine = self._machine
        if machine is None:
            return
        machine.handle(event, seconds(self.world.clock.now))
        for effect in machine.take_effects():
            if isinstance(effect, Measure):
                store = self.store
                self._added = store.added_nbytes
                managed = store.managed_nbytes
                self._handle(Measured(managed, managed, store.spilling_nbytes, store.spillable_nbytes))
            elif isinstance(effect, Spill):
                for lent in self.store.choose(effect.nbytes):
                    self._writing += 1
                    self.worker.later(MS + lent.nbytes // DISK_BANDWIDTH, self._written, lent)
            elif isinstance(effect, Pause):
                self.world.trace.note(self.worker.name, "is short of memory" if effect.paused else "has memory again")
                self.worker.tell(WorkerPaused(effect.paused))
                self.worker.later(0, self.worker.executor.begin)
            elif not isinstance(effect, Trim):
                raise UnknownEffectError(f"no performer for {effect}")
        self._arm()

    def _arm(self) -> None:
        assert self._machine is not None
        wakeup = self._machine.next_wakeup
        when = None if wakeup is None else -int(-wakeup * SECOND // 1)
        if when is not None and when != self._wakeup:
            self._wakeup = when
            self.worker.later(max(1, when - self.world.clock.now), self._look, when)

    def _look(self, when: int) -> None:
        if when == self._wakeup:
            self._wakeup = None
            self._handle(Look())

    def _written(self, lent: Lent) -> None:
        self._writing -= 1
        try:
            file = self.disk.write(lent.value, lent.nbytes)
        except OSError:
            self._disk_works = False
            self.store.take_back(lent.key, lent.ticket, False)
        else:
            self._disk_works = True
            self.store.settle(lent.key, lent.ticket, file)
        if not self._writing:
            self._handle(SpillEnded(not self._disk_works))
            self._handle(Look())

    def _remove(self, file: Spilled) -> None:
        self.disk.files.pop(file.path, None)
