"""A scheduler as a process: its scheduler file, and the child that a zygote forks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from distributed.errors import DistributedError
from distributed.ids import unique_id
from distributed.log import log_to_stderr
from distributed.process.running import live_with, on_signals, report, run_loop
from distributed.scheduler.server import Scheduler

__all__ = ["remove_scheduler_file", "run_scheduler_child", "write_scheduler_file"]


def write_scheduler_file(
    path: str | os.PathLike[str],
    scheduler_id: str,
    address: str,
    fingerprint: str | None = None,
    http: str | None = None,
) -> None:
    """Tell others where the scheduler is and what certificate it shows: in one step, 0600, no secret in it.

    Args:
        http: where its JSON routes are; None: nowhere.
    """
    content = {
        "format": 1,
        "id": scheduler_id,
        "address": address,
        "http": http,
        "fingerprint": fingerprint,
        "pid": os.getpid(),
    }
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{unique_id('tmp')}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    temporary.replace(target)


def remove_scheduler_file(path: str | os.PathLike[str], scheduler_id: str) -> None:
    """Remove the file at a clean stop, if it is still ours."""
    try:
        content = json.loads(Path(path).read_text())
        if isinstance(content, dict) and content.get("id") == scheduler_id:
            Path(path).unlink()
    except (OSError, ValueError):
        return  # gone, or another scheduler's by now


def run_scheduler_child(options: dict[str, Any], status: int, life: int) -> None:
    """Child of a zygote: a scheduler. Options: ``listen`` (keywords of `Server.listen`), ``log_level``.

    Reports ``address``, ``id`` and ``pid`` once it listens, or ``error`` if it cannot.
    """

    async def main() -> int:
        scheduler = Scheduler()
        try:
            scheduler.listen(**options["listen"])
        except DistributedError as error:
            report(status, {"error": str(error)})
            return 1
        live_with(life, lambda: os._exit(1))
        on_signals(scheduler.close_soon)
        report(status, {"address": scheduler.address, "id": scheduler.id, "pid": os.getpid()})
        await scheduler.finished
        return 0

    log_to_stderr(options.get("log_level", "WARNING"))
    raise SystemExit(run_loop(main()))
