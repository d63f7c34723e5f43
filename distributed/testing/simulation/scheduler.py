"""The simulated scheduler process: the real machine between simulated connections, as the server has it."""

from __future__ import annotations

from typing import Any

from distributed.messages import CLIENT, WORKER, Message, ServerClosing, WorkerLeaving
from distributed.scheduler import snapshot
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
from distributed.scheduler.events import (
    ClientJoined,
    ClientLeft,
    FromClient,
    FromWorker,
    Tick,
    WorkerAlive,
    WorkerDied,
    WorkerJoined,
    WorkerLeft,
    WorkerReplacing,
)
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.state import Settings
from distributed.testing.simulation.clock import SECOND
from distributed.testing.simulation.engine import Calls, Engine
from distributed.testing.simulation.network import End
from distributed.testing.simulation.sessions import Endpoint
from distributed.wire import from_wire

__all__ = ["SCHEDULER_ADDRESS", "SchedulerProcess"]

SCHEDULER_ADDRESS = "tcp://10.0.0.1:8786"
HUNG_PATIENCE_S = 0.5  # shorter than between heartbeats: those who merely have nothing to say count as hung at times
WORKER_TIMEOUT_S = 4.0  # shorter than some pauses, longer than others
FORCE_PATIENCE_S = 0.3  # longer than in earnest, so that a task may stop by itself first
LONG_WAIT_S = 1.0  # so that somebody waits so long
SAID_MAX = 200
NANNY_PATIENCE = 5 * SECOND
CLIENT_PATIENCE = 5 * SECOND  # likewise


