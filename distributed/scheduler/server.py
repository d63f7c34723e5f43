"""Scheduler: the server around the scheduler's machine. It translates messages and performs effects, no more.

It never unpickles anything: functions, arguments, results and exceptions pass through as opaque bytes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from distributed.comm.addresses import parse_address
from distributed.comm.stream import Stream
from distributed.config import SCHEDULER_PORT
from distributed.core import Server
from distributed.driver import Driver
from distributed.errors import BadRequestError, CommClosedError, DistributedError, MessageTooLargeError, ProtocolError
from distributed.ids import is_key
from distributed.messages import CLIENT, WORKER, CancelKeys, Message, ServerClosing, WorkerLeaving
from distributed.scheduler import snapshot
from distributed.scheduler.checking import bounded, services_of, tags_of, texts
from distributed.scheduler.demand import desired_workers
from distributed.scheduler.diagnosis import DiagnosisOps
from distributed.scheduler.dialling import Dialler
from distributed.scheduler.effects import (
    AcceptWorker,
    DropWorker,
    EndClient,
    OrderDone,
    RefuseWorker,
    ReplaceWorker,
    ToClient,
    ToWorker,
)
from distributed.scheduler.equipment_ops import EquipmentOps
from distributed.scheduler.events import (
    ClientJoined,
    ClientLeft,
    FromClient,
    FromWorker,
    Tick,
    WorkerDied,
    WorkerJoined,
    WorkerLeft,
)
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.nannies import NannyCalls
from distributed.scheduler.ops import OrderOps
from distributed.scheduler.plugins import Plugins, SchedulerPlugin
from distributed.scheduler.proxy import DataProxy
from distributed.scheduler.sessions import ClientSessions, flushed, reject
from distributed.scheduler.state import Settings
from distributed.security.keys import Keyring
from distributed.versions import all_versions, versions_here
from distributed.web.services import Services
from distributed.wire import from_wire, halves

__all__ = ["Scheduler"]

logger = logging.getLogger(__name__)

DEMAND_S = 5.0  # a worker that would have less to do than that is not worth its start


class Scheduler(Server):
    """Takes graphs from clients, gives tasks to workers, tells clients what became of them.

    ``Scheduler().listen()`` inside a running loop; then `finished` is done when it has ended.

    Args:
        settings: of the machine.
        services: what else answers beside it, see `Services`, for example ``{("http", 9786): HTTPScheduler}``.
        http_port: short for that; 0: any free one; None: no HTTP.
    """

    default_port = SCHEDULER_PORT

    def __init__(
        self,
        *,
        keys: Keyring | None = None,
        settings: Settings | None = None,
        services: Mapping[Any, Callable[[Any], Any]] | None = None,
        http_port: int | None = None,
    ) -> None:
        super().__init__(keys=keys)
        self.services = Services(services, http_port, _http)
        self.status = "running"
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.machine = SchedulerMachine(settings)
        self.driver = Driver(self.machine, {
            ToClient: self._to_client,
            ToWorker: self._to_worker,
            AcceptWorker: self._accept_worker,
            RefuseWorker: self._refuse_worker,
            DropWorker: self._drop_worker,
            ReplaceWorker: lambda effect: self._nannies.replace(effect),
            EndClient: lambda effect: self._clients.end(effect.client, effect.reason),
            OrderDone: lambda effect: self._orders.order_done(effect),
        }, tick=Tick, on_failure=self._fail)  # fmt: skip
        self._orders = OrderOps(self.driver)
        self._nannies = NannyCalls()
        self._dialler = Dialler(self._on_stream, keys)
        self._plugins = Plugins(self.machine.state, asyncio.get_running_loop().call_soon)
        self._proxy = DataProxy(self.machine.state)
        self._diagnosis = DiagnosisOps(self.machine.state, self._proxy.worker)
        self._started = time.time()
        self._clients = ClientSessions(self.id, self._handle_client)
        self._workers: dict[str, Stream] = {}  # of the accepted incarnation at each address
        self._joining: dict[str, tuple[Stream, asyncio.Future[None]]] = {}  # by incarnation, until answered
        self._worker_details: dict[str, dict[str, Any]] = {}  # what the machine has no use for, by address
        self._closing: asyncio.Task[None] | None = None  # kept until it is done
        self._closed: asyncio.Event | None = None  # once it is closing; set when it has closed
        self.add_handlers(self._ops(EquipmentOps(self.driver, self._orders, self.machine.state)))

    def _ops(self, equipment: EquipmentOps) -> dict[str, Any]:
        return {
            "register_client": self.register_client,
            "register_worker": self.register_worker,
            "worker_died": self.worker_died,
            "dial_worker": self._dialler.dial_worker,
            "scheduler_info": self.scheduler_info,
            "ncores": self.ncores,
            "nthreads": self.ncores,
            "who_has": self.who_has,
            "has_what": self.has_what,
            "processing": self.processing,
            "nbytes": self.nbytes,
            "gather": self._proxy.gather,
            "scatter": self._proxy.scatter,
            "run_on": self._proxy.run_on,
            "cancel": self.cancel,
            "replicate": self._orders.replicate,
            "rebalance": self._orders.rebalance,
            "retire_workers": self._orders.retire_workers,
            "worker_alive": self._orders.worker_alive,
            "worker_replacing": self._orders.worker_replacing,
            "versions": self.versions,
            "terminate": self.terminate,
            "desired_workers": self.desired_workers,
            "why": self._diagnosis.why,
            "story": self._diagnosis.story,
            "task_stream": self._diagnosis.task_stream,
            "overview": self._diagnosis.overview,
            "add_equipment": equipment.add_equipment,
            "remove_equipment": equipment.remove_equipment,
            "restart": equipment.restart,
        }  # fmt: skip

    # ------------------------------------------------------------ life

    def listen(self, port: Any = None, address: str = "127.0.0.1", insecure: bool = False, tls: bool = False) -> None:
        """As `Server.listen`; its services then listen on the same host."""
        super().listen(port, address, insecure, tls)
        self.services.start(self, port, address, insecure, tls)

    async def close(self, reason: str = "closed") -> None:
        """Tell everybody, and end. May be called again, and then waits for the end too."""
        if self._closed is not None:
            await self._closed.wait()
            return
        self._closed = asyncio.Event()
        try:
            await self._close(reason)
        finally:
            self._closed.set()

    async def _close(self, reason: str) -> None:
        self.status = "closed"
        self.driver.stop()
        logger.info("scheduler at %s ends: %s", self.address, reason)
        for client in list(self._clients):
            self._clients.send(client, ServerClosing(reason))
        for stream in self._workers.values():
            _send(stream, ServerClosing(reason))
        streams = [*self._clients.streams(), *self._workers.values()]
        await asyncio.wait([asyncio.ensure_future(flushed(stream)) for stream in streams] or [_nothing()])
        self._clients.close()
        self._nannies.close()
        self._dialler.close()
        await self.services.stop()
        await self._proxy.close()
        self.stop()
        if not self.finished.done():
            self.finished.set_result(reason)

    @property
    def dialled_address(self) -> str:
        """Where workers find this scheduler that cannot reach it, once it has dialled them."""
        return self._dialler.address

    def dial(self, address: str, keys: Keyring | None = None, roles: tuple[str, ...] = (CLIENT, WORKER)) -> None:
        """Let whoever listens at `address` use this scheduler by its `dialled_address`, see `Dialler.dial`.

        Enough is the process of a nanny: it says where its workers listen.
        """
        self._dialler.dial(address, keys, roles)

    def hang_up(self, address: str) -> None:
        """Dial `address` no more, see `Dialler.hang_up`."""
        self._dialler.hang_up(address)

    def close_soon(self, reason: str) -> None:
        """`close` for callers that cannot wait, such as signal handlers."""
        self._closing = asyncio.ensure_future(self.close(reason))

    def _fail(self, error: BaseException) -> None:
        """Our own fault: the state cannot be trusted, so everybody is told and the process ends."""
        logger.critical("the scheduler cannot go on", exc_info=error)
        if not self.finished.done():
            self.finished.set_exception(error)
        self.close_soon(f"{type(error).__name__}: {error}")

    def add_plugin(self, plugin: SchedulerPlugin, name: str | None = None) -> str:
        """Let `plugin` hear what happens; the name under which it is known. For code of the operator, see `plugins`."""
        return self._plugins.add(plugin, name)

    # ------------------------------------------------------------ clients

    async def register_client(
        self,
        stream: Stream,
        client: str,
        versions: dict[str, str] | None = None,
        session: list[Any] | None = None,
        process: str = "",
    ) -> None:
        """Turn this stream into a client's: messages of `distributed.messages` both ways until it closes.

        A client that was cut off names its session, see `ClientSessions.serve`. One that is in the `process` of a
        worker ends with it.
        """
        _needs_stream(stream)
        if not is_key(client):
            raise BadRequestError(f"client {client!r} is no name, or is connected already")
        await self._clients.serve(stream, client, session, {
            "id": self.id,
            "versions": versions_here(),
            "worker_versions": {address: details["versions"] for address, details in self._worker_details.items()},
        }, str(process))  # fmt: skip

    def _handle_client(self, event: Any) -> None:
        self.driver.handle(event)
        if isinstance(event, ClientJoined | ClientLeft):
            self._plugins.note("add_client" if isinstance(event, ClientJoined) else "remove_client", event.client)

    def _to_client(self, effect: ToClient) -> None:
        self._clients.send(effect.client, effect.message)

    # ------------------------------------------------------------ workers

    async def register_worker(
        self,
        stream: Stream,
        address: str,
        incarnation: str,
        name: str,
        nthreads: int,
        memory_limit_nbytes: int | None = None,
        nanny: str | None = None,
        resources: dict[str, float] | None = None,
        pid: int = 0,
        hostname: str = "",
        process: str = "",
        versions: dict[str, str] | None = None,
        tags: list[str] | None = None,
        services: dict[str, int] | None = None,
    ) -> None:
        """Turn this stream into a worker's, if it is accepted: messages both ways until it closes.

        Raises:
            NameTakenError: another worker has the name. BadRequestError: a field makes no sense.
        """
        _needs_stream(stream)
        if not isinstance(nthreads, int) or not 1 <= nthreads <= 100_000:
            raise BadRequestError(f"nthreads={nthreads!r}: a worker has 1 to 100,000 threads")
        if memory_limit_nbytes is not None and not (type(memory_limit_nbytes) is int and memory_limit_nbytes >= 0):
            raise BadRequestError(f"memory_limit_nbytes={memory_limit_nbytes!r}: bytes, >= 0")
        if not is_key(incarnation) or incarnation in self._joining:
            raise BadRequestError(f"incarnation {incarnation!r} is no new one")
        place = parse_address(address)
        address = str(place)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        amounts = {str(resource): float(amount) for resource, amount in (resources or {}).items()}
        if not all(0 <= amount < math.inf for amount in amounts.values()):
            raise BadRequestError(f"resources={resources!r}: amounts are >= 0")
        marks = tags_of(tags)
        details = {"pid": pid, "hostname": str(hostname), "versions": texts(versions), "joined": time.time()}
        details["tags"], details["services"] = list(marks), services_of(services)
        self._joining[incarnation] = (stream, answer)
        self.driver.handle(WorkerJoined(
            address, incarnation, str(name), nthreads, memory_limit_nbytes, nanny, amounts, place.host, str(process),
            tags=marks,
        ))  # fmt: skip
        await answer
        self._worker_details[address] = details
        goodbye: list[str] = []

        def on_message(message: Message) -> None:
            if isinstance(message, WorkerLeaving):
                goodbye.append(message.reason)
            else:
                self.driver.handle(FromWorker(address, incarnation, message))

        try:
            await _serve(stream, WORKER, on_message)
        finally:
            if self._workers.get(address) is stream:
                del self._workers[address]
                self._worker_details.pop(address, None)
            reason = goodbye[0] if goodbye else str(getattr(stream.error, "reason", stream.error))
            logger.log(logging.INFO if goodbye else logging.WARNING, "worker %s left: %s", address, reason)
            self.driver.handle(WorkerLeft(address, incarnation, reason, bool(goodbye)))
            self._plugins.note("remove_worker", address, reason)

    def worker_died(self, stream: Any, address: str, incarnation: str, certificate: dict[str, Any]) -> str:
        """A nanny's death certificate: ``cause``, ``running`` keys, ``exitcode``, ``signal``, peak memory, stderr."""
        running = certificate.get("running")
        if not is_key(address) or not is_key(incarnation):
            raise BadRequestError("address and incarnation are texts")
        if not isinstance(running, list) or not all(isinstance(key, str) for key in running):
            raise BadRequestError("a certificate lists the keys that were running")
        late = certificate.get("late", [])
        if not isinstance(late, list) or not all(isinstance(key, str) for key in late):
            raise BadRequestError("a certificate lists the keys that were late")
        self.driver.handle(WorkerDied(address, incarnation, bounded(certificate)))
        return "OK"

    def _accept_worker(self, effect: AcceptWorker) -> None:
        stream, answer = self._joining.pop(effect.incarnation)
        self._workers[effect.address] = stream
        logger.info("worker %s joined", effect.address)
        self._plugins.note_worker(effect.address)
        if not stream.closed():
            stream.write_plain_nowait({"scheduler": self.id})  # the answer, before any message of the machine
        if not answer.done():  # it may have left already
            answer.set_result(None)

    def _refuse_worker(self, effect: RefuseWorker) -> None:
        _, answer = self._joining.pop(effect.incarnation)
        if not answer.done():
            answer.set_exception(effect.error)

    def _drop_worker(self, effect: DropWorker) -> None:
        stream = self._workers.get(effect.address)
        if stream is not None:
            logger.warning("dropping worker %s: %s", effect.address, effect.reason)
            stream.close()

    def _to_worker(self, effect: ToWorker) -> None:
        stream = self._workers.get(effect.address)
        if stream is not None:
            _send(stream, effect.message)

    # ------------------------------------------------------------ asking

    def identity(self, stream: Any) -> dict[str, Any]:
        """Who this is: type, id, address, workers."""
        return {
            **super().identity(stream),
            "address": self.address,
            "workers": snapshot.ncores(self.machine.state, None),
            "services": self.services.ports(),
        }

    def worker_services(self) -> dict[str, dict[str, int]]:
        """Ports of the services of every worker, by address and name."""
        return {worker: dict(details["services"]) for worker, details in self._worker_details.items()}

    def scheduler_info(self, stream: Any) -> dict[str, Any]:
        """This scheduler, its workers, how many tasks are in which state, and how long events take."""
        workers = snapshot.workers_info(self.machine.state)
        for address, worker in workers.items():
            worker.update(self._worker_details.get(address, {}))
        return {
            **super().identity(stream),
            "address": self.address,
            "pid": os.getpid(),
            "started": self._started,
            "versions": versions_here(),
            "services": self.services.ports(),
            "workers": workers,
            "clients": snapshot.clients_info(self.machine.state),
            "tasks": snapshot.counts(self.machine.state),
            "steps": self.driver.steps.summary(),
        }

    def ncores(self, stream: Any, workers: list[str] | None = None) -> dict[str, int]:
        """Threads by worker, of all workers or of these."""
        return snapshot.ncores(self.machine.state, workers)

    def who_has(self, stream: Any, keys: list[str] | None = None) -> dict[str, list[str]]:
        """Workers by key, of all keys or of these."""
        return snapshot.who_has(self.machine.state, keys)

    def has_what(self, stream: Any, workers: list[str] | None = None) -> dict[str, list[str]]:
        """Keys by worker, of all workers or of these."""
        return snapshot.has_what(self.machine.state, workers)

    def processing(self, stream: Any, workers: list[str] | None = None) -> dict[str, list[str]]:
        """Keys by worker of what it was sent and has not answered, of all workers or of these."""
        return snapshot.processing(self.machine.state, workers)

    def nbytes(self, stream: Any, keys: list[str] | None = None) -> dict[str, int]:
        """Sizes of results by key, of all or of these as far as they exist."""
        return snapshot.nbytes_of(self.machine.state, keys)

    def cancel(self, stream: Any, keys: list[str], client: str, reason: str | None = None) -> str:
        """Cancel tasks for all clients in the name of `client`, see `CancelKeys`."""
        if not isinstance(client, str) or client not in self._clients:
            raise BadRequestError(f"client {client!r} is not connected")
        message = from_wire(CancelKeys(keys, False, reason).to_wire(), CLIENT)  # checks what came as it checks streams
        self.driver.handle(FromClient(client, message))
        return "OK"

    def desired_workers(self, stream: Any, target_s: float = DEMAND_S) -> int:
        """How many workers would do all queued work in `target_s` seconds, see `scheduler.demand`."""
        if isinstance(target_s, bool) or not isinstance(target_s, (int, float)) or not 0 < target_s < math.inf:
            raise BadRequestError(f"target_s={target_s!r}: seconds, > 0")
        return desired_workers(self.machine.state, target_s)

    def versions(self, stream: Any) -> dict[str, str]:
        """Versions of Python and packages in this process."""
        return all_versions()

    def terminate(self, stream: Any, reason: str = "asked to end") -> str:
        """End scheduler and workers; answers first."""
        asyncio.get_running_loop().call_soon(self.close_soon, reason)
        return "OK"


