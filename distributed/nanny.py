"""Nanny: guards one worker process. It starts it, tells the scheduler what it died of, and starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from distributed.calls import rpc, write
from distributed.comm.addresses import parse_address
from distributed.comm.dialled import wait_here
from distributed.config import SCHEDULER_PORT, settings
from distributed.core import Server
from distributed.errors import CommClosedError, DistributedError, WorkerStartError
from distributed.process.folders import Folder, make_folder, remove_leftovers
from distributed.process.restart_policy import RestartPolicy
from distributed.process.running import read_lines
from distributed.process.vitals import Pulse, Verdict, read_vitals
from distributed.process.zygote import Child, Ending, Zygote
from distributed.protocol.failure import exception_from_failure
from distributed.security.keys import Keyring
from distributed.security.permissions import WORKER
from distributed.units import format_nbytes
from distributed.worker.keeper import memory_levels
from distributed.worker.leaving import GRACE_S
from distributed.worker.measure import process_nbytes
from distributed.worker.memory import look_after_s
from distributed.worker.output import FORWARDED
from distributed.worker.replacing import LOOK_S as DEADLINE_LOOK_S
from distributed.worker.replacing import Due, Replacement, any_of, late_ones, prepare
from distributed.worker.running import read_deadlines, read_running

__all__ = ["Nanny", "RestartPolicy"]

logger = logging.getLogger(__name__)

STDERR_LINES = 20  # of a dead worker, kept for its death certificate
REPORT_TIMEOUT_S = 5.0  # for the scheduler to take a certificate; a worker is started again without it
STOP_TIMEOUT_S = 5.0  # for a worker that was asked to end, beyond its grace; then it is killed
CLEAN_UP_AFTER_S = 1.0  # until then a cluster has started
DIAL_AGAIN_S = 0.5
LOOK_S = 2.0  # how often we look at the worker's process, and vouch for it
LOOK_S_MIN = 0.02  # between two looks at a worker's memory when it is near its limit; they cost 20 us


class Nanny(Server):
    """Starts a worker in a process of its own and keeps one alive.

    Args:
        scheduler: address of the scheduler.
        zygote: forks the process; attached to the running loop.
        worker_options: keywords of `Worker`, such as ``nthreads`` and ``name``.
        worker_port, host, insecure, tls: where and how the worker listens, see `Server.listen`.
        local_directory: where a temporary folder for each life is made; None: the system's.
        preload: modules or files that each life loads, see `process.preload`.
        policy: when to start a dead worker again; it counts deaths, so give each nanny its own.
        keys: whom to let in, and what to prove to the scheduler; None: this user's key file.
        kind: of process, as the zygote knows it; child_options: what it gets beside the options of every worker.
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
        tls: bool = False,
        local_directory: str | None = None,
        log_level: str = "WARNING",
        preload: Sequence[str] = (),
        policy: RestartPolicy | None = None,
        keys: Keyring | None = None,
        kind: str = "worker",
        child_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys=keys)
        self.scheduler_address = str(parse_address(scheduler, SCHEDULER_PORT))
        self.status = "starting"
        self.worker_address: str | None = None
        self.worker_dir: str | None = None  # of the life that is or was last
        self.running_path = ""  # where that life notes what runs, see `distributed.worker.running`
        self.process: Child | None = None
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._zygote, self._incarnation = zygote, ""
        self._kind, self._child_options = kind, dict(child_options or {})
        self._worker_options = dict(worker_options or {})
        tls = tls or self.scheduler_address.startswith("tls://")
        self._listen = {"port": worker_port, "address": host, "insecure": insecure, "tls": tls}
        self._local_directory, self._log_level = local_directory, log_level
        self._preload = [os.path.abspath(name) if name.endswith(".py") else name for name in preload]
        self._policy = policy or RestartPolicy()
        self._scheduler = rpc(self.scheduler_address, role=WORKER, may_unpickle=False, patient=False, keys=keys)
        self.is_listening = asyncio.Event()  # once a worker does; its scheduler may not know it yet
        self._registered = asyncio.Event()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._guard: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._dialling: asyncio.Task[None] | None = None  # kept until it is done
        self._refusal: BaseException | None = None  # why another life would not help
        self._wanted = self._is_spawning = False  # whether a dead worker is to be replaced; one is being started
        self._verdict: str | None = None  # why we end the worker's process ourselves
        self._replacing = asyncio.Lock()
        self._replaced: Replacement | None = None  # the life that ends, or ended last, for a task that did not stop
        self._levels = memory_levels(self._worker_options.get("memory_limit_nbytes"))
        self.add_handlers({
            "instantiate": self.instantiate,
            "kill": self.kill,
            "renew": self.renew,
            "terminate": self.terminate,
            "monitor_resources": self.monitor_resources,
            "replace": self.replace,
            "serve_scheduler": wait_here,
        })  # fmt: skip

    # ------------------------------------------------------------ life

    async def start(self, port: Any = 0) -> Nanny:
        """Listen and start the worker; returns when its process runs (it may still wait for the scheduler)."""
        self.listen(**{**self._listen, "port": port})
        self.status = "running"
        await self.instantiate()
        threading.Thread(target=self._clean_up, daemon=True).start()
        return self

    def _clean_up(self) -> None:
        """Remove what others have left; later, since reading a big folder would delay the first task."""
        time.sleep(CLEAN_UP_AFTER_S)
        remove_leftovers(self._local_directory)

    async def close(self, reason: str = "closed", graceful: bool = False) -> None:
        """End the worker politely, then the nanny. May be called again, to end the wait of a `graceful` one.

        Args:
            graceful: others take over its tasks and data first, as long as its grace lasts.
        """
        if self.status == "closed":
            if not graceful and self.process is not None:
                self.process.interrupt()
            return
        self.status = "closed"
        await self._stop_worker("gracefully" if graceful else "politely")
        await self._scheduler.close()
        self._forget_replaced()
        self.stop()
        if not self.finished.done():
            self.finished.set_result(reason)

    async def wait_registered(self) -> None:
        """Until the worker has been accepted by the scheduler once.

        Raises:
            DistributedError: it never will be, see `finished`.
        """
        registered = asyncio.ensure_future(self._registered.wait())
        waited: list[asyncio.Future[Any]] = [registered, self.finished]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not registered.done():
            registered.cancel()
            raise WorkerStartError(f"the nanny ended first: {self.finished.result()}")

    # ------------------------------------------------------------ ops

    def identity(self, stream: Any) -> dict[str, Any]:
        """Who this is: type, id, and the worker it guards."""
        place = {"worker": self.worker_address, "worker_dir": self.worker_dir}
        return {**super().identity(stream), **place, "pid": os.getpid()}

    async def instantiate(self, stream: Any = None) -> str:
        """Start the worker.

        Raises:
            ValueError: one is alive.
        """
        if self._is_spawning:
            raise ValueError("a worker is being started already")
        if self.process is not None and not self.process.ended.done():
            raise ValueError(f"a worker is alive already, process {self.process.pid}; kill it first")
        self._wanted = True
        await self._start_worker()
        return "OK"

    async def kill(self, stream: Any = None) -> str:
        """End the worker and start no other one; its folder is removed. No error if none is alive."""
        await self._stop_worker("by force")
        return "OK"

    async def replace(self, stream: Any, incarnation: str, keys: list[str]) -> bool:
        """End this life of the worker and start another one, if one of `keys` still runs there; whether that was so."""
        if incarnation != self._incarnation:
            return False
        return await self._replace(any_of(keys), is_late=False)

    async def renew(self, stream: Any = None) -> str:
        """End the worker at once, with all it holds, and start another one; its tasks are not to blame.

        Raises:
            ValueError: one is being started already, or this nanny ends.
        """
        if self.status == "closed":
            raise ValueError("this nanny ends")
        await self._stop_worker("by force")
        return await self.instantiate()

    async def terminate(self, stream: Any = None, graceful: bool = False) -> str:
        """End worker and nanny, at once, or `graceful` when others have taken over; answers first."""
        asyncio.get_running_loop().call_soon(self._close_soon, "asked to end", graceful)
        return "OK"

    async def monitor_resources(self, stream: Any, interval: float = 1) -> None:
        """Send a dict about the worker's process every `interval` seconds (at least 0.01) until the stream closes.

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
            await asyncio.sleep(max(0.01, interval))

    # ------------------------------------------------------------ the worker process

    async def _start_worker(self) -> None:
        self._is_spawning = True
        try:
            await self._spawn_worker()
        finally:
            self._is_spawning = False

    async def _spawn_worker(self) -> None:
        folder = make_folder(self._local_directory)
        self.worker_dir = folder.path
        self.running_path = os.path.join(folder.path, "running")
        self._stderr.clear()
        self._verdict = None
        rescued = self._replaced.folder if self._replaced is not None else None
        stderr_read, stderr_write = os.pipe()
        status_read, status_write = os.pipe()
        options = {
            **self._child_options,
            "worker": {
                **self._worker_options,
                "scheduler": self.scheduler_address,
                "nanny": self.address,
                "running_path": self.running_path,
                "local_directory": self.worker_dir,
                "rescued_path": None if rescued is None else rescued.path,
            },
            "listen": self._listen,
            "log_level": self._log_level,
            "preload": self._preload,
        }
        try:
            self.process = await self._zygote.spawn(self._kind, options, stderr_write, status_write)
        except BaseException:
            os.close(stderr_read)
            os.close(status_read)
            folder.remove()
            raise
        finally:
            os.close(stderr_write)
            os.close(status_write)
        readers = (
            read_lines(stderr_read, self._on_stderr),
            read_lines(status_read, self._on_status),
            self._watch_memory(self.process),
            self._watch_deadlines(self.process),
        )
        self._guard = asyncio.ensure_future(self._watch(self.process, folder, time.monotonic(), readers))
        self._guard.add_done_callback(self._on_guard_done)
        if not self._wanted:  # killed meanwhile
            self.process.kill()

    async def _watch(self, process: Child, folder: Folder, started: float, readers: Any) -> None:
        """Until the process ends; then certificate, clean-up, and the next life."""
        reading = asyncio.gather(*readers)
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())  # when the loop ends first
        looking = asyncio.ensure_future(self._look_after(process))
        try:
            ending = await process.ended
        finally:
            looking.cancel()
        with contextlib.suppress(TimeoutError):  # a grandchild in a session of its own may hold the pipes open
            await asyncio.wait_for(reading, 1.0)
        running = read_running(os.path.join(folder.path, "running"))
        folder.remove()
        replaced = self._replaced if self._replaced is not None and self._replaced.cause == self._verdict else None
        if replaced is not None:  # nobody is to blame for the death
            running = []
        if not self._wanted:
            if ending.signal is not None:  # we killed it: no task is to blame
                await self._report_death(process.pid, ending, [], "its nanny was told to kill it")
            return
        if ending.exitcode == 0:
            self._wanted = False
            logger.info("worker %s ended as it was asked to", self.worker_address)
            self._close_soon("its worker was asked to end")
            return
        if self._refusal is not None:
            await self._give_up(self._refusal)
            return
        cause = self._verdict or ending.cause
        logger.warning("worker %s (process %d) died: %s", self.worker_address, process.pid, cause)
        late = replaced.keys if replaced is not None and replaced.is_late else []
        await self._report_death(process.pid, ending, running, cause, late)
        pause_s = self._policy.pause_s(time.monotonic() - started, bool(running) or replaced is not None)
        if pause_s is None:
            text = f"{self._policy.quick_deaths} workers died one after another, the last of {cause}"
            logger.error("giving up: %s; last lines of stderr:\n%s", text, "\n".join(self._stderr))
            await self._give_up(WorkerStartError(text))
            return
        await asyncio.sleep(pause_s)
        if self._wanted and self.process is process and not self._is_spawning:
            await self._start_worker()

    async def _look_after(self, process: Child) -> None:
        """Vouch for a worker that is silent because it works; kill one that has been stopped for too long."""
        pulse = Pulse(settings().stopped_timeout_s)
        while True:
            verdict = pulse.look(read_vitals(process.pid), time.monotonic())
            if verdict is Verdict.STOPPED:
                self._condemn(process, f"stopped (SIGSTOP) for {pulse.stopped_max_s:g} s, killed by its nanny")
            elif verdict is Verdict.WORKING and self._incarnation:
                # The next look comes soon. What does not run, if it falls silent for long, can run elsewhere.
                await self._call_scheduler("worker_alive", running=read_running(self.running_path))
            await asyncio.sleep(LOOK_S)

    async def _watch_memory(self, process: Child) -> None:
        """End a process that takes too much before it takes the machine along; returns when it has ended."""
        levels = self._levels
        while levels is not None and levels.terminate_nbytes and not process.ended.done():
            nbytes = process_nbytes(process.pid)
            if nbytes > levels.terminate_nbytes:
                part = levels.terminate_nbytes / levels.limit_nbytes
                limit = format_nbytes(levels.limit_nbytes)
                self._condemn(
                    process, f"{format_nbytes(nbytes)} of memory used, over {part:.0%} of its limit of {limit}"
                )
                return
            await asyncio.wait([process.ended], timeout=look_after_s(nbytes, levels.terminate_nbytes, LOOK_S_MIN))

    async def _watch_deadlines(self, process: Child) -> None:
        """Replace a process in which a task runs for longer than it may; returns when it has ended."""
        while not process.ended.done():
            if process is self.process and late_ones(read_deadlines(self.running_path)):
                await self._replace(late_ones, is_late=True)
            await asyncio.wait([process.ended], timeout=DEADLINE_LOOK_S)

    async def _replace(self, due: Due, *, is_late: bool) -> bool:
        """End the process for the sake of tasks that do not stop, once its data is safe; whether there were any."""
        async with self._replacing:
            process = self.process
            if process is None or self._verdict is not None or not self._wanted:
                return False
            replaced = await prepare(process, self.running_path, due, is_late=is_late, parent=self._local_directory)
            if replaced is None:
                return False
            self._forget_replaced()
            self._replaced = replaced
            if replaced.rescued:
                await self._call_scheduler("worker_replacing", rescued=replaced.rescued)
            self._condemn(process, replaced.cause)
        await asyncio.wait([process.ended])  # whoever is cancelled here must not cancel what others wait for
        return True

    def _forget_replaced(self) -> None:
        """The data of the life before is in the hands of the next, or nobody will ask for it."""
        if self._replaced is not None and self._replaced.folder is not None:
            self._replaced.folder.remove()
        self._replaced = None

    def _condemn(self, process: Child, cause: str) -> None:
        """End the worker's process; its certificate says why."""
        self._verdict = cause
        process.kill()

    async def _call_scheduler(self, op: str, **content: Any) -> None:
        """Tell the scheduler about our worker; if it is gone or slow that is said in the log only."""
        about = {"address": self.worker_address, "incarnation": self._incarnation, **content}
        try:
            async with asyncio.timeout(REPORT_TIMEOUT_S):
                await self._scheduler.call(op, **about)
        except (DistributedError, TimeoutError) as error:  # one that is gone has seen the end, or ends itself
            level = logging.DEBUG if isinstance(error, CommClosedError) or op == "worker_alive" else logging.WARNING
            logger.log(level, "%s: could not tell the scheduler of worker %s: %s", op, self.worker_address, error)

    async def _have_it_dialled(self, address: str) -> None:
        """Tell a scheduler that dials us where its worker listens, until it knows or there is another life."""
        process, level = self.process, logging.WARNING
        while self.process is process and self.status == "running":
            try:
                await self._scheduler.call("dial_worker", nanny=self.address, address=address)
                return
            except DistributedError as error:
                logger.log(level, "%s cannot be dialled yet: %s", address, error)
                level = logging.DEBUG  # once is enough: a guest must not fill the owner's log
                await asyncio.sleep(DIAL_AGAIN_S)

    async def _give_up(self, error: BaseException) -> None:
        """End without a worker; `finished` tells why."""
        self._wanted = False
        self.status = "closed"
        self.stop()
        await self._scheduler.close()
        if not self.finished.done():
            self.finished.set_exception(error)

    def _on_guard_done(self, guard: asyncio.Task[None]) -> None:
        """A guard that fails must not leave its worker unguarded."""
        if not guard.cancelled() and (error := guard.exception()) is not None:
            self._closing = asyncio.ensure_future(self._give_up(error))

    def _close_soon(self, reason: str, graceful: bool = False) -> None:
        self._closing = asyncio.ensure_future(self.close(reason, graceful))

    async def _report_death(
        self, pid: int, ending: Ending, running: list[str], cause: str, late: list[str] | None = None
    ) -> None:
        """The death certificate."""
        if not self._incarnation:
            return  # the scheduler never knew it
        certificate = {
            "cause": cause,
            "exitcode": ending.exitcode,
            "signal": ending.signal,
            "memory_peak_nbytes": ending.memory_peak_nbytes,
            "stderr": list(self._stderr),
            "running": running,
            "late": late or [],
            "pid": pid,
            "worker": self.worker_address,
        }
        await self._call_scheduler("worker_died", certificate=certificate)
        self._incarnation = ""

    async def _stop_worker(self, how: str) -> None:
        self._wanted = False
        process = self.process
        if process is None:
            return
        if how != "by force":
            is_graceful = how == "gracefully"
            (process.terminate if is_graceful else process.interrupt)()
            patience_s = STOP_TIMEOUT_S + (self._worker_options.get("grace_s", GRACE_S) if is_graceful else 0.0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.ended), patience_s)
        process.kill()
        await asyncio.wait([process.ended])  # as above
        if self._guard is not None and self._guard is not asyncio.current_task():
            await asyncio.wait([self._guard])
        self.worker_address = None

    def _on_status(self, line: str) -> None:
        content = json.loads(line)
        if "refused" in content:
            self._refusal = exception_from_failure(content["refused"], "the worker", may_unpickle=False)
            return
        if "listening" in content:
            self.worker_address = content["listening"]
            self.is_listening.set()
            if self.scheduler_address.startswith("dialled://"):
                self._dialling = asyncio.ensure_future(self._have_it_dialled(content["listening"]))
            return
        if "condemned" in content:
            if self.process is not None:
                self._condemn(self.process, f"a task that would not end: {content['condemned']}")
            return
        self.worker_address, self._incarnation = content["address"], content["incarnation"]
        self._registered.set()
        if self._verdict is None:
            self._forget_replaced()

    def _on_stderr(self, line: str) -> None:
        self._stderr.append(line.removeprefix(FORWARDED))
        if line.startswith(FORWARDED):  # the client that wants its task has it, or will have
            return
        with contextlib.suppress(OSError):  # whoever read our stderr is gone; the worker must not suffer from it
            print(line, file=sys.stderr, flush=True)
