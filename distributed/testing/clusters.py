"""Clusters to test against: in this process and loop (`gen_cluster`), or as real processes (`cluster`).

    @gen_cluster(client=True)
    async def test_sum(client, scheduler, a, b):
        assert await client.submit(sum, [1, 2]) == 3

Both leave nothing behind, or the test fails: no task, no thread, no process, no line logged by the loop.
Not here: the pytest plugin with ``io_loop`` and ``http_client``, see `distributed.testing.plugin`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed.calls import send_recv_sync
from distributed.client.client import Client
from distributed.client.connecting import read_scheduler_file
from distributed.errors import SchedulerFileError
from distributed.scheduler.server import Scheduler
from distributed.worker.server import Worker

__all__ = ["cluster", "gen_cluster", "gen_test", "open_servers", "until"]

PATIENCE_S = 30.0  # for processes to come up or to end
POLL_S = 0.02  # between looks at processes that come up
UNTIL_S = 0.001  # between looks at a condition
TURNS = 5  # of the loop, for what was closed to end
THREADS_S = 2.0  # for executor threads to end
NCORES = (("127.0.0.1", 1), ("127.0.0.1", 2))


def gen_test(timeout: float = 10) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a plain test of an ``async def``, a generator function or a ``gen.coroutine``.

    It runs on a loop of its own and fails if it leaves tasks or threads of ours, or if the loop logs an error.

    Args:
        timeout: seconds for all of it.
    """

    def decorate(test: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            _run_clean(lambda: _awaitable(test, args, kwargs), timeout)

        return run

    return decorate


def gen_cluster(
    ncores: Sequence[tuple[str, int]] = NCORES,
    client: bool = False,
    timeout: float = 10,
    worker_options: dict[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a plain test of a coroutine function that gets ``(scheduler, *workers)``, or these after a client.

    All of them live in one loop of this process, so the test can look into them: ``scheduler.machine.state.tasks``.

    Args:
        ncores: host and threads of each worker; they are called ``'0'``, ``'1'``, ...
        client: begin with a `Client` that is asynchronous.
        timeout: seconds for the test itself.
        worker_options: more keywords for every `Worker`.
    """

    def decorate(test: Callable[..., Any]) -> Callable[..., None]:
        async def body(args: Any, kwargs: Any) -> None:
            async with open_servers(ncores, worker_options) as (scheduler, workers):
                if not client:
                    await asyncio.wait_for(_awaitable(test, (scheduler, *workers, *args), kwargs), timeout)
                    return
                async with Client(scheduler.address, asynchronous=True) as user:
                    await asyncio.wait_for(_awaitable(test, (user, scheduler, *workers, *args), kwargs), timeout)

        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            _run_clean(lambda: body(args, kwargs), timeout + PATIENCE_S)

        run.__signature__ = _without_first(test, client + 1 + len(ncores))  # type: ignore[attr-defined]
        return run

    return decorate


@contextlib.asynccontextmanager
async def open_servers(
    ncores: Sequence[tuple[str, int]] = NCORES,
    worker_options: dict[str, Any] | None = None,
    kind: type[Scheduler] = Scheduler,
) -> AsyncIterator[tuple[Any, list[Worker]]]:
    """A scheduler, of this `kind`, and registered workers on the running loop, closed in the end; see `gen_cluster`."""
    scheduler = kind()
    scheduler.listen(0)
    workers = [
        Worker(scheduler.address, nthreads=nthreads, name=str(number), **(worker_options or {}))
        for number, (_, nthreads) in enumerate(ncores)
    ]
    try:
        for worker, (host, _) in zip(workers, ncores, strict=True):  # in turn, so that they joined in this order
            await worker.start(0, host)
        yield scheduler, workers
    finally:
        await asyncio.gather(*(worker.close() for worker in workers))
        await scheduler.close()
        for finished in (scheduler.finished, *(worker.finished for worker in workers)):
            if finished.done() and not finished.cancelled():
                finished.exception()  # a test that made it fail has seen it; nobody else has to be told


@contextlib.contextmanager
def cluster(nworkers: int = 2, nanny: bool = False) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """A scheduler and workers as processes of their own, as ``dscheduler`` and ``dworker`` start them, one thread each.

    Gives ``({'address': ...}, [{'address': ...}, ...])``. All are gone in the end.
    """
    with tempfile.TemporaryDirectory(prefix="distributed-test-") as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "scheduler.json"
        scheduler = _start(stack, "dscheduler", "--port", "0", "--scheduler-file", str(path))
        _wait(lambda: _has_content(path), "a scheduler", [scheduler])
        address = str(read_scheduler_file(path)["address"])
        guard = "--nanny" if nanny else "--no-nanny"
        workers = [_start(stack, "dworker", address, guard, "--nthreads", "1") for _ in range(nworkers)]
        _wait(lambda: len(_workers_of(address)) == nworkers, f"{nworkers} workers", [scheduler, *workers])
        yield {"address": address}, [{"address": worker} for worker in _workers_of(address)]


async def until(condition: Callable[[], Any], timeout: float = 5) -> None:
    """Wait until `condition()` is true; TimeoutError when it is not so within `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(UNTIL_S)


# ---------------------------------------------------------------- running a test


def _without_first(test: Callable[..., Any], count: int) -> inspect.Signature:
    """The signature from which pytest reads the fixtures of a test: the first `count` arguments are none."""
    parameters = inspect.signature(test).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return inspect.Signature([*positional[count:], *(p for p in parameters if p.kind is p.KEYWORD_ONLY)])


async def _awaitable(test: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
    if inspect.isgeneratorfunction(test):
        from tornado import gen  # lazy: only for tests with yield

        test = gen.coroutine(test)
    await test(*args, **kwargs)


def _run_clean(make: Callable[[], Any], timeout_s: float) -> None:
    """Run a coroutine on a fresh loop; what it leaves behind, and what the loop complains of, is an error."""
    faults: list[str] = []
    threads = set(threading.enumerate())

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(_complaint(context)))
        async with asyncio.timeout(timeout_s):
            await make()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks still run: {left}"
        gc.collect()  # makes the loop tell of exceptions that nobody retrieved
        await asyncio.sleep(0)

    asyncio.run(body())
    assert not faults, faults
    _check_threads(threads)


def _check_threads(before: set[threading.Thread]) -> None:
    deadline = time.monotonic() + THREADS_S
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("distributed-"):
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), f"thread {thread.name} still runs"


def _complaint(context: dict[str, Any]) -> str:
    return f"{context['message']}: {context.get('exception')!r}"


# ---------------------------------------------------------------- processes


def _start(stack: contextlib.ExitStack, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{script}", *arguments, "--no-http", "--log-level", "WARNING"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(is_there: Callable[[], bool], what: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_there():
        ended = [process.args for process in processes if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come up; ended: {ended}")
        time.sleep(POLL_S)


def _has_content(path: Path) -> bool:
    try:
        return bool(read_scheduler_file(path))
    except SchedulerFileError:
        return False


def _workers_of(address: str) -> list[str]:
    return list(send_recv_sync(address, op="ncores"))