class SchedulerProcess(Engine):
    """Takes connections of clients, workers and nannies.

    Attributes:
        sessions: of clients by id, also of those that are cut off for a while.
        workers: the connection of each by address, as the server keeps them.
        orders: those that have not ended.
        said: what workers said at first, for ghosts.
    """

    machine: SchedulerMachine

    def begin(self) -> None:
        """A new life knows nothing of the one before."""
        settings = Settings(
            worker_timeout_s=WORKER_TIMEOUT_S,
            hung_patience_s=HUNG_PATIENCE_S,
            long_wait_s=LONG_WAIT_S,
            force_patience_s=FORCE_PATIENCE_S,
        )
        self.install(SchedulerMachine(settings))
        self.make_tick = Tick
        self.sessions: dict[str, Endpoint] = {}
        self.orders: dict[str, None] = {}
        self.said: list[tuple[str, str, Message]] = []
        self.workers: dict[str, End] = {}
        self._joining: dict[str, End] = {}
        self.perform = {
            ToClient: self._to_client,
            ToWorker: self._to_worker,
            AcceptWorker: self._accept_worker,
            RefuseWorker: self._refuse_worker,
            DropWorker: self._drop_worker,
            EndClient: self._end_client,
            OrderDone: self._order_done,
            ReplaceWorker: self._replace_worker,
        }
        self.calls = Calls(self)
        self.world.network.listen(SCHEDULER_ADDRESS, self)

    def close(self, reason: str) -> None:
        """End on purpose: everybody is told."""
        wire = ServerClosing(reason).to_wire()
        for session in self.sessions.values():
            session.send(wire)
        for end in self.workers.values():
            end.send(wire)
        self.crash()

    def died(self) -> None:
        """An operator starts it again, empty."""
        self.world.restart_later(self)

    def accept(self, end: End) -> None:
        """Who it is says the first message."""
        end.on_message = lambda wire: self._introduced(end, wire)
        end.on_closed = lambda reason: None

    def _introduced(self, end: End, wire: list[Any]) -> None:
        if wire[0] == "register-client":
            self._register_client(end, *wire[1:])
        elif wire[0] == "register-worker":
            self._register_worker(end, wire[1])
        else:
            self._answer(end, wire)

    # ------------------------------------------------------------ clients

    def _register_client(self, end: End, client: str, told: list[Any] | None, process: str) -> None:
        session = self.sessions.get(client)
        count = told[1] if told is not None and told[0] == self.life else None
        if session is not None and told is None and session.end is not None:
            end.send(["error", f"client {client!r} is connected already"])
            return
        if session is not None and (count is None or not session.ledger.can_resume(count)):
            self._forget_client(client, session)
            session = None
        if session is None:
            self.sessions[client] = session = self._new_session(client)
            end.send(["registered", self.life, None])
            self.handle(ClientJoined(client, process))
            session.attach(end)
        else:
            end.send(["registered", self.life, session.ledger.received])
            session.attach(end, count or 0)

    def _new_session(self, client: str) -> Endpoint:
        session = Endpoint(
            self,
            on_message=lambda wire: self.handle(FromClient(client, from_wire(wire, CLIENT))),
            on_cut=lambda reason: self.later(CLIENT_PATIENCE, self._lose_client, client, session, session.cuts),
            on_bye=lambda: self._forget_client(client, session),
        )
        return session

    def _lose_client(self, client: str, session: Endpoint, cuts: int) -> None:
        if session.end is None and session.cuts == cuts:
            self._forget_client(client, session)

    def _forget_client(self, client: str, session: Endpoint) -> None:
        if self.sessions.get(client) is session:
            del self.sessions[client]
            session.detach()
            self.handle(ClientLeft(client))

    def _end_client(self, effect: EndClient) -> None:
        session = self.sessions.get(effect.client)
        if session is not None:
            self._forget_client(effect.client, session)

    def _to_client(self, effect: ToClient) -> None:
        session = self.sessions.get(effect.client)
        if session is not None:
            session.send(effect.message.to_wire())

    # ------------------------------------------------------------ workers

    def _register_worker(self, end: End, about: dict[str, Any]) -> None:
        address, incarnation = about["address"], about["incarnation"]
        goodbye: list[str] = []

        def on_message(wire: list[Any]) -> None:
            message = from_wire(wire, WORKER)
            if isinstance(message, WorkerLeaving):
                goodbye.append(message.reason)
            else:
                if len(self.said) < SAID_MAX and message.op != "heartbeat":
                    self.said.append((address, incarnation, message))
                self.handle(FromWorker(address, incarnation, message))

        def on_closed(reason: str) -> None:
            if self.workers.get(address) is end:
                del self.workers[address]
            text = goodbye[0] if goodbye else reason
            self.handle(WorkerLeft(address, incarnation, text, bool(goodbye)))

        end.on_message, end.on_closed = on_message, on_closed
        self._joining[incarnation] = end
        self.handle(WorkerJoined(**about))

    def _accept_worker(self, effect: AcceptWorker) -> None:
        end = self._joining.pop(effect.incarnation)
        self.workers[effect.address] = end
        end.send(["accepted", self.life])

    def _refuse_worker(self, effect: RefuseWorker) -> None:
        end = self._joining.pop(effect.incarnation)
        end.on_closed = lambda reason: None
        end.send(["refused", type(effect.error).__name__, str(effect.error)])

    def _drop_worker(self, effect: DropWorker) -> None:
        end = self.workers.get(effect.address)
        if end is not None:
            end.close()
            end.on_closed(effect.reason)

    def _to_worker(self, effect: ToWorker) -> None:
        end = self.workers.get(effect.address)
        if end is not None:
            end.send(effect.message.to_wire())

    def _replace_worker(self, effect: ReplaceWorker) -> None:
        about = {"incarnation": effect.incarnation, "keys": effect.keys}
        self.calls.call(effect.nanny, "replace", about, _ignore, _ignore, NANNY_PATIENCE)

    # ------------------------------------------------------------ ops

    def order(self, event: Any) -> None:
        """An operator orders data or workers to be moved."""
        self.orders[event.order] = None
        self.handle(event)

    def _order_done(self, effect: OrderDone) -> None:
        if effect.order not in self.orders:
            self.world.fail("an order ends once", effect.order)
        del self.orders[effect.order]

    def _answer(self, end: End, wire: list[Any]) -> None:
        _, serial, op, content = wire
        if op == "worker_died":
            self.handle(WorkerDied(content["address"], content["incarnation"], content["certificate"]))
            end.send(["answer", serial, "OK"])
        elif op == "worker_alive":
            self.handle(WorkerAlive(content["address"], content["incarnation"], content["running"]))
            end.send(["answer", serial, "OK"])
        elif op == "worker_replacing":
            self.handle(WorkerReplacing(content["address"], content["incarnation"], content["rescued"]))
            end.send(["answer", serial, "OK"])
        elif op == "who_has":
            end.send(["answer", serial, snapshot.who_has(self.machine.state, content)])
        elif op == "ncores":
            end.send(["answer", serial, snapshot.ncores(self.machine.state, None)])
        else:
            self.world.fail("every call has an op that is known", op)


def _ignore(_: Any) -> None:
    """What came of it is told by a certificate."""
