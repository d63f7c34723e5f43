"""Lines on stderr about what keeps the first calls waiting: contents on their way, environments being made.

Nothing is said of what takes less than a second, and of what takes longer a line now and then. And the warning about
calls that nobody can run as they are. Not here: that calls wait (`staffing`), and progress of the calls themselves:
users have `tqdm` for their handles.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence

from distributed.crews.matching import Lent, asked, fits, loosened, offered
from distributed.crews.options import CallOptions
from distributed.errors import LoosenedCallWarning, NoMatchError
from distributed.units import format_nbytes

__all__ = ["Loosening", "Pace", "building", "shipping"]

QUIET_S = 1.0  # what ends sooner is not worth a line
PAUSE_S = 3.0  # between two lines about one thing
NEW_S = 30.0  # of silence, after which a line is about another thing
LINE_LENGTH_MAX = 120


class Pace:
    """When something that goes on is told of: pure, the time is an argument."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._seen_s = 0.0
        self._told_s: float | None = None

    @property
    def has_told(self) -> bool:
        """Whether a line was due since it began."""
        return self._told_s is not None

    def is_due(self, now: float) -> bool:
        """Whether to write a line now, at a sign that it goes on."""
        if self._began_s is None or now - self._seen_s > NEW_S:
            self._began_s, self._told_s = now, None
        self._seen_s = now
        last_s = self._began_s + QUIET_S - PAUSE_S if self._told_s is None else self._told_s
        if now < last_s + PAUSE_S:
            return False
        self._told_s = now
        return True


def shipping(address: str) -> Callable[[int, int], None]:
    """What to call with bytes that have arrived at an offer, and bytes in all."""
    pace = Pace()

    def tell(done: int, total: int) -> None:
        if pace.is_due(time.monotonic()) or (done >= total and pace.has_told):
            _write(f"the workspace goes to {address}: {format_nbytes(done)} of {format_nbytes(total)}")

    return tell


_pace_by_address: dict[str, Pace] = {}


def building(address: str, line: str) -> None:
    """The installer at an offer has said something."""
    if _pace_by_address.setdefault(address, Pace()).is_due(time.monotonic()):
        printable = "".join(letter if letter.isprintable() else "?" for letter in line.strip()[:LINE_LENGTH_MAX])
        _write(f"{address} makes the environment: {printable}"[:LINE_LENGTH_MAX])


class Loosening:
    """Makes calls possible that no offer can run as they are, and warns of each kind once."""

    def __init__(self) -> None:
        self._was_warned: set[CallOptions] = set()

    def possible(self, function: str, options: CallOptions, lent: Sequence[Lent]) -> CallOptions:
        """The options, without what nobody can give. NoMatchError: they are strict."""
        if not lent or any(fits(options, each) for each in lent):
            return options
        if options.strict:
            raise NoMatchError(function, asked(options), offered(lent))
        left = loosened(options, lent)
        if options not in self._was_warned:
            self._was_warned.add(options)
            text = f"{function} asks for {asked(options)}, which no worker can ever give, so it runs with "
            warnings.warn(LoosenedCallWarning(f"{text}{asked(left)}; there is {offered(lent)}"), stacklevel=10)
        return left


def _write(line: str) -> None:
    if sys.stderr is not None:  # of a program without a console
        sys.stderr.write(f"distributed: {line}\n")
        sys.stderr.flush()
