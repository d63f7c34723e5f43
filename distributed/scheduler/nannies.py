"""Calls of the scheduler to nannies: the only ones that it makes. Their answers come back as events, if at all."""

from __future__ import annotations

import asyncio
import logging

from distributed.calls import rpc
from distributed.errors import DistributedError
from distributed.process.running import Background
from distributed.scheduler.effects import ReplaceWorker
from distributed.security.permissions import WORKER

__all__ = ["NannyCalls"]

logger = logging.getLogger(__name__)

CONNECT_S = 3.0
CALL_S = 60.0  # for the nanny to take out what cannot be computed again, some GB at most, and to end the process


class NannyCalls:
    """One short connection for each, as they are rare."""

    def __init__(self) -> None:
        self._background = Background(lambda error: logger.error("calling a nanny failed", exc_info=error))

    def replace(self, effect: ReplaceWorker) -> None:
        """Perform the effect. A nanny that does not answer cannot be helped: the task runs on, and our log says so."""
        self._background.spawn(self._replace(effect))

    def close(self) -> None:
        """Wait for no answer any more."""
        self._background.cancel()

    async def _replace(self, effect: ReplaceWorker) -> None:
        nanny = rpc(effect.nanny, timeout=CONNECT_S, role=WORKER, may_unpickle=False, patient=False)
        try:
            async with asyncio.timeout(CALL_S):
                if await nanny.call("replace", incarnation=effect.incarnation, keys=effect.keys):
                    logger.info("worker %s was replaced: %s did not stop", effect.address, ", ".join(effect.keys))
        except (DistributedError, TimeoutError) as error:
            text = "the nanny %s of worker %s does not answer, so %s runs on: %s"
            logger.warning(text, effect.nanny, effect.address, ", ".join(effect.keys), error)
        finally:
            await nanny.close()
