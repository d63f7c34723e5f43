"""The simulated worker process: the real machine, a simulated executor, store and connections."""

from __future__ import annotations

from typing import Any

from distributed.errors import InvariantError
from distributed.messages import (
    SCHEDULER,
    DismissWorker,
    Heartbeat,
    Message,
    RunTasks,
    ServerClosing,
    WorkerLeaving,
    WorkerPaused,
    WorkerRetiring,
)
from distributed.testing.simulation.clock import MS, SECOND
from distributed.testing.simulation.engine import Calls, Engine
from distributed.testing.simulation.equipping import Toolbox
from distributed.testing.simulation.executor import Executor
from distributed.testing.simulation.memory import Disk, Memory
from distributed.testing.simulation.nested import WorkerClient
from distributed.testing.simulation.network import End
from distributed.testing.simulation.plan import WorkerPlan
from distributed.testing.simulation.scheduler import SCHEDULER_ADDRESS
from distributed.wire import from_wire
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
from distributed.worker.events import (
    DataFetched,
    DataPut,
    DataRescued,
    FetchBusy,
    FetchFailed,
    FromScheduler,
    SchedulerLost,
    StopBegun,
    TasksExecuted,
    TasksLending,
    TasksWithdrawn,
    Tick,
)
from distributed.worker.machine import WorkerMachine

__all__ = ["WorkerProcess"]

HEARTBEAT = SECOND
RETRY = 100 * MS  # between attempts to reach the scheduler
PICKLING = MS // 4
GRACE = 6 * SECOND  # for others to take over what a retiring worker has
FETCH_SILENCE = 15 * SECOND  # longer than the keep-alive, as with real workers it is shorter than for ever
GIVEN_MAX = 2  # big answers given at once
BIG_NBYTES = 1_000_000


