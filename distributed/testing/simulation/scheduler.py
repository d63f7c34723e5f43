"""The simulated scheduler process: the real machine between simulated connections, as the server has it."""

from __future__ import annotations

from typing import Any

from distributed.messages import CLIENT, WORKER, Message, ServerClosing, WorkerLeaving
from distributed.scheduler import snapshot
from distributed.scheduler.effects import AcceptWorker, DropWorker, RefuseWorker, ToClient, ToWorker
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
from distributed.testing.simulation.engine import Engine
from distributed.testing.simulation.network import End
from distributed.wire import from_wire

__all__ = ["SCHEDULER_ADDRESS", "SchedulerProcess"]

SCHEDULER_ADDRESS = "tcp://10.0.0.1:8786"


class SchedulerProcess(Engine):
    """Takes connections of clients, workers and nannies.

    Attributes:
        clients, workers: the connection of each, by id and address, as the server keeps them.
    """

    machine: SchedulerMachine

    def begin(self) -> None:
        """A new life knows nothing of the one before."""
        self.install(SchedulerMachine())
        self.make_tick = Tick
        self.clients: dict[str, End] = {}
        self.workers: dict[str, End] = {}
        self._joining: dict[str, End] = {}
        self.perform = {
            ToClient: self._to_client,
            ToWorker: self._to_worker,
            AcceptWorker: self._accept_worker,
            RefuseWorker: self._refuse_worker,
            DropWorker: self._drop_worker,
        }
        self.world.network.listen(SCHEDULER_ADDRESS, self)

    def close(self, reason: str) -> None:
        """End on purpose: everybody is told."""
        for end in (*self.clients.values(), *self.workers.values()):
            end.send(ServerClosing(reason).to_wire())
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
            self._register_client(end, wire[1])
        elif wire[0] == "register-worker":
            self._register_worker(end, wire[1])
        else:
            self._answer(end, wire)

    # ------------------------------------------------------------ clients

    def _register_client(self, end: End, client: str) -> None:
        if client in self.clients:
            end.send(["error", f"client {client!r} is connected already"])
            return
        self.clients[client] = end
        end.send(["registered", self.life])
        end.on_message = lambda wire: self.handle(FromClient(client, self._checked(wire, CLIENT, end)))
        end.on_closed = lambda reason: self._client_gone(client)
        self.handle(ClientJoined(client))

    def _client_gone(self, client: str) -> None:
        del self.clients[client]
        self.handle(ClientLeft(client))

    def _to_client(self, effect: ToClient) -> None:
        end = self.clients.get(effect.client)
        if end is not None:
            end.send(effect.message.to_wire())

    # ------------------------------------------------------------ workers

    def _register_worker(self, end: End, about: dict[str, Any]) -> None:
        address, incarnation = about["address"], about["incarnation"]
        goodbye: list[str] = []

        def on_message(wire: list[Any]) -> None:
            message = self._checked(wire, WORKER, end)
            if isinstance(message, WorkerLeaving):
                goodbye.append(message.reason)
            else:
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

    # ------------------------------------------------------------ ops

    def _answer(self, end: End, wire: list[Any]) -> None:
        _, serial, op, content = wire
        if op == "worker_died":
            self.handle(WorkerDied(content["address"], content["incarnation"], content["certificate"]))
            end.send(["answer", serial, "OK"])
        elif op == "who_has":
            end.send(["answer", serial, snapshot.who_has(self.machine.state, content)])
        elif op == "ncores":
            end.send(["answer", serial, snapshot.ncores(self.machine.state, None)])
        else:
            self.world.fail("every call has an op that is known", op)

    def _checked(self, wire: list[Any], sender: str, end: End) -> Message:
        return from_wire(wire, sender)
