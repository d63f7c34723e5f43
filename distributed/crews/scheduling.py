"""One process of a Main in which its schedulers run, one per crew: the Main's own interpreter belongs to its user.

It is a server itself, which only the Main can call: ``open_scheduler``, ``close_scheduler``, ``dial_offer``. It begins
with one scheduler that is there before anybody has asked, since the first call of a program waits for it. It ends when
its stdin is closed or its parent is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from typing import Any

from distributed.comm.same_host import prepare
from distributed.core import Server
from distributed.errors import CommClosedError, DistributedError
from distributed.log import log_to_stderr
from distributed.process.fresh import set_own_path
from distributed.process.parents import end_with_parent
from distributed.process.running import read_lines, report, run_loop
from distributed.scheduler.server import Scheduler
from distributed.security.keys import Keyring, adopt_keyring
from distributed.security.permissions import WORKER

__all__ = ["SchedulerHost", "main"]

logger = logging.getLogger(__name__)


class SchedulerHost(Server):
    """The schedulers of one Main.

    Args:
        keys: of the Main.
    """

    def __init__(self, keys: Keyring) -> None:
        super().__init__(keys=keys)
        self._scheduler_keys = keys
        self._schedulers: dict[str, Scheduler] = {}
        self.add_handlers({
            "open_scheduler": self.open_scheduler,
            "close_scheduler": self.close_scheduler,
            "dial_offer": self.dial_offer,
        })  # fmt: skip

    def open_scheduler(self, stream: Any = None) -> str:
        """A new scheduler; its address."""
        scheduler = Scheduler(keys=self._scheduler_keys)
        scheduler.listen(0)
        scheduler.finished.add_done_callback(lambda finished: self._on_finished(scheduler.address, finished))
        self._schedulers[scheduler.address] = scheduler
        return scheduler.address

    async def close_scheduler(self, stream: Any, address: str) -> bool:
        """End one, and with it its clients' sessions and its rooms' work; whether it was there."""
        scheduler = self._schedulers.get(address)
        if scheduler is None:
            return False
        await scheduler.close("its crew is not needed any more")
        return True

    def dial_offer(self, stream: Any, address: str, offer: str, credential: list[Any]) -> str:
        """Have a scheduler dial an offer that cannot reach it, with the fields of a keyring; its address there."""
        scheduler = self._schedulers.get(address)
        if scheduler is None:
            raise CommClosedError(address, "this scheduler has ended")
        scheduler.dial(offer, Keyring(*credential), roles=(WORKER,))
        return scheduler.dialled_address

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(scheduler.close("the program ends") for scheduler in list(self._schedulers.values())))
        self.stop()

    def _on_finished(self, address: str, finished: asyncio.Future[str]) -> None:
        del self._schedulers[address]
        if finished.exception() is not None:  # it has told its clients
            logger.error("the scheduler at %s failed", address, exc_info=finished.exception())


def main() -> None:
    """What `SchedulerProcess` starts."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which ends us in order
    options = json.loads(sys.stdin.readline() or "null")
    if options is None:
        raise SystemExit("this is started by a program that calls @distributed functions; use dscheduler yourself")
    os.set_inheritable(options["answer"], False)
    set_own_path(options["PYTHONPATH"])
    log_to_stderr(options["log_level"])
    prepare()
    end_with_parent(parent)
    keys = Keyring({role: bytes.fromhex(key) for role, key in options["keys"].items()}, needs_certificate=False)
    adopt_keyring(keys)  # schedulers call nannies and workers, too
    raise SystemExit(run_loop(_serve(keys, options["answer"])))


async def _serve(keys: Keyring, answer: int) -> int:
    host = SchedulerHost(keys)
    try:
        host.listen(0)
        report(answer, {"address": host.address, "scheduler": host.open_scheduler()})
    except DistributedError as error:
        report(answer, {"error": str(error)})
        return 1
    await read_lines(os.dup(sys.stdin.fileno()), lambda line: None)  # until the program closes it
    await host.close()
    return 0
