"""LocalCluster: scheduler and workers on this machine, for as long as this program wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from distributed.deploy.host_process import HostProcess
from distributed.deploy.machine import cores_available, memory_limit_nbytes, split_cores
from distributed.errors import ConfigError
from distributed.security.certificates import certificates

__all__ = ["LocalCluster"]


class LocalCluster:
    """A scheduler and workers on this machine, ended with this program whatever happens to it.

    Args:
        n_workers: worker processes, >= 0; None: as many as the cores ask for, see `split_cores`.
        threads_per_worker: tasks at once in each, >= 1; None: likewise.
        processes: each in a process of its own. False: all in threads of this one: nothing is copied between processes,
            Python runs one thread at a time, and a task that dies takes the program along.
        memory_limit: per worker, such as ``'2GiB'``; ``'auto'``: its share of this machine's; None: none.
        name: shown to people; workers are called ``<name>-0`` and so on.
        resources: amounts each worker offers, such as ``{'GPU': 1}``.
        scheduler_port: 0: any free one.
        host: where scheduler and workers listen; beyond loopback with TLS, see `Server.listen`.
        security: True: TLS on loopback too; None: only where `host` asks for it.
        asynchronous: then ``await`` it, or use ``async with``; `close` returns an awaitable.
        log_level: of the cluster's processes, which write to this program's stderr.
        silence_logs, dashboard_address: accepted for users of dask; the dashboard comes with a later version.
    Raises:
        WorkerStartError: a process did not come up. ConfigError: an argument cannot be used.
        CertificateError: TLS, and this user has no certificate.
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
        host: str = "127.0.0.1",
        security: bool | None = None,
        asynchronous: bool = False,
        log_level: str = "WARNING",
        silence_logs: Any = None,
        dashboard_address: Any = None,
    ) -> None:
        if security not in (None, True, False):
            raise ConfigError("security", security, "a cluster's is True (TLS on loopback too) or None")
        if security:
            certificates()  # told here, not by a process that does not come up
        self.name = name or "local"
        self.asynchronous = asynchronous
        self.scheduler_address = ""
        self.workers: list[str] = []
        self._processes = processes
        self._backend: Any = None  # HostProcess or ThreadedCluster, while there is one
        self._options: dict[str, Any] = {
            "log_level": log_level,
            "scheduler": {"listen": {"port": scheduler_port, "address": host, "tls": bool(security)}},
            "nanny": {"host": host},
            "workers": _worker_options(self.name, n_workers, threads_per_worker, memory_limit, resources),
        }
        if not asynchronous:
            self._start()

    @property
    def status(self) -> str:
        """``'created'``, ``'running'`` or ``'closed'``."""
        if self._backend is None:
            return "closed" if self.scheduler_address else "created"
        return "running" if self._backend.is_running() else "closed"

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
        if self._backend is None:
            await asyncio.get_running_loop().run_in_executor(None, self._start)
        return self

    def _start(self) -> None:
        if self._processes:
            self._backend = HostProcess(self._options)
        else:
            from distributed.deploy.threads import ThreadedCluster  # lazy: servers in this process, only if asked for

            self._backend = ThreadedCluster(self._options["workers"], self._options["scheduler"]["listen"])
        self.scheduler_address = self._backend.scheduler_address
        self.workers = self._backend.worker_addresses

    def _stop(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()


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
