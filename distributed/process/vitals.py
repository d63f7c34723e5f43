"""Is a process alive, beyond having a number? What the kernel says of it, and what follows from that. Linux only.

A worker whose task holds the interpreter sends nothing, and yet it works: it uses the processor. One that was stopped
(SIGSTOP, Ctrl-Z) neither works nor ends. From outside both are merely silent; their nanny can tell them apart.
"""

from __future__ import annotations

import os
from enum import Enum

from distributed.dataclass import dataclass

__all__ = ["Pulse", "Verdict", "Vitals", "read_vitals"]

_UTIME, _STIME = 11, 12  # fields of /proc/<pid>/stat, counted from the state


@dataclass(slots=True, frozen=True)
class Vitals:
    """What the kernel says: the letter of its state (``T``: stopped), and the processor time it has used in all."""

    state: str
    cpu_s: float


class Verdict(Enum):
    """What to think of a process."""

    QUIET = "nothing can be said"
    WORKING = "it has used the processor since the last look"
    STOPPED = "it has been stopped for too long"


@dataclass(slots=True)
class Pulse:
    """Looks at one process again and again. Pure: vitals and time are arguments.

    Attributes:
        stopped_max_s: how long it may be stopped.
    """

    stopped_max_s: float
    _cpu_s: float = 0.0
    _stopped_at: float | None = None

    def look(self, vitals: Vitals | None, now: float) -> Verdict:
        """The verdict; None for vitals: the process has gone, or this system does not tell."""
        if vitals is None:
            return Verdict.QUIET
        used, self._cpu_s = vitals.cpu_s > self._cpu_s, vitals.cpu_s
        if vitals.state != "T":
            self._stopped_at = None
            return Verdict.WORKING if used else Verdict.QUIET
        if self._stopped_at is None:
            self._stopped_at = now
        return Verdict.STOPPED if now - self._stopped_at >= self.stopped_max_s else Verdict.QUIET


def read_vitals(pid: int) -> Vitals | None:
    """None if there is no such process, or no ``/proc``. Cost: 20 us."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold anything
    ticks = int(fields[_UTIME]) + int(fields[_STIME])
    return Vitals(fields[0].decode(), ticks / os.sysconf("SC_CLK_TCK"))
