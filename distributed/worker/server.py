"""Worker: the server around the worker's machine. It translates messages and performs effects; it decides nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed.comm.addresses import parse_address
from distributed.comm.dialled import wait_here
from distributed.comm.stream import Stream
from distributed.config import SCHEDULER_PORT, settings
from distributed.core import Server
from distributed.driver import Driver
from distributed.errors import (
    DistributedError,
    ProtocolError,
    WorkerStartError,
)
from distributed.ids import is_key, unique_id
from distributed.messages import SCHEDULER, DismissWorker, Heartbeat, ServerClosing, WorkerLeaving, WorkerPaused
from distributed.process.running import Background
from distributed.protocol.codec import ErrorReply
from distributed.security.keys import Keyring
from distributed.versions import all_versions, platform_tags, versions_here
from distributed.web.services import Services
from distributed.wire import from_wire
from distributed.worker.actor_calls import WorkerCarrier
from distributed.worker.actors import Actors
from distributed.worker.allowed import AllowedLink
from distributed.worker.data_ops import DataOps
from distributed.worker.direct import CenterLink, DirectOps
from distributed.worker.effects import (
    DropData,
    DropEquipment,
    DropFunctions,
    EndActors,
    Equip,
    Execute,
    Fetch,
    GiveBack,
    Keep,
    KeepActors,
    Stop,
    ToScheduler,
    Withdraw,
)
from distributed.worker.equipment import Equipment, transitions_of
from distributed.worker.events import (
    DataRescued,
    FromScheduler,
    SchedulerLost,
    StopBegun,
    TasksExecuted,
    TasksLending,
    TasksWithdrawn,
    Tick,
)
from distributed.worker.execute import POLL_S, Executor, slots_of
from distributed.worker.explain import explain
from distributed.worker.joining import join, send
from distributed.worker.keeper import MemoryKeeper, memory_levels
from distributed.worker.leaving import GRACE_S, Leaving
from distributed.worker.machine import WorkerMachine
from distributed.worker.output import TaskOutput
from distributed.worker.rescue import RescueLog, load_rescued
from distributed.worker.running import Running
from distributed.worker.spill import SpillDisk
from distributed.worker.visiting import Visits

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
FLUSH_TIMEOUT_S = 2.0  # for the scheduler to take our last message
THREADS_TIMEOUT_S = 0.1  # for the executor's threads; idle ones end at once, those that run a task end with the process


class Worker(Server):
    """Runs tasks for one scheduler and keeps their results.

    Args:
        scheduler: address of the scheduler in any spelling; with ``scheduler_port`` just its host.
        nthreads: tasks at once, >= 1; None: one per core of this machine.
        name: unique among the scheduler's workers; None: the address.
        memory_limit_nbytes: what it may use, told to the scheduler; None: no limit.
        resources: amounts by name that tasks may ask for.
        tags: what a task's ``platform=`` may match, beside ``linux`` and ``linux-x86_64`` or whatever this machine is.
        nanny: address of the nanny that guards this process, if one does.
        grace_s: seconds that `retire_soon` waits for others to take over tasks and data.
        running_path: file in which the nanny finds what ran when this process died.
        local_directory: folder in which one for spilled results is made; None: the system's for temporary files.
        rescued_path: folder with data that the nanny took out of a former life.
        owns_process: whether all memory of this process is the worker's, see `distributed.worker.keeper`.
        services: what else answers beside it, see `Services`, for example ``{("http", 0): HTTPWorker}``.
        http_port: short for that; 0: any free one; None: no HTTP.
        announced: ports, by name, of what others serve here, such as an offer; the scheduler is told.
        shares_path: socket of the offer that says how many of its slots it may use, see `distributed.worker.allowed`.
    """

    default_port = 0
    dress: Callable[[Any], Any] | None = None  # what is called in the place of a task's function; rooms have one

    def __init__(
        self,
        scheduler: Any,
        scheduler_port: int | None = None,
        *,
        nthreads: int | None = None,
        name: str | None = None,
        memory_limit_nbytes: int | None = None,
        resources: Mapping[str, float] | None = None,
        tags: Sequence[str] = (),
        nanny: str | None = None,
        grace_s: float = GRACE_S,
        running_path: str | None = None,
        local_directory: str | None = None,
        owns_process: bool = True,
        rescued_path: str | None = None,
        services: Mapping[Any, Callable[[Any], Any]] | None = None,
        http_port: int | None = None,
        keys: Keyring | None = None,
        shares_path: str | None = None,
        announced: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(keys=keys)
        self.services = Services(services, http_port, _http, announced)
        if nthreads is not None and nthreads < 1:
            raise WorkerStartError(f"nthreads={nthreads}: a worker needs at least one thread")
        place = scheduler if scheduler_port is None else (scheduler, scheduler_port)
        self.scheduler_address = str(parse_address(place, SCHEDULER_PORT))
        self.nthreads = nthreads or os.cpu_count() or 1
        self.name, self.memory_limit_nbytes = name, memory_limit_nbytes
        self.resources, self.tags = dict(resources or {}), [*platform_tags(), *tags]
        self.nanny, self._shares_path = nanny, shares_path
        self._leaving, self.status, self.incarnation = Leaving(grace_s, self._send, self.close_soon), "starting", ""
        self.memory = MemoryKeeper(SpillDisk(local_directory), memory_levels(memory_limit_nbytes), owns_process)
        self.store, self._started = self.memory.store, time.time()
        self.memory.rescue = RescueLog(running_path if nanny is not None else None)
        self.data = DataOps(self)
        self.on_listening: Callable[[], object] = lambda: None  # called once; the next, at each registration
        self.on_registered: Callable[[], object] = lambda: None
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.metrics: dict[str, float] = {}  # of the last heartbeat
        self.companion: Any = None  # the client of its tasks, once one has asked; see `distributed.client.inside`
        self._running_path, self._rescued_path = running_path, rescued_path
        self.output, visits = TaskOutput(self._send), Visits(self)
        self.equipment = Equipment(self, visits, local_directory, owns_process, self._forget_loaded)
        self._scheduler: Stream | None = None
        self._allowed: AllowedLink | None = None
        self._background = Background(self._fail)
        self._spawn = self._background.spawn
        self._looking: asyncio.TimerHandle | None = None
        self._closed: asyncio.Event | None = None  # once it is closing; set when it has closed
        self.add_handlers({
            "get_data": self.data.get_data,
            "put_data": self.data.put_data,
            "health": self.health,
            "explain": self.explain,
            "run": visits.run,
            "versions": self.versions,
            "terminate": self.terminate,
        })  # fmt: skip

    # ------------------------------------------------------------ life

    async def start(
        self, port: Any = 0, address: str = "127.0.0.1", insecure: bool = False, tls: bool = False
    ) -> Worker:
        """Listen, with TLS if the scheduler does, and register; waits until it is there, saying so in the log.

        Raises:
            PortTakenError, AuthenticationError; NameTakenError: another worker has the name.
        """
        tls = tls or self.scheduler_address.startswith("tls://")
        self.listen(port, address, insecure, tls)
        self.on_listening()
        loop = asyncio.get_running_loop()
        self.machine = WorkerMachine(self.address, self.nthreads)
        self.executor = Executor(
            self.nthreads, lambda: _wake(loop, self._look), self.store, self.address,
            Running(self._running_path, slots_of(self.nthreads)), self.memory.limits, self.memory.after_big, self,
            self.dress,
        )  # fmt: skip
        self.executor.interrupts.attach(loop)
        if self._shares_path is not None:
            self.allow(0)  # until the offer says more
            self._allowed = AllowedLink(self._shares_path, self.executor.demand, self.allow)
            self._spawn(self._allowed.run())
        self.memory.start(
            self.executor.gate.set_paused, lambda paused: self._send(WorkerPaused(paused)),
            self.machine.incoming_nbytes, self._fail,
        )  # fmt: skip
        self._center = CenterLink(self.scheduler_address, self.address)
        self._direct = DirectOps(self.store, self.executor, self.data.peers.ask, self._center)
        self.actors, self._carrier = Actors(self.address, self, loop=loop), WorkerCarrier()
        self.add_handlers({
            "actors": self.actors.serve,
            "serve_scheduler": wait_here,
            "compute": self._direct.compute,
            "gather": self._direct.gather,
            "update_data": self._direct.update_data,
            "delete_data": self._direct.delete_data,
        })  # fmt: skip
        self.driver = Driver(self.machine, {
            Execute: self._execute,
            Withdraw: lambda effect: self.executor.withdraw(effect.keys),
            GiveBack: self._give_back,
            Stop: lambda effect: self.driver.handle(StopBegun(self.executor.stop(effect.tickets))),
            Keep: lambda effect: self.memory.keep(effect.keys, effect.values, effect.nbytes),
            DropData: lambda effect: self.memory.drop(effect.keys),
            KeepActors: lambda effect: self.actors.keep(effect.actors),
            EndActors: lambda effect: self.actors.end(effect.keys, effect.reason),
            DropFunctions: lambda effect: self.executor.forget_functions(effect.digests),
            Fetch: lambda effect: self._spawn(self.data.fetch(effect.address, effect.keys)),
            ToScheduler: lambda effect: self._send(effect.message),
            Equip: lambda effect: self._spawn(self.equipment.take_in(effect, self.driver.handle)),
            DropEquipment: lambda effect: self._spawn(self.equipment.drop()),
        }, tick=Tick, on_failure=self._fail)  # fmt: skip
        if settings().forward_output:
            self.output.open(is_guarded=self.nanny is not None)
        try:
            self.services.start(self, port, address, insecure, tls)
            await self._register()
        except BaseException:
            await self.close("it could not start")
            raise
        self._spawn(self._heartbeats())
        return self

    async def close(self, reason: str = "closed", error: BaseException | None = None) -> None:
        """Leave the scheduler politely and end; `finished` then holds the reason, or the error.

        May be called again, and then waits for the end too.
        """
        if self._closed is not None:
            await self._closed.wait()
            return
        self._closed = asyncio.Event()
        try:
            await self._close(reason, error)
        finally:
            self._closed.set()

    async def _close(self, reason: str, error: BaseException | None) -> None:
        self.status = "closed"
        self.output.close()
        await self.equipment.close()
        if self._scheduler is not None and not self._scheduler.closed():
            self._send(WorkerLeaving(reason))
            try:
                async with asyncio.timeout(FLUSH_TIMEOUT_S):
                    await self._scheduler.close_after_flush()
            except TimeoutError:
                self._scheduler.close()  # a scheduler that does not read
        if hasattr(self, "driver"):
            self.driver.stop()
            self.actors.close()
            self._carrier.close()
            await self._center.close()
            await asyncio.get_running_loop().run_in_executor(None, self.executor.close, THREADS_TIMEOUT_S)
            self.executor.running.close()
        if self.companion is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.companion.close)
        self._background.cancel()
        await self.memory.close()
        if self._looking is not None:
            self._looking.cancel()
        self._leaving.cancel()
        if self._allowed is not None:
            self._allowed.close()
        await self.data.close()
        await self.services.stop()
        self.stop()
        if not self.finished.done():
            if error is None:
                self.finished.set_result(reason)
            else:
                self.finished.set_exception(error)

    def close_soon(self, reason: str) -> None:
        """`close` for callers that cannot wait, such as signal handlers."""
        self._spawn(self.close(reason))

    def retire_soon(self, reason: str) -> None:
        """Let others take over tasks and data, then `close`: when the scheduler says so, or after `grace_s` seconds.

        At once if the scheduler is not there, or if there is no grace.
        """
        if self.status == "retiring":
            return
        if self.status != "running" or self._leaving.grace_s <= 0:
            self.close_soon(reason)
            return
        self.status = "retiring"
        self._leaving.begin(reason)

    def allow(self, allowed: int, most: int | None = None) -> None:
        """Let tasks have so many of its slots at present, 0 to ``nthreads``: what runs goes on, and less begins.

        The scheduler is not told, and queues as before. A task of more than `most` threads is content with so many.
        """
        self.executor.allow(allowed, self.nthreads if most is None else most)

    def _fail(self, error: BaseException) -> None:
        """Our own fault: nothing can be relied on, so the process must end and say so."""
        logger.critical("worker %s cannot go on", self.address, exc_info=error)
        self.status = "failed"
        if not self.finished.done():
            self.finished.set_exception(error)
        self._spawn(self.close(f"{type(error).__name__}: {error}"))

    # ------------------------------------------------------------ the scheduler

    async def _register(self) -> None:
        stream = await join(
            self.scheduler_address, self._keys, self._introduction, is_closed=lambda: self.status == "closed"
        )
        if stream is None:
            return
        self._scheduler = stream
        self.status = "running"
        logger.info("worker %s registered with the scheduler at %s", self.address, self.scheduler_address)
        if self.memory.is_paused:  # a new scheduler does not know
            self._send(WorkerPaused(True))
        if self._rescued_path is not None:
            values, nbytes = load_rescued(self._rescued_path)
            self.driver.handle(DataRescued(values, nbytes))
            self.memory.rescue.put(values, self.store)
            self._rescued_path = None
        self.on_registered()
        stream.set_close_callback(lambda: self._on_scheduler_gone(stream))
        stream.set_message_handler(self._on_scheduler_message)

    def _introduction(self) -> dict[str, Any]:
        self.incarnation = unique_id("life")
        return {
            "op": "register_worker",
            "address": self.address,
            "incarnation": self.incarnation,
            "name": self.name or self.address,
            "nthreads": self.nthreads,
            "memory_limit_nbytes": self.memory_limit_nbytes,
            "nanny": self.nanny,
            "resources": self.resources,
            "tags": self.tags,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "process": self.id,
            "versions": versions_here(),
            "services": self.services.ports(),
        }

    def _on_scheduler_message(self, wire: Any) -> None:
        try:
            if isinstance(wire, ErrorReply):
                raise ProtocolError(f"the scheduler closed the connection: {wire['text']}")
            message = from_wire(wire, SCHEDULER)
        except ProtocolError as error:
            self._fail(error)
            return
        if isinstance(message, ServerClosing):
            self.close_soon(f"the scheduler ended: {message.reason}")
        elif isinstance(message, DismissWorker):
            self._leaving.dismissed(message.reason)
        else:
            self.driver.handle(FromScheduler(message))

    def _on_scheduler_gone(self, stream: Stream) -> None:
        if stream is not self._scheduler or self.status not in ("running", "retiring"):
            return
        logger.warning("lost the scheduler: %s", stream.error)
        if self.status == "retiring":  # nobody is left who could let others take over
            self._leaving.dismissed("lost the scheduler")
            return
        self.status = "lost"
        self.driver.handle(SchedulerLost())
        self._spawn(self._rejoin())

    async def _rejoin(self) -> None:
        try:
            await self._register()
        except (DistributedError, ValueError) as error:  # refused: a name taken, another key
            logger.error("the scheduler refused this worker: %s", error)
            await self.close(f"refused: {error}", error)

    def _send(self, message: Any) -> None:
        if self._scheduler is not None:
            send(self._scheduler, message)

    async def _heartbeats(self) -> None:
        import psutil  # lazy: 10 ms that need not stand before the first task

        process = psutil.Process()
        process.cpu_percent()
        while self.status != "closed":
            await asyncio.sleep(HEARTBEAT_S)
            self.metrics = metrics = {
                **self.memory.metrics(),
                "cpu_percent": float(process.cpu_percent()),
                "stored_keys": float(len(self.store)),
                "queued": float(self.executor.queue_length()),
            }
            self._send(Heartbeat(self.executor.running.keys(), metrics))

    # ------------------------------------------------------------ performing

    def _look(self) -> None:
        """Take what the executor's threads have finished, and look again soon while there is something."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        outcomes = self.executor.take_outcomes()
        if outcomes:
            if self.executor.interrupts.wanted:
                self.executor.interrupts.forget([outcome.ticket for outcome in outcomes])
            if self.output.has_any:  # what a task wrote comes before its result
                self.output.flush()
            if self.equipment.is_watched:
                self.equipment.tell(transitions_of(outcomes))
            self.driver.handle(TasksExecuted(self._direct.take(outcomes)))
            self._looking = asyncio.get_running_loop().call_later(POLL_S, self._look)
        news = self.executor.lending.take_news()
        if news:  # after the outcomes: of tasks that have ended nobody has to know any more
            self.driver.handle(TasksLending(news))
        if self._allowed is not None:
            self._allowed.poke()

    def _execute(self, effect: Execute) -> None:
        if self.equipment.is_watched:
            self.equipment.tell([(task.key, "waiting", "ready") for task in effect.tasks])
        self.executor.submit(effect.tasks)
        if self._allowed is not None:
            self._allowed.poke()

    def _forget_loaded(self) -> None:
        """Functions were loaded from a module that has been replaced; any thread."""
        self.executor.forget_functions(list(self.machine.state.functions))

    def _give_back(self, effect: GiveBack) -> None:
        self.driver.handle(TasksWithdrawn(effect.tickets, self.executor.withdraw(list(effect.tickets))))

    # ------------------------------------------------------------ ops

    def identity(self, stream: Any) -> dict[str, Any]:
        """Who this is: type, id, address, name, scheduler, threads."""
        return {
            **super().identity(stream),
            "address": self.address,
            "name": self.name or self.address,
            "scheduler": self.scheduler_address,
            "center": self.scheduler_address,  # its name on the page Foundations
            "nthreads": self.nthreads,
            "nanny": self.nanny,
            "pid": os.getpid(),
        }

    def health(self, stream: Any) -> dict[str, Any]:
        """What it is doing: running and queued tasks, stored keys, uptime in seconds."""
        return {
            "status": self.status,
            "active": self.executor.running.keys(),
            "queued": self.executor.queue_length(),
            "stored": len(self.store),
            "uptime_s": time.time() - self._started,
        }

    def explain(self, stream: Any, key: str) -> dict[str, object]:
        """What the task `key` does here, see `Why.to_wire`; empty: it is not here."""
        answer = explain(key, self.machine, self.executor) if is_key(key) else None
        return {} if answer is None else answer.to_wire()

    def versions(self, stream: Any) -> dict[str, str]:
        """Versions of Python and packages in this process."""
        return all_versions()

    async def terminate(self, stream: Any, reason: str = "asked to end", graceful: bool = False) -> str:
        """End this worker, at once, or `graceful` when others have taken over; answers first."""
        asyncio.get_running_loop().call_soon(self.retire_soon if graceful else self.close_soon, reason)
        return "OK"


def _http(server: Worker) -> Any:
    from distributed.worker.http import HTTPWorker  # lazy: tornado takes 50 ms

    return HTTPWorker(server)


def _wake(loop: asyncio.AbstractEventLoop, look: Any) -> None:
    try:
        loop.call_soon_threadsafe(look)
    except RuntimeError:  # the loop has ended while a task was running: nobody is left to tell
        return
