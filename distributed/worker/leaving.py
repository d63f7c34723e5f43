"""The way out of a worker: it says that it wants to go, waits until others have taken over, and not for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from distributed.messages import Message, WorkerRetiring

__all__ = ["GRACE_S", "Leaving"]

logger = logging.getLogger(__name__)

GRACE_S = 30.0  # for others to take over tasks and data


class Leaving:
    """See the module.

    Args:
        grace_s: seconds to wait at most.
        tell: sends a message to the scheduler.
        end: closes the worker, soon, for a reason.
    """

    def __init__(self, grace_s: float, tell: Callable[[Message], object], end: Callable[[str], object]) -> None:
        self.grace_s = grace_s
        self._tell = tell
        self._end = end
        self._reason: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, reason: str) -> None:
        """Ask the scheduler to be dismissed, and end without that when the grace is over."""
        logger.info("retiring: %s", reason)
        self._reason = reason
        self._timer = asyncio.get_running_loop().call_later(self.grace_s, self._give_up)
        self._tell(WorkerRetiring(reason))

    def dismissed(self, reason: str) -> None:
        """Nobody needs the worker any more; it may not have asked."""
        self._end(self._reason or reason)

    def cancel(self) -> None:
        """It ends now, whatever the reason."""
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        logger.warning("ending with tasks or data that nobody took over in %g s", self.grace_s)
        self.dismissed("the grace is over")
