"""What a worker does about its memory, as a machine. Pure: no I/O, clock, random or thread.

    fraction of the limit  what is compared                 what happens above it
    target     60 %        results held in memory           the least recently used are written to disk, down to it
    spill      70 %        the memory of the process        the same, until the process is down at the target
    pause      80 %        the memory of the process        no task begins here; again 5 % of the limit below
    terminate  95 %        the memory of the process        the nanny ends the process and starts another one

Which results go is the store's business, which knows who was used last; writing is the disk's. Not here: the nanny's
clock, the limits of single tasks (`distributed.worker.limits`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.dataclass import dataclass

__all__ = [
    "Effect",
    "Event",
    "Levels",
    "Look",
    "Measure",
    "Measured",
    "MemoryMachine",
    "Pause",
    "Spill",
    "SpillEnded",
    "Trim",
    "look_after_s",
]

FILL_NBYTES_PER_S = 2 * 2**30  # what one thread can touch for the first time; who looks again before it is used up
LOOK_S_MIN = 0.1  # hardly more than a tenth of the thresholds' distance is filled meanwhile, and costs 0.03 % of a core
LOOK_S_MAX = 1.0
HYSTERESIS = 0.05  # of the limit: a worker at the edge must not tell the scheduler ten times a second
DISK_RETRY_S = 10.0  # after a full disk: somebody may have made room
TRIM_S = 10.0  # between two attempts to give freed memory back to the system
STUCK_S = 30.0  # a pause that long with nothing to write frees nothing any more


@dataclass(slots=True, frozen=True)
class Levels:
    """The thresholds of one process in bytes; 0 turns one off.

    Attributes:
        limit_nbytes: what the process may use, > 0.
    """

    limit_nbytes: int
    target_nbytes: int
    spill_nbytes: int
    pause_nbytes: int
    terminate_nbytes: int

    @classmethod
    def of(cls, limit_nbytes: int, target: float, spill: float, pause: float, terminate: float) -> Levels:
        """From a limit > 0 and fractions of it, each from 0 (off) to 1."""
        return cls(limit_nbytes, *(int(limit_nbytes * part) for part in (target, spill, pause, terminate)))

    @property
    def resume_nbytes(self) -> int:
        """Below it a pause ends."""
        return max(0, self.pause_nbytes - int(HYSTERESIS * self.limit_nbytes))


def look_after_s(nbytes: int, level_nbytes: int, least_s: float = LOOK_S_MIN, most_s: float = LOOK_S_MAX) -> float:
    """Seconds until memory should be looked at again so that it cannot go far beyond a level unseen."""
    return min(most_s, max(least_s, (level_nbytes - nbytes) / FILL_NBYTES_PER_S))


# ---------------------------------------------------------------- events


@dataclass(slots=True)
class Look:
    """It is time to look, or much was kept since the last look."""


@dataclass(slots=True)
class Measured:
    """The answer to `Measure`.

    Attributes:
        process_nbytes: memory of the process, see `distributed.worker.measure`.
        managed_nbytes: measured sizes of the results that lie in memory, those under way to disk included.
        spilling_nbytes: of these, the ones under way to disk.
        spillable_nbytes: of these, the ones that could go there and are not under way.
    """

    process_nbytes: int
    managed_nbytes: int
    spilling_nbytes: int
    spillable_nbytes: int


@dataclass(slots=True)
class SpillEnded:
    """Writing has ended; if it `failed`, the disk takes no more and results are in memory still."""

    failed: bool


Event = Look | Measured | SpillEnded

# ---------------------------------------------------------------- effects


@dataclass(slots=True)
class Measure:
    """Answer with `Measured`."""


@dataclass(slots=True)
class Spill:
    """Write the least recently used results to disk until `nbytes` of memory are free, if there are so many."""

    nbytes: int


@dataclass(slots=True)
class Trim:
    """Nothing is left to be written: collect garbage and give what was freed back to the system."""


@dataclass(slots=True)
class Pause:
    """Begin no more tasks and say so to the scheduler; or, not `paused`, go on."""

    paused: bool
    process_nbytes: int
    is_stuck: bool = False  # not `paused`, because waiting has not helped


Effect = Measure | Spill | Trim | Pause


class MemoryMachine:
    """Decides for one process.

    A pause ends below its level, and also after 30 s with nothing left that could be written: then waiting frees
    nothing, and tasks that end may. What follows is either room or the nanny's certificate, but no silence.

    Attributes:
        next_wakeup: monotonic seconds when it wants `Look`; None only while an answer to `Measure` is awaited.
    """

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        self.next_wakeup: float | None = None
        self.is_paused = False
        self._stuck_since: float | None = None  # paused and nothing can be written
        self._is_resigned = False  # went on although it is above the level
        self._disk_works = True
        self._disk_after = 0.0
        self._trim_after = 0.0
        self._effects: list[Effect] = []

    def handle(self, event: Event, now: float) -> None:
        """Change the state; the effects are then taken with `take_effects`."""
        _HANDLERS[type(event)](self, event, now)

    def take_effects(self) -> list[Effect]:
        """What is to be done since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def _look(self, event: Look, now: float) -> None:
        self.next_wakeup = None
        self._effects.append(Measure())

    def _spill_ended(self, event: SpillEnded, now: float) -> None:
        self._disk_works = not event.failed
        if event.failed:
            self._disk_after = now + DISK_RETRY_S

    def _measured(self, event: Measured, now: float) -> None:
        levels = self.levels
        can_spill = event.spillable_nbytes > 0 and now >= self._disk_after
        nbytes = self._excess(event)
        if nbytes > 0 and can_spill:
            self._effects.append(Spill(nbytes))
        is_full = 0 < levels.spill_nbytes < event.process_nbytes
        if is_full and not can_spill and not event.spilling_nbytes and now >= self._trim_after:
            self._trim_after = now + TRIM_S
            self._effects.append(Trim())
        helps = self._disk_works and (can_spill or event.spilling_nbytes > 0)
        self._pause(event.process_nbytes, helps, now)
        level = levels.target_nbytes or levels.pause_nbytes or levels.limit_nbytes
        self.next_wakeup = now + look_after_s(max(event.process_nbytes, event.managed_nbytes), level)

    def _excess(self, event: Measured) -> int:
        """Bytes that should leave memory beside those under way."""
        levels, nbytes = self.levels, 0
        if levels.target_nbytes:
            nbytes = event.managed_nbytes - levels.target_nbytes
        if 0 < levels.spill_nbytes < event.process_nbytes:
            nbytes = max(nbytes, event.process_nbytes - (levels.target_nbytes or levels.spill_nbytes))
        return nbytes - event.spilling_nbytes

    def _pause(self, process_nbytes: int, helps: bool, now: float) -> None:
        """`helps`: there is hope that something is being, or will be, written."""
        levels = self.levels
        if not levels.pause_nbytes:
            return
        if process_nbytes < levels.resume_nbytes:
            self._is_resigned = False
            if self.is_paused:
                self._set_paused(False, process_nbytes)
        elif not self.is_paused:
            if process_nbytes > levels.pause_nbytes and not self._is_resigned:
                self._set_paused(True, process_nbytes)
        elif helps:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since >= STUCK_S:
            self._is_resigned = True
            self._set_paused(False, process_nbytes)

    def _set_paused(self, paused: bool, process_nbytes: int) -> None:
        self.is_paused = paused
        self._stuck_since = None
        self._effects.append(Pause(paused, process_nbytes, self._is_resigned and not paused))


_HANDLERS: dict[type[Any], Callable[[MemoryMachine, Any, float], None]] = {
    Look: MemoryMachine._look,
    Measured: MemoryMachine._measured,
    SpillEnded: MemoryMachine._spill_ended,
}
