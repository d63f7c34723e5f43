"""The process behind `LocalCluster`: forks a scheduler and workers, and ends them with its parent.

It reads one JSON line of options from stdin, answers with one JSON line on the descriptor they name, and serves until
stdin is closed or its parent is gone. Each further line, a list of workers' options, starts these workers and is
answered by a line too. Its stdout is the parent's: what tasks print is seen there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from distributed.errors import DistributedError, WorkerStartError
from distributed.log import log_to_stderr
from distributed.nanny import Nanny
from distributed.process.running import read_lines, report, run_loop
from distributed.process.zygote import Child, Zygote
from distributed.scheduler.process import run_scheduler_child
from distributed.worker.process import run_worker_child

__all__ = ["main"]

PARENT_WATCH_S = 1.0

Result = TypeVar("Result")


def main() -> None:
    """Entry point of ``python -m distributed.deploy.host``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us in order
    options = json.loads(sys.stdin.readline() or "null")
    if options is None:
        raise SystemExit("this is started by LocalCluster; use dscheduler and dworker yourself")
    os.set_inheritable(options["answer"], False)
    if options["PYTHONPATH"] is None:  # ours was for this process only, programs that tasks start want the user's
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = options["PYTHONPATH"]
    log_to_stderr(options["log_level"])
    zygote = Zygote({"scheduler": run_scheduler_child, "worker": run_worker_child})
    try:
        code = run_loop(_serve(options, zygote))
    finally:
        zygote.close()
    raise SystemExit(code)


async def _serve(options: dict[str, Any], zygote: Zygote) -> int:
    zygote.attach()
    parent_gone = asyncio.Event()
    wishes: asyncio.Queue[str] = asyncio.Queue()  # the parent waits for each answer
    listening = asyncio.ensure_future(read_lines(os.dup(sys.stdin.fileno()), wishes.put_nowait))
    listening.add_done_callback(lambda done: parent_gone.set())
    watching = asyncio.ensure_future(_watch_parent(parent_gone))
    try:
        started = await _unless(parent_gone, _start_all(options, zygote))
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


async def _start_all(options: dict[str, Any], zygote: Zygote) -> tuple[Child, dict[str, Any], list[Nanny]]:
    """Scheduler and workers, when all have met."""
    scheduler, hello = await _start_scheduler(options, zygote)
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


async def _start_scheduler(options: dict[str, Any], zygote: Zygote) -> tuple[Child, dict[str, Any]]:
    read, write = os.pipe()
    try:
        child = await zygote.spawn("scheduler", {**options["scheduler"], "log_level": options["log_level"]}, 2, write)
    finally:
        os.close(write)
    lines: list[str] = []
    await read_lines(read, lines.append, count_max=1)
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


if __name__ == "__main__":
    main()
