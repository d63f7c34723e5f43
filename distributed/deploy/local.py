"""LocalCluster: scheduler and workers on this machine, for as long as this program wants them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Generator
from typing import Any

from distributed.errors import ConfigError, WorkerStartError
from distributed.units import parse_nbytes

__all__ = ["LocalCluster", "cores_available", "memory_available", "split_cores"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


class LocalCluster:
    """A scheduler and workers in processes of their own, ended with this program whatever happens to it.

    Args:
        n_workers: worker processes, >= 0; None: as many as the cores ask for, see `split_cores`.
        threads_per_worker: tasks at once in each, >= 1; None: likewise.
        processes: True. Workers as threads of this process come with a later version.
        memory_limit: per worker, such as ``'2GiB'``; ``'auto'``: its share of this machine's; None: none.
        name: shown to people; workers are called ``<name>-0`` and so on.
        resources: amounts each worker offers, such as ``{'GPU': 1}``.
        scheduler_port: 0: any free one.
        asynchronous: then ``await`` it, or use ``async with``; `close` returns an awaitable.
        log_level: of the cluster's processes, which write to this program's stderr.
        silence_logs, dashboard_address: accepted for users of dask; the dashboard comes with a later version.
    Raises:
        WorkerStartError: a process did not come up. ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        processes: bool = True,
        memory_limit: str | int | None = "auto",
        name: str | None = None,
        *,
        resources: dict[str, float] | None = None,
        scheduler_port: int = 0,
        asynchronous: bool = False,
        log_level: str = "WARNING",
        silence_logs: Any = None,
        dashboard_address: Any = None,
    ) -> None:
        if not processes:
            raise ConfigError("processes", processes, "workers in threads of this process are not supported yet")
        self.name = name or "local"
        self.asynchronous = asynchronous
        self.scheduler_address = ""
        self.scheduler_pid = 0
        self.workers: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._options = {
            "log_level": log_level,
            "scheduler": {"listen": {"port": scheduler_port}},
            "workers": _worker_options(self.name, n_workers, threads_per_worker, memory_limit, resources),
        }
        if not asynchronous:
            self._start()

    @property
    def status(self) -> str:
        """``'created'``, ``'running'`` or ``'closed'``."""
        if self._process is None:
            return "closed" if self.scheduler_address else "created"
        return "running" if self._process.poll() is None else "closed"

    def close(self) -> Any:
        """End all processes of the cluster and wait for them. May be called twice."""
        if self.asynchronous:
            return asyncio.get_running_loop().run_in_executor(None, self._stop)
        return self._stop()

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> LocalCluster:
        return await self._start_async()

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, LocalCluster]:
        return self._start_async().__await__()

    def __repr__(self) -> str:
        return f"<LocalCluster {self.name}: {self.scheduler_address}, {len(self.workers)} workers, {self.status}>"

    # ------------------------------------------------------------ private

    async def _start_async(self) -> LocalCluster:
        if self._process is None:
            await asyncio.get_running_loop().run_in_executor(None, self._start)
        return self

    def _start(self) -> None:
        answer, answer_there = os.pipe()
        try:
            process = _start_host(answer_there)
        except BaseException:
            os.close(answer)
            raise
        finally:
            os.close(answer_there)
        self._process = process
        self._finalizer = weakref.finalize(self, _stop_host, process)  # at the end of the program too
        options = {**self._options, "answer": answer_there, "PYTHONPATH": os.environ.get("PYTHONPATH")}
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once; the answer that does not come tells more
                process.stdin.write(json.dumps(options).encode() + b"\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            hello = json.loads(_read_line(process, answer, START_TIMEOUT_S))
            if "error" in hello:
                raise WorkerStartError(f"the cluster did not start: {hello['error']}")
        except BaseException:
            self._stop()
            raise
        finally:
            os.close(answer)
        self.scheduler_address, self.scheduler_pid = hello["address"], hello["pid"]
        self.workers = hello["workers"]

    def _stop(self) -> None:
        if self._process is not None:
            self._finalizer()  # does nothing the second time
            self._process = None


def split_cores(cores: int) -> tuple[int, int]:
    """Workers and threads in each: up to four cores one thread each, beyond that about as many threads as workers.

    Pure Python runs one thread at a time per process, while many processes cost memory.
    """
    if cores <= 4:
        return cores, 1
    workers = next(count for count in range(math.isqrt(cores), cores + 1) if cores % count == 0 and count**2 >= cores)
    return workers, cores // workers


def cores_available() -> int:
    """Cores that this process may use, as affinity and cgroup limits have it; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _read_words("/sys/fs/cgroup/cpu.max", 2)
    if quota is not None and quota.isdigit() and period is not None:
        count = min(count, math.ceil(int(quota) / int(period)))
    return max(1, count)


def memory_available() -> int:
    """Bytes of memory this process may use, as the machine and cgroup limits have it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (limit,) = _read_words("/sys/fs/cgroup/memory.max", 1)
    return min(total, int(limit)) if limit is not None and limit.isdigit() else total


def memory_limit_nbytes(limit: str | int | None, share: float) -> int | None:
    """What ``--memory-limit`` and ``memory_limit=`` mean: ``'auto'``: `share` of the machine's; 0, None: no limit."""
    if limit == "auto":
        return int(memory_available() * min(1.0, share))
    return None if limit is None else parse_nbytes(limit, "memory_limit") or None


def _worker_options(
    name: str, n_workers: int | None, nthreads: int | None, memory_limit: str | int | None, resources: Any
) -> list[dict[str, Any]]:
    cores = cores_available()
    if nthreads is not None and nthreads < 1:
        raise ConfigError("threads_per_worker", nthreads, "a worker needs at least one thread")
    if n_workers is None:
        n_workers, threads = split_cores(cores) if nthreads is None else (max(1, cores // nthreads), nthreads)
    else:
        threads = max(1, cores // max(1, n_workers)) if nthreads is None else nthreads
    if n_workers < 0:
        raise ConfigError("n_workers", n_workers, "it cannot be negative")
    limit = memory_limit_nbytes(memory_limit, 1 / max(1, n_workers))
    return [
        {"name": f"{name}-{number}", "nthreads": threads, "memory_limit_nbytes": limit, "resources": resources or {}}
        for number in range(n_workers)
    ]


def _read_words(path: str, count: int) -> list[str | None]:
    try:
        with open(path) as file:
            words: list[str | None] = list(file.read().split())
    except OSError:
        words = []
    return [*words, *[None] * count][:count]


def _start_host(answer: int) -> subprocess.Popen[bytes]:
    """Start `distributed.deploy.host`, which finds the modules that this program finds, in the same order."""
    folders = [os.path.abspath(entry or os.curdir) for entry in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "distributed.deploy.host"],
        stdin=subprocess.PIPE, pass_fds=(answer,), start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(folders))},
    )  # fmt: skip


def _stop_host(process: subprocess.Popen[bytes]) -> None:
    """End the processes of a cluster and wait for them."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended
        process.stdin.close()  # which tells it to end
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read_line(process: subprocess.Popen[bytes], descriptor: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise WorkerStartError(f"the cluster did not start within {timeout_s:g} s")
        chunk = os.read(descriptor, 65536)
        if not chunk:
            code = process.wait()
            raise WorkerStartError(f"the process of the cluster ended at once, exit code {code}; see its output above")
        line += chunk
    return line
