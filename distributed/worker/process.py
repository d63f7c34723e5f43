"""A worker as a process: on its own, and as the child that a zygote forks for a nanny."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from distributed.errors import DistributedError, InvariantError, ProtocolError
from distributed.log import log_to_stderr
from distributed.process.preload import Preloads
from distributed.process.running import live_with, on_signals, report, run_loop
from distributed.protocol.failure import failure_from_exception
from distributed.worker.server import Worker

__all__ = ["LIFETIME_OVER", "run_worker_child", "serve_worker"]

LIFETIME_OVER = "its lifetime is over"
EXIT_REFUSED = 4  # tells people who look at processes; the nanny goes by the report


async def serve_worker(
    worker: Worker, listen: dict[str, Any], lifetime_s: float | None = None, preload: Sequence[str] = ()
) -> None:
    """Start it with the keywords `listen`, and wait until it has ended.

    SIGTERM and the end of `lifetime_s` seconds let it retire; SIGINT ends it at once. What `preload` names is set up
    before it joins, and torn down at its end.

    Raises:
        DistributedError: it cannot start, or the scheduler refused it: NameTakenError, AuthenticationError and others.
        ConfigError: something cannot be preloaded.
    """
    preloads = Preloads(preload)
    await preloads.setup(worker)
    try:
        await _serve(worker, listen, lifetime_s)
    finally:
        await preloads.teardown(worker)


async def _serve(worker: Worker, listen: dict[str, Any], lifetime_s: float | None) -> None:
    on_signals(lambda name: worker.retire_soon(name) if name == "SIGTERM" else worker.close_soon(name))
    if lifetime_s is not None:
        asyncio.get_running_loop().call_later(lifetime_s, worker.retire_soon, LIFETIME_OVER)
    starting = asyncio.ensure_future(worker.start(**listen))
    waited: list[asyncio.Future[Any]] = [starting, worker.finished]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        await starting
    else:
        starting.cancel()  # a signal came while it was waiting for the scheduler
    await worker.finished


def run_worker_child(
    options: dict[str, Any], status: int, life: int, make_worker: Callable[..., Worker] = Worker
) -> None:
    """Child of a zygote. Options: ``worker`` (keywords of `Worker`), ``listen`` (of its ``start``), ``log_level``,
    and ``preload``.

    Reports ``listening`` (where) before it registers, ``address`` and ``incarnation`` at every registration,
    ``refused`` (a failure, see messages) when starting again would not help, and ``condemned`` (a text) when a task
    cannot be stopped otherwise. Exit code 0: it was asked to end.

    Args:
        make_worker: what the ``worker`` options are given to.
    """

    async def main() -> int:
        worker = make_worker(**options["worker"])
        worker.on_registered = lambda: report(status, {"address": worker.address, "incarnation": worker.incarnation})
        worker.on_listening = lambda: report(status, {"listening": worker.address})
        worker.memory.on_stubborn = lambda text: report(status, {"condemned": text})
        live_with(life, lambda: os._exit(1))
        try:
            await serve_worker(worker, options["listen"], preload=options.get("preload", ()))
        except (InvariantError, ProtocolError):
            raise  # our own fault: a new life may fare better
        except DistributedError as error:
            report(status, {"refused": failure_from_exception(error, with_pickle=False)})
            return EXIT_REFUSED
        return 0

    log_to_stderr(options.get("log_level", "WARNING"))
    raise SystemExit(run_loop(main()))
