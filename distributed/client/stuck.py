"""Warns when the scheduler says that tasks cannot run: once for each reason, and again when it comes up later."""

from __future__ import annotations

import logging
import time
import warnings

from distributed.errors import UnrunnableTaskWarning
from distributed.messages import KeysStuck

__all__ = ["StuckKeys"]

logger = logging.getLogger(__name__)

QUIET_S = 30.0  # what was said so recently is not said again
REASONS_MAX = 1_000  # remembered


class StuckKeys:
    """What this client was told, and when it has warned of what; on the client's loop."""

    def __init__(self) -> None:
        self._warned_at: dict[str, float] = {}  # by reason, the oldest first

    def on_stuck(self, message: KeysStuck) -> None:
        """Warn, with `UnrunnableTaskWarning`; where warnings are made errors there is nobody to catch it: log it."""
        now = time.monotonic()
        for keys, count, blocked, reason in zip(
            message.waiting, message.counts, message.blocked, message.reasons, strict=True
        ):
            if reason in self._warned_at and now - self._warned_at[reason] < QUIET_S:
                continue
            self._warned_at.pop(reason, None)
            self._warned_at[reason] = now
            if len(self._warned_at) > REASONS_MAX:
                del self._warned_at[next(iter(self._warned_at))]
            warning = UnrunnableTaskWarning(keys, count, blocked, reason)
            try:
                # No line of the user's program is to blame: none is on the stack of the client's loop.
                warnings.warn_explicit(warning, UnrunnableTaskWarning, "<distributed>", 0, module="distributed")
            except UnrunnableTaskWarning:
                logger.warning("%s", warning)
