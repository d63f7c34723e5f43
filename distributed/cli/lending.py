"""The offer of a ``dworker``: alone, or beside its workers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from distributed.errors import PortTakenError
from distributed.offers.forking import room_zygote
from distributed.offers.server import Offer
from distributed.offers.serving import OfferOptions, build_offer, serve_guests, serve_offer
from distributed.process.running import run_loop
from distributed.process.zygote import Zygote

__all__ = ["Lending", "lend_alone"]

logger = logging.getLogger(__name__)


def lend_alone(settings: dict[str, Any], grace_s: float) -> int:
    """Lend until a signal comes; the exit code."""
    zygote = room_zygote()
    try:
        return run_loop(serve_offer(OfferOptions(**settings), zygote, grace_s))
    finally:
        zygote.close()


class Lending:
    """An offer in a process that guards workers, too.

    Args:
        settings: of `OfferOptions`; a port of None is the default one, or any if that is taken.
        zygote: knows rooms beside workers.
        grace_s: for rooms when it ends.
    """

    def __init__(self, settings: dict[str, Any], zygote: Zygote, grace_s: float) -> None:
        self._options = OfferOptions(**settings)
        self._zygote = zygote
        self._grace_s = grace_s
        self._offer: Offer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, int]:
        """Lend; what workers announce of it."""
        try:
            self._offer = await build_offer(self._options, self._zygote)
        except PortTakenError:
            if self._options.port is not None:
                raise
            self._options.port = 0
            self._offer = await build_offer(self._options, self._zygote)
        self._serving = asyncio.ensure_future(serve_guests(self._offer, self._options))
        self._serving.add_done_callback(_log_failure)
        return {"offer": self._offer.port}

    def stop(self, reason: str) -> None:
        """End in our own time, or at once after SIGINT."""
        if self._offer is not None:
            self._offer.close_soon(reason, 0.0 if reason == "SIGINT" else self._grace_s)

    async def close(self) -> None:
        """End, and wait for it: for the grace that `stop` gave, else for nothing."""
        if self._offer is None or self._serving is None:
            return
        if not self._offer.is_closing:
            await self._offer.close("its workers have ended")
        await self._serving


def _log_failure(done: asyncio.Task[None]) -> None:
    """Workers go on without it; `close` raises it, too."""
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.error("the offer has failed: %s", error, exc_info=error)
