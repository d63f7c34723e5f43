"""Worker: the server around the worker's machine. It translates messages and performs effects; it decides nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from distributed.calls import exchange, rpc
from distributed.comm.addresses import parse_address
from distributed.comm.connect import connect_address
from distributed.comm.stream import Stream
from distributed.config import SCHEDULER_PORT
from distributed.core import Server
from distributed.driver import Driver
from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    ConnectTimeoutError,
    DistributedError,
    MessageTooLargeError,
    ProtocolError,
    UnpicklableError,
    WorkerStartError,
)
from distributed.ids import is_key, unique_id
from distributed.messages import SCHEDULER, Heartbeat, ServerClosing, WorkerLeaving
from distributed.protocol.codec import ErrorReply
from distributed.protocol.serialize import Serialized, payload_nbytes, raiser
from distributed.security.keys import Keyring
from distributed.security.permissions import WORKER
from distributed.units import MiB
from distributed.versions import all_versions, versions_here
from distributed.wire import from_wire, halves
from distributed.worker.direct import DirectOps
from distributed.worker.effects import (
    DropData,
    DropFunctions,
    Execute,
    Fetch,
    Keep,
    ToScheduler,
    Withdraw,
)
from distributed.worker.events import (
    DataFetched,
    DataPut,
    FetchFailed,
    FromScheduler,
    SchedulerLost,
    TasksExecuted,
)
from distributed.worker.execute import POLL_S, Executor
from distributed.worker.machine import WorkerMachine
from distributed.worker.once import Once
from distributed.worker.running import Running
from distributed.worker.store import Packed, Store

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
CONNECT_S = 3.0  # one round of attempts to reach the scheduler
REGISTER_S = 2 * CONNECT_S  # with the scheduler's answer
REPEAT_S = 10.0  # how often a worker that waits for its scheduler says so
CLOSE_TIMEOUT_S = 2.0  # for threads that run a task when the worker ends
ANSWER_NBYTES_MAX = 32 * MiB  # of small results in one answer: they are in its header, and this is half of its limit
ANSWER_FRAMED_NBYTES_MAX = 256 * MiB  # of big ones, unless it is one alone: some 50 ms on the way, 100 times a call
ANSWER_FRAMES_MAX = 5_000  # likewise


class Worker(Server):
    """Runs tasks for one scheduler and keeps their results.

    Args:
        scheduler: address of the scheduler in any spelling; with ``scheduler_port`` just its host.
        nthreads: tasks at once, >= 1; None: one per core of this machine.
        name: unique among the scheduler's workers; None: the address.
        memory_limit_nbytes: what it may use, told to the scheduler; None: no limit.
        resources: amounts by name that tasks may ask for.
        nanny: address of the nanny that guards this process, if one does.
        running_path: file in which the nanny finds what ran when this process died.
    """

    default_port = 0

    def __init__(
        self,
        scheduler: Any,
        scheduler_port: int | None = None,
        *,
        nthreads: int | None = None,
        name: str | None = None,
        memory_limit_nbytes: int | None = None,
        resources: Mapping[str, float] | None = None,
        nanny: str | None = None,
        running_path: str | None = None,
        keys: Keyring | None = None,
    ) -> None:
        super().__init__(keys=keys)
        if nthreads is not None and nthreads < 1:
            raise WorkerStartError(f"nthreads={nthreads}: a worker needs at least one thread")
        place = scheduler if scheduler_port is None else (scheduler, scheduler_port)
        self.scheduler_address = str(parse_address(place, SCHEDULER_PORT))
        self.nthreads = nthreads or os.cpu_count() or 1
        self.name = name
        self.memory_limit_nbytes = memory_limit_nbytes
        self.resources = dict(resources or {})
        self.nanny = nanny
        self.status = "starting"
        self.incarnation = ""
        self.store = Store()
        self._packing: Once[Serialized | None] = Once()
        self.on_registered: Callable[[], object] = lambda: None  # called at each registration
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._running_path = running_path
        self._scheduler: Stream | None = None
        self._peers: dict[str, rpc] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._closed: asyncio.Event | None = None  # once it is closing; set when it has closed
        self._started = time.time()
        self.add_handlers({
            "get_data": self.get_data,
            "put_data": self.put_data,
            "health": self.health,
            "versions": self.versions,
            "terminate": self.terminate,
        })  # fmt: skip

    # ------------------------------------------------------------ life

    async def start(self, port: Any = 0, address: str = "127.0.0.1", insecure: bool = False) -> Worker:
        """Listen, and register with the scheduler; waits until it is there, saying so in the log.

        Raises:
            PortTakenError, AuthenticationError; NameTakenError: another worker has the name.
        """
        self.listen(port, address, insecure)
        loop = asyncio.get_running_loop()
        self.machine = WorkerMachine(self.address, self.nthreads)
        self.executor = Executor(
            self.nthreads, lambda: _wake(loop, self._look), self.store, self.address,
            Running(self._running_path, self.nthreads),
        )  # fmt: skip
        self._direct = DirectOps(self.store, self.executor, self._ask_peer)
        self.add_handlers({
            "compute": self._direct.compute,
            "gather": self._direct.gather,
            "update_data": self._direct.update_data,
            "delete_data": self._direct.delete_data,
        })  # fmt: skip
        self.driver = Driver(self.machine, {
            Execute: lambda effect: self.executor.submit(effect.tasks),
            Withdraw: lambda effect: self.executor.withdraw(effect.keys),
            Keep: lambda effect: self.store.put_columns(effect.keys, effect.values, effect.nbytes),
            DropData: lambda effect: self.store.drop(effect.keys),
            DropFunctions: lambda effect: self.executor.forget_functions(effect.digests),
            Fetch: lambda effect: self._spawn(self._fetch(effect.address, effect.keys)),
            ToScheduler: lambda effect: self._send(effect.message),
        }, on_failure=self._fail)  # fmt: skip
        try:
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
        if self._scheduler is not None and not self._scheduler.closed():
            self._send(WorkerLeaving(reason))
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._scheduler.close_after_flush()
            except TimeoutError:
                self._scheduler.close()  # a scheduler that does not read
        if hasattr(self, "driver"):
            self.driver.stop()
            await asyncio.get_running_loop().run_in_executor(None, self.executor.close, CLOSE_TIMEOUT_S)
            self.executor.running.close()
        for task in self._tasks - {asyncio.current_task()}:  # this may be one of them
            task.cancel()
        if self._looking is not None:
            self._looking.cancel()
        for peer in self._peers.values():
            await peer.close()
        self.stop()
        if not self.finished.done():
            if error is None:
                self.finished.set_result(reason)
            else:
                self.finished.set_exception(error)

    def close_soon(self, reason: str) -> None:
        """`close` for callers that cannot wait, such as signal handlers."""
        self._spawn(self.close(reason))

    def _fail(self, error: BaseException) -> None:
        """Our own fault: nothing can be relied on, so the process must end and say so."""
        logger.critical("worker %s cannot go on", self.address, exc_info=error)
        self.status = "failed"
        if not self.finished.done():
            self.finished.set_exception(error)
        self._spawn(self.close(f"{type(error).__name__}: {error}"))

    # ------------------------------------------------------------ the scheduler

    async def _register(self) -> None:
        """Connect and be accepted; tries until the scheduler is there."""
        waited, next_word = 0.0, 0.0
        while self.status != "closed":
            try:
                await self._register_once()
            except (ConnectTimeoutError, CommClosedError) as error:
                waited += CONNECT_S
                if waited >= next_word:
                    logger.warning("waiting for the scheduler at %s: %s", self.scheduler_address, _reason(error))
                    next_word = waited + REPEAT_S
                await asyncio.sleep(0.1)
            else:
                return

    async def _register_once(self) -> None:
        try:
            async with asyncio.timeout(REGISTER_S):
                await self._introduce(await connect_address(self.scheduler_address, CONNECT_S, WORKER, self._keys))
        except TimeoutError as error:
            if isinstance(error, ConnectTimeoutError):
                raise
            raise ConnectTimeoutError(self.scheduler_address, REGISTER_S, "it does not answer") from None

    async def _introduce(self, stream: Stream) -> None:
        self.incarnation = unique_id("life")
        request = {
            "op": "register_worker",
            "address": self.address,
            "incarnation": self.incarnation,
            "name": self.name or self.address,
            "nthreads": self.nthreads,
            "memory_limit_nbytes": self.memory_limit_nbytes,
            "nanny": self.nanny,
            "resources": self.resources,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "process": self.id,
            "versions": versions_here(),
        }
        try:
            await exchange(stream, request)
        except BaseException:
            stream.close()
            raise
        if self.status == "closed":  # meanwhile
            stream.close()
            return
        self._scheduler = stream
        self.status = "running"
        logger.info("worker %s registered with the scheduler at %s", self.address, self.scheduler_address)
        self.on_registered()
        stream.set_close_callback(lambda: self._on_scheduler_gone(stream))
        stream.set_message_handler(self._on_scheduler_message)

    def _on_scheduler_message(self, wire: Any) -> None:
        try:
            if isinstance(wire, ErrorReply):
                raise ProtocolError(f"the scheduler closed the connection: {wire['text']}")
            message = from_wire(wire, SCHEDULER)
        except ProtocolError as error:
            self._fail(error)
            return
        if isinstance(message, ServerClosing):
            self._spawn(self.close(f"the scheduler ended: {message.reason}"))
        else:
            self.driver.handle(FromScheduler(message))

    def _on_scheduler_gone(self, stream: Stream) -> None:
        if stream is not self._scheduler or self.status != "running":
            return
        logger.warning("lost the scheduler: %s", stream.error)
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
        if self._scheduler is None or self._scheduler.closed():
            return  # the close callback brings SchedulerLost
        try:
            self._scheduler.write_plain_nowait(message.to_wire())
        except CommClosedError:
            return  # the same
        except MessageTooLargeError:
            parts = halves(message)
            if not parts:
                raise
            for part in parts:
                self._send(part)

    async def _heartbeats(self) -> None:
        import psutil  # lazy: 10 ms that need not stand before the first task

        process = psutil.Process()
        process.cpu_percent()
        while self.status != "closed":
            await asyncio.sleep(HEARTBEAT_S)
            metrics = {
                "memory_nbytes": float(process.memory_info().rss),
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
            self.driver.handle(TasksExecuted(self._direct.take(outcomes)))
            self._looking = asyncio.get_running_loop().call_later(POLL_S, self._look)

    async def _fetch(self, address: str, keys: list[str]) -> None:
        try:
            answer = await self._ask_peer(address, keys)
            values = {key: Packed(payload) for key, payload in answer.items()}
            nbytes = {key: payload_nbytes(payload) for key, payload in answer.items()}
        except (CommClosedError, ConnectTimeoutError, AuthenticationError) as error:
            self.driver.handle(FetchFailed(address, keys, str(error)))
        except Exception as error:  # the peer answered nonsense: for the task it is the same as no answer
            logger.exception("fetching from %s failed", address)
            self.driver.handle(FetchFailed(address, keys, str(error)))
        else:
            self.driver.handle(DataFetched(address, values, nbytes, [key for key in keys if key not in values]))

    async def _ask_peer(self, address: str, keys: list[str]) -> dict[str, Serialized]:
        """Those of `keys` that the worker at `address` has."""
        if address not in self._peers:
            self._peers[address] = rpc(address, role=WORKER)
        found: dict[str, Serialized] = {}
        left = keys
        while left:
            try:
                answer: dict[str, Serialized] = await self._peers[address].get_data(keys=left)
            except (CommClosedError, ConnectTimeoutError):
                self._peers.pop(address, None)  # gone, perhaps for good
                raise
            found.update((key, answer[key]) for key in left if key in answer)
            if not any(key in answer for key in left):
                break
            left = [key for key in left if key not in answer]  # what did not fit into one message, or is not there
        return found

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

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

    async def get_data(self, stream: Any, keys: list[str]) -> dict[str, Any]:
        """Results by key, pickled; keys that are not here are left out, and so are those too many for one message.

        Whoever gets an answer asks again for the rest, until an answer is empty.
        """
        return await asyncio.get_running_loop().run_in_executor(None, self._payloads, keys)

    def _payloads(self, keys: list[str]) -> dict[str, Serialized]:
        """In a thread: pickling may run the code of users."""
        found: dict[str, Serialized] = {}
        inline, framed, frames = 0, 0, 0
        for key in keys:
            payload = self._packing.get(key, self._payload)
            if payload is not None:
                if payload.is_inline():
                    inline += payload.nbytes
                else:
                    framed += payload.nbytes
                    frames += len(payload.frames)
                is_full = inline > ANSWER_NBYTES_MAX or framed > ANSWER_FRAMED_NBYTES_MAX or frames > ANSWER_FRAMES_MAX
                if found and is_full:
                    break
                found[key] = payload
        return found

    def _payload(self, key: str) -> Serialized | None:
        if key not in self.store:
            return None
        try:
            payload = self.store.get_payload(key)
        except UnpicklableError as error:
            return raiser(error)
        except Exception as error:  # the asker is told what is wrong with the value, instead of asking again and again
            return raiser(UnpicklableError(f"the result of {key}", type(error).__name__, str(error)))
        return payload if isinstance(payload, Serialized) else Serialized([payload])

    def put_data(self, stream: Any, client: str, data: dict[str, Serialized]) -> dict[str, int]:
        """Keep what a client scatters; sizes by key. The scheduler hears of it from us."""
        if not is_key(client) or not all(is_key(key) and isinstance(value, Serialized) for key, value in data.items()):
            raise BadRequestError("put_data: client and keys are texts, and values are wrapped, to_serialize(value)")
        values = {key: Packed(value) for key, value in data.items()}
        nbytes = {key: value.nbytes for key, value in data.items()}
        self.driver.handle(DataPut(client, values, nbytes))
        return nbytes

    def health(self, stream: Any) -> dict[str, Any]:
        """What it is doing: running and queued tasks, stored keys, uptime in seconds."""
        return {
            "status": self.status,
            "active": self.executor.running.keys(),
            "queued": self.executor.queue_length(),
            "stored": len(self.store),
            "uptime_s": time.time() - self._started,
        }

    def versions(self, stream: Any) -> dict[str, str]:
        """Versions of Python and packages in this process."""
        return all_versions()

    async def terminate(self, stream: Any, reason: str = "asked to end") -> str:
        """End this worker; answers first."""
        asyncio.get_running_loop().call_soon(self.close_soon, reason)
        return "OK"


def _wake(loop: asyncio.AbstractEventLoop, look: Any) -> None:
    try:
        loop.call_soon_threadsafe(look)
    except RuntimeError:  # the loop has ended while a task was running: nobody is left to tell
        return


def _reason(error: DistributedError) -> str:
    return str(getattr(error, "reason", error))
