"""LocalCluster: scheduler and workers on this machine, for as long as this program wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Any

from distributed.deploy.adaptive import Adaptive
from distributed.deploy.host_process import HostProcess
from distributed.deploy.machine import cores_available, memory_limit_nbytes, split_cores
from distributed.deploy.scaling import Scaler
from distributed.errors import CommClosedError, ConfigError
from distributed.security.certificates import certificates
from distributed.units import parse_seconds

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
        count, self._worker_options = _worker_options(n_workers, threads_per_worker, memory_limit, resources)
        self._options: dict[str, Any] = {
            "log_level": log_level,
            "scheduler": {"listen": {"port": scheduler_port, "address": host, "tls": bool(security)}},
            "nanny": {"host": host},
            "workers": [{**self._worker_options, "name": f"{self.name}-{number}"} for number in range(count)],
        }
        self._scaler: Scaler | None = None  # once it is needed
        if not asynchronous:
            self._start()

    @property
    def status(self) -> str:
        """``'created'``, ``'running'`` or ``'closed'``."""
        if self._backend is None:
            return "closed" if self.scheduler_address else "created"
        return "running" if self._backend.is_running() else "closed"

    def scale(self, n: int) -> Any:
        """Have `n` workers; returns (or, if asynchronous, can be awaited) when it is so. Ends `adapt`.

        New workers are like the first ones, with the same share of memory. Of those that are there, the ones that hold
        least end first, and hand what they hold to others before; running tasks come to their end.

        Args:
            n: >= 0. With 0 there is nobody to take results: those that are still wanted are computed again when there
                are workers, scattered data is lost.
        Raises:
            WorkerStartError: a worker did not come up. TimeoutError: not within 120 s.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ConfigError("n", n, "a number of workers, 0 or more")
        return self._finish(self._scale, n)

    def adapt(
        self, minimum: int = 0, maximum: int | None = None, *, interval: str | float = "1s", wait_count: int = 3
    ) -> Any:
        """Let the work decide how many workers there are, until `scale` or `close`.

        More are started at once when there is work for them; some end when fewer would have done for a while. No result
        is lost: workers hand them on, and the last one stays as long as it holds any.

        Args:
            minimum, maximum: bounds; maximum None: as many as this machine has cores.
            interval: time between two looks, such as ``"500ms"``, or seconds.
            wait_count: looks in a row that must find too many workers before some end.
        Raises:
            ConfigError: bounds that contradict each other.
        """
        policy = Adaptive(minimum, max(minimum, cores_available()) if maximum is None else maximum, wait_count)
        interval_s = parse_seconds(interval, "interval")
        if interval_s <= 0:
            raise ConfigError("interval", interval, "it must be greater than 0")
        return self._finish(self._adapt, policy, interval_s)

    def close(self) -> Any:
        """End all processes of the cluster and wait for them. May be called twice."""
        return self._finish(self._stop)

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

    def _repr_html_(self) -> str:
        from distributed.client.html import cluster_html

        rows = (("scheduler", self.scheduler_address or "-"), ("workers", len(self.workers)), ("status", self.status))
        return cluster_html(self.name, rows)

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

    def _finish(self, work: Callable[..., None], *args: Any) -> Any:
        if self.asynchronous:
            return asyncio.get_running_loop().run_in_executor(None, work, *args)
        return work(*args)

    def _scale(self, count: int) -> None:
        self.workers = self._scaling().scale(count)

    def _adapt(self, policy: Adaptive, interval_s: float) -> None:
        self._scaling().adapt(policy, interval_s)

    def _scaling(self) -> Scaler:
        if self._backend is None:
            raise CommClosedError(self.scheduler_address, f"the cluster {self.name} is not running")
        if self._scaler is None:
            self._scaler = Scaler(self.scheduler_address, self.name, len(self._options["workers"]), self._start_workers)
        return self._scaler

    def _start_workers(self, names: Sequence[str]) -> None:
        self._backend.start_workers([{**self._worker_options, "name": name} for name in names])

    def _stop(self) -> None:
        scaler, self._scaler = self._scaler, None
        if scaler is not None:
            scaler.close()
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()


def _worker_options(
    n_workers: int | None, nthreads: int | None, memory_limit: str | int | None, resources: Any
) -> tuple[int, dict[str, Any]]:
    """How many workers, and what each of them is like."""
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
    return n_workers, {"nthreads": threads, "memory_limit_nbytes": limit, "resources": resources or {}}
