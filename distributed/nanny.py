"""Nanny: guards one worker process. It starts it, tells the scheduler what it died of, and starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed.calls import rpc, write
from distributed.comm.addresses import parse_address
from distributed.config import SCHEDULER_PORT
from distributed.core import Server
from distributed.errors import DistributedError, WorkerStartError
from distributed.process.zygote import Child, Ending, Zygote
from distributed.security.keys import Keyring
from distributed.security.permissions import WORKER
from distributed.worker.running import read_running

__all__ = ["Nanny", "RestartPolicy"]

logger = logging.getLogger(__name__)

STDERR_LINES = 20  # of a dead worker, kept for its death certificate
STOP_TIMEOUT_S = 5.0  # for a worker that was asked to end; then it is killed


@dataclass(slots=True)
class RestartPolicy:
    """When to start a dead worker again: at once, then more and more slowly, and not for ever.

    Pure: time is an argument. A worker that lived for `healthy_s` has a clean record.

    Attributes:
        quick_deaths_max: so many short lives in a row and we give up; the cause is not the task, it is the machine.
    """

    quick_deaths_max: int = 10
    healthy_s: float = 10.0
    pause_s_first: float = 0.1
    pause_s_max: float = 5.0
    quick_deaths: int = field(default=0, init=False)

    def pause_s(self, lived_s: float) -> float | None:
        """Seconds to wait before the next start, 0 for the first death in a while; None: give up."""
        self.quick_deaths = 0 if lived_s >= self.healthy_s else self.quick_deaths + 1
        if self.quick_deaths >= self.quick_deaths_max:
            return None
        if self.quick_deaths <= 3:  # a task may take three workers with it before it is given up
            return 0.0
        return float(min(self.pause_s_max, self.pause_s_first * 2 ** (self.quick_deaths - 4)))


class Nanny(Server):
    """Starts a worker in a process of its own and keeps one alive.

    Args:
        scheduler: address of the scheduler.
        zygote: forks the process; attached to the running loop.
        worker_options: keywords of `Worker`, such as ``nthreads`` and ``name``.
        worker_port, host, insecure: where the worker listens.
        local_directory: where a temporary folder for each life is made; None: the system's.
    """

    def __init__(
        self,
        scheduler: Any,
        zygote: Zygote,
        *,
        worker_options: Mapping[str, Any] | None = None,
        worker_port: int = 0,
        host: str = "127.0.0.1",
        insecure: bool = False,
        local_directory: str | None = None,
        log_level: str = "WARNING",
        keys: Keyring | None = None,
    ) -> None:
        super().__init__(keys=keys)
        self.scheduler_address = str(parse_address(scheduler, SCHEDULER_PORT))
        self.status = "starting"
        self.worker_address: str | None = None
        self.worker_dir: str | None = None
        self.process: Child | None = None
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._zygote = zygote
        self._worker_options = dict(worker_options or {})
        self._listen = {"port": worker_port, "address": host, "insecure": insecure}
        self._host, self._insecure = host, insecure
        self._local_directory = local_directory
        self._log_level = log_level
        self._policy = RestartPolicy()
        self._scheduler = rpc(self.scheduler_address, role=WORKER)
        self._registered = asyncio.Event()
        self._incarnation = ""
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._guard: asyncio.Task[None] | None = None
        self._wanted = False  # whether a dead worker is to be replaced
        self.add_handlers({
            "instantiate": self.instantiate,
            "kill": self.kill,
            "terminate": self.terminate,
            "monitor_resources": self.monitor_resources,
        })  # fmt: skip

    # ------------------------------------------------------------ life

    async def start(self, port: Any = 0) -> Nanny:
        """Listen and start the worker; returns when its process runs (it may still wait for the scheduler)."""
        self.listen(port, self._host, self._insecure)
        await self.instantiate()
        self.status = "running"
        return self

    async def close(self, reason: str = "closed") -> None:
        """End the worker politely, then the nanny. May be called twice."""
        if self.status == "closed":
            return
        self.status = "closed"
        await self._stop_worker(polite=True)
        await self._scheduler.close()
        self.stop()
        if not self.finished.done():
            self.finished.set_result(reason)

    async def wait_registered(self) -> None:
        """Until the worker has been accepted by the scheduler once."""
        await self._registered.wait()

    # ------------------------------------------------------------ ops

    def identity(self, stream: Any) -> dict[str, Any]:
        """Who this is: type, id, and the worker it guards."""
        return {**super().identity(stream), "worker": self.worker_address, "worker_dir": self.worker_dir, "pid": os.getpid()}

    async def instantiate(self, stream: Any = None) -> str:
        """Start the worker.

        Raises:
            ValueError: one is alive.
        """
        if self.process is not None and not self.process.ended.done():
            raise ValueError(f"a worker is alive already, process {self.process.pid}; kill it first")
        self._wanted = True
        await self._start_worker()
        return "OK"

    async def kill(self, stream: Any = None) -> str:
        """End the worker and start no other one; its folder is removed. No error if none is alive."""
        await self._stop_worker(polite=False)
        return "OK"

    async def terminate(self, stream: Any = None) -> str:
        """End worker and nanny; answers first."""
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self.close("asked to end")))
        return "OK"

    async def monitor_resources(self, stream: Any, interval: float = 1) -> None:
        """Send a dict about the worker's process every `interval` seconds until the stream closes.

        ``{'pid', 'memory_nbytes', 'cpu_percent', 'num_threads'}``, or ``{'pid': None}`` while there is none.
        """
        import psutil  # lazy: only for who asks

        watched: Any = None
        while True:
            message: dict[str, Any] = {"pid": None}
            if self.process is not None and not self.process.ended.done():
                with contextlib.suppress(psutil.Error):  # it may end while we look
                    if watched is None or watched.pid != self.process.pid:
                        watched = psutil.Process(self.process.pid)
                    message = {
                        "pid": watched.pid,
                        "memory_nbytes": watched.memory_info().rss,
                        "cpu_percent": watched.cpu_percent(),
                        "num_threads": watched.num_threads(),
                    }
            await write(stream, message)
            await asyncio.sleep(interval)

    # ------------------------------------------------------------ the worker process

    async def _start_worker(self) -> None:
        self.worker_dir = tempfile.mkdtemp(prefix="distributed-worker-", dir=self._local_directory)
        self._stderr.clear()
        stderr_read, stderr_write = os.pipe()
        status_read, status_write = os.pipe()
        options = {
            "worker": {
                **self._worker_options,
                "scheduler": self.scheduler_address,
                "nanny": self.address,
                "running_path": os.path.join(self.worker_dir, "running"),
            },
            "listen": self._listen,
            "log_level": self._log_level,
        }
        try:
            self.process = await self._zygote.spawn("worker", options, stderr_write, status_write)
        except BaseException:
            os.close(stderr_read)
            os.close(status_read)
            raise
        finally:
            os.close(stderr_write)
            os.close(status_write)
        readers = (_read_lines(stderr_read, self._on_stderr), _read_lines(status_read, self._on_status))
        self._guard = asyncio.ensure_future(self._watch(self.process, self.worker_dir, time.monotonic(), readers))

    async def _watch(self, process: Child, folder: str, started: float, readers: Any) -> None:
        """Until the process ends; then certificate, clean-up, and the next life."""
        reading = asyncio.gather(*readers)
        ending = await process.ended
        with contextlib.suppress(TimeoutError):  # a grandchild may hold the pipes open
            await asyncio.wait_for(reading, 1.0)
        running = read_running(os.path.join(folder, "running"))
        shutil.rmtree(folder, ignore_errors=True)
        if ending.exitcode == 0 and self._wanted:
            self._wanted = False
            logger.info("worker %s ended as it was asked to", self.worker_address)
            asyncio.ensure_future(self.close("its worker was asked to end"))  # noqa: RUF006  (ends with this server)
            return
        if not self._wanted:
            return
        logger.warning("worker %s (process %d) died: %s", self.worker_address, process.pid, ending.cause)
        await self._report_death(process.pid, ending, running)
        await self._start_again(time.monotonic() - started, ending)

    async def _start_again(self, lived_s: float, ending: Ending) -> None:
        pause_s = self._policy.pause_s(lived_s)
        if pause_s is None:
            text = f"{self._policy.quick_deaths} workers died one after another, the last of {ending.cause}"
            logger.error("giving up: %s; last lines of stderr:\n%s", text, "\n".join(self._stderr))
            self._wanted = False
            self.status = "closed"
            self.stop()
            if not self.finished.done():
                self.finished.set_exception(WorkerStartError(text))
            return
        await asyncio.sleep(pause_s)
        if self._wanted and self.status != "closed":
            await self._start_worker()

    async def _report_death(self, pid: int, ending: Ending, running: list[str]) -> None:
        """The death certificate."""
        if not self._incarnation:
            return  # the scheduler never knew it
        certificate = {
            "cause": ending.cause,
            "exitcode": ending.exitcode,
            "signal": ending.signal,
            "memory_peak_nbytes": ending.memory_peak_nbytes,
            "stderr": list(self._stderr),
            "running": running,
            "pid": pid,
            "worker": self.worker_address,
        }
        address, incarnation, self._incarnation = self.worker_address, self._incarnation, ""
        try:
            await self._scheduler.worker_died(address=address, incarnation=incarnation, certificate=certificate)
        except DistributedError as error:
            logger.warning("could not tell the scheduler of a dead worker: %s", error)

    async def _stop_worker(self, polite: bool) -> None:
        self._wanted = False
        process = self.process
        if process is None:
            return
        if polite:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.ended), STOP_TIMEOUT_S)
        process.kill()
        await process.ended
        if self._guard is not None and self._guard is not asyncio.current_task():
            await asyncio.wait([self._guard])
        self.worker_address = None

    def _on_status(self, line: str) -> None:
        content = json.loads(line)
        self.worker_address, self._incarnation = content["address"], content["incarnation"]
        self._registered.set()

    def _on_stderr(self, line: str) -> None:
        self._stderr.append(line)
        print(line, file=sys.stderr, flush=True)


async def _read_lines(descriptor: int, on_line: Any) -> None:
    """Give every line of a pipe to `on_line` until its other end is closed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1024 * 1024)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb"))
    try:
        while line := await _one_line(reader):
            on_line(line.decode(errors="replace").rstrip("\n"))
    finally:
        transport.close()


async def _one_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as error:  # a line of over a megabyte: in pieces
        return await reader.readexactly(error.consumed)