def _http(server: Scheduler) -> Any:
    from distributed.scheduler.http import HTTPScheduler  # lazy: tornado takes 50 ms, after which we listen already

    return HTTPScheduler(server)


async def _serve(stream: Stream, sender: str, on_message: Any) -> None:
    """Hand over every message of `sender` until the stream closes; one that breaks the contract closes it."""

    def on_wire(wire: Any) -> None:
        try:
            message = from_wire(wire, sender)
        except ProtocolError as error:
            reject(stream, error)
            return
        on_message(message)

    stream.set_message_handler(on_wire)
    await asyncio.get_running_loop().create_future()  # cancelled when the stream closes, as every handler is


def _needs_stream(stream: Any) -> None:
    """A registration keeps its stream; one that is shared by calls cannot be kept."""
    if not isinstance(stream, Stream):
        raise BadRequestError("registering needs a stream of its own: connect(), write() and read(), not rpc")


def _send(stream: Stream, message: Message) -> None:
    try:
        _send_wire(stream, message.to_wire())
    except MessageTooLargeError:
        parts = halves(message)
        if not parts:
            logger.exception("%s for %s cannot be sent; closing its connection", message.op, stream.peer.address)
            stream.close()
        for part in parts:
            _send(stream, part)


def _send_wire(stream: Stream, wire: Any) -> None:
    try:
        if not stream.closed():
            stream.write_plain_nowait(wire)
    except CommClosedError:
        return  # its close callback tells the machine
    except MessageTooLargeError:
        raise
    except DistributedError:
        logger.exception("a message for %s cannot be sent; closing its connection", stream.peer.address)
        stream.close()


def _nothing() -> asyncio.Task[None]:
    return asyncio.ensure_future(asyncio.sleep(0))