class WorkerProcess(Engine):
    """One worker over all its lives.

    Attributes:
        address: of this life.
        incarnation: of this registration.
        scheduler: the connection with the scheduler, once it has accepted us; None: we have none.
        scheduler_life: which life of the scheduler accepted us.
        actors: the objects that live here.
        memory: its store, with what does not fit in it on its disk.
        is_wanted: whether somebody would start it again.
    """

    machine: WorkerMachine

    def __init__(self, world: Any, plan: WorkerPlan, number: int) -> None:
        super().__init__(world, plan.name, plan.host)
        self.plan = plan
        self.number = number
        self.nanny: Any = None
        self.client = WorkerClient(world, self)
        self.disk = Disk()
        self.address = ""
        self.incarnation = ""
        self.registrations = 0
        self.refusal = ""
        self.scheduler: End | None = None
        self.scheduler_life = 0
        self.slowness = 1
        self.is_leaving = False
        self.retiring = ""
        self.rescued: dict[str, tuple[bytes, int]] = {}
        self._originals: dict[str, bytes] = {}

    @property
    def process(self) -> str:
        """This life of the process, over all its registrations."""
        return f"{self.name}-life-{self.life}"

    def begin(self) -> None:
        """Listen and register."""
        port = 9000 if self.plan.keeps_port else 9000 + self.life
        self.address = f"tcp://10.0.1.{self.number}:{port}"
        self.refusal = ""
        self.is_leaving = False
        self.scheduler = None
        self.retiring = ""
        self.given = 0
        self.calls = Calls(self)
        self.install(WorkerMachine(self.address, self.plan.nthreads))
        self.make_tick = Tick
        self.executor = Executor(self)
        self.actors: dict[str, str] = {}
        self.memory = Memory(self, self.plan.memory_limit_nbytes)
        self._originals = {}
        self.is_replaced = False
        self.toolbox = Toolbox(self)
        self.world.addresses_seen[self.address] = None
        self.perform = {
            Execute: lambda effect: self.executor.submit(effect.tasks),
            Withdraw: self._withdraw,
            Stop: lambda effect: self.handle(StopBegun(self.executor.stop(effect.tickets))),
            GiveBack: self._give_back,
            Keep: self._keep,
            KeepActors: lambda effect: self.actors.update(effect.actors),
            EndActors: self._end_actors,
            DropData: self._drop,
            DropFunctions: lambda effect: None,
            Fetch: self._fetch,
            ToScheduler: self._send,
            Equip: lambda effect: self.toolbox.equip(effect),
            DropEquipment: lambda effect: None,
        }
        self.world.network.listen(self.address, self)
        self._register()
        self.later(HEARTBEAT, self._beat)

    # ------------------------------------------------------------ the scheduler

    def _register(self) -> None:
        self.world.network.connect(
            self, SCHEDULER_ADDRESS, self._introduce, lambda reason: self.later(RETRY, self._register)
        )

    def _introduce(self, end: End) -> None:
        self.registrations += 1
        self.incarnation = f"{self.name}.{self.registrations}"
        end.on_message = lambda wire: self._registered(end, wire)
        end.on_closed = lambda reason: self.later(RETRY, self._register)
        end.send([
            "register-worker",
            {
                "address": self.address,
                "incarnation": self.incarnation,
                "name": self.name if self.plan.is_named else self.address,
                "nthreads": self.plan.nthreads,
                "memory_limit_nbytes": self.plan.memory_limit_nbytes,
                "nanny": self.nanny.name if self.nanny is not None else None,
                "resources": self.plan.resources,
                "host": self.host,
                "tags": self.plan.tags,
                "process": self.process,
            },
        ])  # fmt: skip

    def _registered(self, end: End, wire: list[Any]) -> None:
        if wire[0] == "refused":
            self.world.trace.note(self.name, f"is refused: {wire[2]}")
            self.refusal = wire[2]
            end.close()
            self.end(exitcode=1)
            return
        self.scheduler = end
        self.scheduler_life = wire[1]
        end.on_message = self._on_message
        end.on_closed = self._on_scheduler_gone
        if self.nanny is not None:
            self.nanny.registered(self.address, self.incarnation)
        if self.memory.is_paused:  # a new scheduler does not know
            self.tell(WorkerPaused(True))
        if self.rescued:
            values = {key: value for key, (value, _) in self.rescued.items()}
            self.handle(DataRescued(values, {key: size for key, (_, size) in self.rescued.items()}))
            self._originals.update(values)
            self.rescued = {}

    def _on_message(self, wire: list[Any]) -> None:
        message = from_wire(wire, SCHEDULER)
        if isinstance(message, ServerClosing):
            self.leave(message.reason)
        elif isinstance(message, DismissWorker):
            self.leave(self.retiring or message.reason)
        else:
            if isinstance(message, RunTasks):
                self.toolbox.note_runs()
            self.handle(FromScheduler(message))

    def _on_scheduler_gone(self, reason: str) -> None:
        self.scheduler = None
        if self.retiring:  # nobody is left who could let others take over
            self.leave(self.retiring)
            return
        self.toolbox.clear()
        self.handle(SchedulerLost())
        self._register()

    def _send(self, effect: ToScheduler) -> None:
        self.tell(effect.message)

    def tell(self, message: Message) -> None:
        """Tell the scheduler, if there is one."""
        if self.scheduler is not None:
            self.scheduler.send(message.to_wire())

    def _beat(self) -> None:
        if self.scheduler is not None:
            metrics = {"memory_nbytes": float(self.memory.store.managed_nbytes)}
            self.scheduler.send(Heartbeat(self.executor.running_keys(), metrics).to_wire())
        self.later(HEARTBEAT, self._beat)

    def scheduler_is_cut(self) -> bool:
        """Whether the connection with the scheduler is gone, known or not."""
        return self.scheduler is None or self.scheduler.connection.is_cut

    # ------------------------------------------------------------ the end

    def retire(self, reason: str) -> None:
        """SIGTERM: let others take over tasks and data, then leave; at once if there is no scheduler."""
        if self.retiring:
            return
        if self.scheduler is None:
            self.leave(reason)
            return
        self.retiring = reason
        self.tell(WorkerRetiring(reason))
        self.later(GRACE, self.leave, reason)

    def crash(self, is_silent: bool = False) -> None:
        """Its tasks' client is in the same process."""
        self.client.crash(is_silent)
        super().crash(is_silent)

    def pause(self) -> None:
        """Likewise."""
        self.client.pause()
        super().pause()

    def resume(self) -> None:
        """Likewise."""
        self.client.resume()
        super().resume()

    def leave(self, reason: str) -> None:
        """End on purpose: say goodbye, then end."""
        if self.client.is_alive and not self.client.is_paused:
            self.client.leave()
        if self.scheduler is not None:
            self.scheduler.send(WorkerLeaving(reason).to_wire())
            self.scheduler.close()
            self.scheduler = None
        self.end(exitcode=0)

    def originals(self) -> dict[str, tuple[bytes, int]]:
        """Value and size of the data here that nobody can compute again, as its log tells a nanny."""
        sizes = self.machine.state.memory
        return {key: (value, sizes[key]) for key, value in self._originals.items() if key in sizes}

    def end_replaced(self, rescued: dict[str, tuple[bytes, int]]) -> None:
        """Its nanny ends the process; the next one gets what was rescued."""
        self.is_replaced = True
        self.rescued = rescued
        self.crash()

    def end(self, exitcode: int) -> None:
        """The process ends in good order; its sockets close after what was sent."""
        self.is_leaving = True
        self.exitcode = exitcode
        self.crash()

    def died(self) -> None:
        """What ran is known to whoever guards it."""
        running = [] if self.is_leaving or self.is_replaced else self.executor.running_keys()
        for key in running:
            self.world.work.deaths[key] = self.world.work.deaths.get(key, 0) + 1
        if self.nanny is not None and self.nanny.is_alive:
            self.nanny.later(5 * MS, self.nanny.worker_died, self.life, running, self.is_leaving and self.exitcode == 0)
        else:
            self.world.restart_later(self)

    # ------------------------------------------------------------ effects

    def executed(self, outcomes: list[Any]) -> None:
        """The executor's threads have finished these."""
        self.handle(TasksExecuted(outcomes))

    def lending(self, ticket: int, key: str, is_lent: bool) -> None:
        """A task of the executor has lent its slot, or has one again."""
        self.handle(TasksLending({key: (ticket, is_lent)}))

    def _withdraw(self, effect: Withdraw) -> None:
        self.executor.withdraw(effect.keys)

    def _give_back(self, effect: GiveBack) -> None:
        self.handle(TasksWithdrawn(effect.tickets, self.executor.withdraw(list(effect.tickets))))

    def _keep(self, effect: Keep) -> None:
        for key, value, nbytes in zip(effect.keys, effect.values, effect.nbytes, strict=True):
            self.world.check_value(self, key, value, nbytes)
        self.memory.keep(effect.keys, effect.values, effect.nbytes)

    def _end_actors(self, effect: EndActors) -> None:
        for key in effect.keys:
            del self.actors[key]

    def _drop(self, effect: DropData) -> None:
        for key in effect.keys:
            self._originals.pop(key, None)
        self.memory.store.drop(effect.keys)

    def _fetch(self, effect: Fetch) -> None:
        address, keys = effect.address, effect.keys
        self.calls.call(
            address,
            "get_data",
            [keys, True],
            lambda answer: self._fetched(address, keys, answer),
            lambda reason: self.handle(FetchFailed(address, keys, reason)),
            FETCH_SILENCE,
        )

    def _fetched(self, address: str, keys: list[str], answer: dict[str, Any] | None) -> None:
        if answer is None:
            self.handle(FetchBusy(address))
            return
        copies = self.machine.state.copies
        ordered = [key for key in keys if key in copies and copies[key].ordered]
        values = {key: answer[key][0] for key in keys if key in answer}
        nbytes = {key: answer[key][1] for key in values}
        self.handle(DataFetched(address, values, nbytes, [key for key in keys if key not in values]))
        self._originals.update((key, values[key]) for key in ordered if key in values)

    # ------------------------------------------------------------ ops

    def accept(self, end: End) -> None:
        """A peer or a client wants or brings data."""
        end.on_message = lambda wire: self._asked(end, wire)
        end.on_closed = lambda reason: None

    def _asked(self, end: End, wire: list[Any]) -> None:
        _, serial, op, content = wire
        if op == "get_data":
            self._asked_for(end, serial, *content)
        elif op == "put_data":
            if self.scheduler is None:
                end.send(["answer", serial, {}])  # refused: nobody would hear of it
                return
            values = {key: value for key, (value, _) in content["data"].items()}
            nbytes = {key: size for key, (_, size) in content["data"].items()}
            known = set(self.machine.state.memory)
            self.handle(DataPut(content["client"], values, nbytes))
            self._originals.update((key, value) for key, value in values.items() if key not in known)
            end.send(["answer", serial, nbytes])
        else:
            raise InvariantError(f"{self.name} was asked for {op!r}")

    def _asked_for(self, end: End, serial: int, keys: list[str], or_busy: bool) -> None:
        """A few are given big data at once; others may come again, or ask somebody else."""
        sizes = self.machine.state.memory
        is_big = sum(sizes.get(key, 0) for key in keys) >= BIG_NBYTES
        if is_big and or_busy and self.given >= GIVEN_MAX:
            end.send(["answer", serial, None])
            return
        self.given += is_big
        self.later(PICKLING, self._give, end, serial, keys, is_big)

    def _give(self, end: End, serial: int, keys: list[str], is_big: bool) -> None:
        sizes = self.machine.state.memory
        found = {key: [value, sizes[key]] for key in keys if (value := self.memory.payload(key)) is not None}
        nbytes = sum(sizes[key] for key in found)
        end.send(["answer", serial, found], nbytes)
        if is_big:
            self.later(nbytes // end.connection.bandwidth, self._given)

    def _given(self) -> None:
        self.given -= 1
