"""What `distributed.deploy.host` does on its loop: a scheduler, workers and their nannies, until the parent is gone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from distributed.errors import DistributedError, WorkerStartError
from distributed.nanny import Nanny
from distributed.process.running import read_lines, report
from distributed.process.zygote import Child, Zygote

__all__ = ["serve"]

PARENT_WATCH_S = 1.0

Result = TypeVar("Result")


async def serve(options: dict[str, Any], zygote: Zygote, scheduler_asked: int, scheduler_status: int) -> int:
    """Start all, tell the parent, and serve until it is gone; the exit code.

    Args:
        options: what the parent sent.
        scheduler_asked: the number of the request for the scheduler's process.
        scheduler_status: descriptor of the pipe on which that process writes.
    """
    zygote.attach()
    parent_gone = asyncio.Event()
    wishes: asyncio.Queue[str] = asyncio.Queue()  # the parent waits for each answer
    listening = asyncio.ensure_future(read_lines(os.dup(sys.stdin.fileno()), wishes.put_nowait))
    listening.add_done_callback(lambda done: parent_gone.set())
    watching = asyncio.ensure_future(_watch_parent(parent_gone))
    try:
        started = await _unless(parent_gone, _start_all(options, zygote, scheduler_asked, scheduler_status))
        if started is None:
            return 1  # nobody is left to serve; what was started ends with us
        scheduler, hello, nannies = started
    except Exception as error:  # the boundary: whatever it is, the parent must hear of it
        report(options["answer"], {"error": _text_of(error)})
        return 1
    report(options["answer"], {**hello, "workers": [nanny.worker_address for nanny in nannies]})
    scheduler.ended.add_done_callback(lambda ended: parent_gone.set())
    starting = asyncio.ensure_future(_start_more(wishes, nannies, hello["address"], options, zygote))
    await parent_gone.wait()
    for task in (watching, starting, listening):
        task.cancel()
    await asyncio.wait([starting])
    await asyncio.gather(*(nanny.close("the cluster ends") for nanny in nannies))
    scheduler.terminate()
    try:
        ending = await asyncio.wait_for(asyncio.shield(scheduler.ended), 5.0)
    except TimeoutError:
        scheduler.kill()
        return 1
    return 0 if ending.exitcode == 0 else 1


async def _start_all(
    options: dict[str, Any], zygote: Zygote, scheduler_asked: int, scheduler_status: int
) -> tuple[Child, dict[str, Any], list[Nanny]]:
    """Scheduler and workers, when all have met."""
    scheduler, hello = await _scheduler_started(await zygote.started(scheduler_asked), scheduler_status)
    return scheduler, hello, await _start_nannies(options["workers"], hello["address"], options, zygote)


async def _start_nannies(
    workers: list[dict[str, Any]], scheduler: str, options: dict[str, Any], zygote: Zygote
) -> list[Nanny]:
    """Nannies whose workers have met the scheduler."""
    nannies = await asyncio.gather(*(_start_nanny(worker, scheduler, options, zygote) for worker in workers))
    await asyncio.gather(*(nanny.wait_registered() for nanny in nannies))
    return nannies


async def _start_more(
    wishes: asyncio.Queue[str], nannies: list[Nanny], scheduler: str, options: dict[str, Any], zygote: Zygote
) -> None:
    """Start what the parent wishes for, one line after the other."""
    while True:
        wish = json.loads(await wishes.get())
        try:
            more = await _start_nannies(wish, scheduler, options, zygote)
        except Exception as error:  # the boundary: whatever it is, the parent must hear of it
            report(options["answer"], {"error": _text_of(error)})
            continue
        nannies[:] = [nanny for nanny in nannies if not nanny.finished.done()] + more
        report(options["answer"], {"workers": [nanny.worker_address for nanny in more]})


def _text_of(error: Exception) -> str:
    return str(error) if isinstance(error, DistributedError) else f"{type(error).__name__}: {error}"


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The result of `work`, or None (and `work` is cancelled) when `event` comes first."""
    task, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task])
    return None


async def _watch_parent(gone: asyncio.Event) -> None:
    """Closing stdin tells first; but whatever the parent forked may hold the other end open when it is killed."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_WATCH_S)
    gone.set()


async def _scheduler_started(child: Child, status: int) -> tuple[Child, dict[str, Any]]:
    lines: list[str] = []
    await read_lines(status, lines.append, count_max=1)
    if not lines:
        raise WorkerStartError(f"the scheduler ended at once: {(await child.ended).cause}")
    hello = json.loads(lines[0])
    if "error" in hello:
        raise WorkerStartError(hello["error"])
    return child, hello


async def _start_nanny(worker: dict[str, Any], scheduler: str, options: dict[str, Any], zygote: Zygote) -> Nanny:
    nanny = Nanny(scheduler, zygote, worker_options=worker, **options["nanny"], log_level=options["log_level"])
    nanny.finished.add_done_callback(lambda done: done.exception())  # it has logged why it gave up; others go on
    return await nanny.start()
