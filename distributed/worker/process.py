"""A worker as a process: the child that a zygote forks for a nanny."""

from __future__ import annotations

import os
from typing import Any

from distributed.log import log_to_stderr
from distributed.process.running import live_with, on_signals, report, run_loop
from distributed.worker.server import Worker

__all__ = ["run_worker_child"]


def run_worker_child(options: dict[str, Any], status: int, life: int) -> None:
    """Child of a zygote. Options: ``worker`` (keywords of `Worker`), ``listen`` (of its ``start``), ``log_level``.

    Reports ``address`` and ``incarnation`` at every registration. Exit code 0: it was asked to end.
    """

    async def main() -> int:
        worker = Worker(**options["worker"])
        worker.on_registered = lambda: report(status, {"address": worker.address, "incarnation": worker.incarnation})
        live_with(life, lambda: os._exit(1))
        on_signals(worker.close_soon)
        await worker.start(**options["listen"])
        await worker.finished
        return 0

    log_to_stderr(options.get("log_level", "WARNING"))
    raise SystemExit(run_loop(main()))
