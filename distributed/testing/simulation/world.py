"""One simulation: builds the cluster of a plan, lets it run, heals it, and looks whether all came to a good end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any, NoReturn

from distributed.errors import DistributedError
from distributed.testing.simulation.chance import Chance
from distributed.testing.simulation.checker import Checker
from distributed.testing.simulation.client import ClientProcess
from distributed.testing.simulation.clock import MS, SECOND, Clock
from distributed.testing.simulation.coordinating import empty_places
from distributed.testing.simulation.faults import plan_faults
from distributed.testing.simulation.nanny import NannyProcess
from distributed.testing.simulation.network import Network
from distributed.testing.simulation.plan import SCRIPT, Plan
from distributed.testing.simulation.processes import Process
from distributed.testing.simulation.scheduler import SchedulerProcess
from distributed.testing.simulation.trace import Trace
from distributed.testing.simulation.user import User
from distributed.testing.simulation.work import Recipe, Work
from distributed.testing.simulation.worker import WorkerProcess

__all__ = ["SimulationFailure", "World"]

STUBBORN_PERCENT = 50  # of tasks do not stop when they are interrupted
PATIENCE = 120 * SECOND  # after all is healed, for everything to end
REST = 3 * SECOND  # after the last client has left, for the rest to go
EVENTS_MAX = 60_000


class SimulationFailure(AssertionError):
    """A rule did not hold.

    Attributes:
        rule: its sentence; where: what broke it; at: virtual seconds.
    """

    def __init__(self, rule: str, where: str, at: float) -> None:
        super().__init__(f"{rule}: {where} (at {at:.4f} s)")
        self.rule, self.where, self.at = rule, where, at


class World(Checker):
    """Everything of one run.

    Attributes:
        scheduler, workers, nannies, clients, users: of all lives.
        work: what tasks do; order: when each key was first submitted.
        cancelled: keys that somebody cancelled; wanted: those that somebody wanted who had not submitted them.
        put_items: in queues, for sure, and the life of the scheduler then.
        is_healed: no fault happens any more.
    """

    def __init__(self, chance: Chance, plan: Plan, is_told: bool = False) -> None:
        super().__init__()
        self.chance = chance
        self.plan = plan
        self.clock = Clock()
        self.trace = Trace(self.clock, is_told)
        self.network = Network(self, chance.stream("network"))
        self.work = Work()
        self.order: dict[str, int] = {}
        self.cancelled: dict[str, None] = {}
        self.wanted: dict[str, None] = {}
        self.put_items: dict[bytes, int] = {}
        self.addresses_seen: dict[str, None] = {}  # of workers
        self.is_healed = False
        self.is_over = False
        self.faults: Counter[str] = Counter()
        self._restarting: dict[Process, None] = {}
        self._delays = chance.stream("restarts")
        self.scheduler = SchedulerProcess(self, "scheduler", "host-0")
        self.workers = [WorkerProcess(self, worker, number) for number, worker in enumerate(plan.workers)]
        self.nannies = [NannyProcess(self, worker) for worker in self.workers if worker.plan.has_nanny]
        self.clients = [ClientProcess(self, client.name, client.host) for client in plan.clients]
        for client_process, client_plan in zip(self.clients, plan.clients, strict=True):
            client_process.coordinator.errands = client_plan.errands
        self.users = [User(self, client, plan) for client, plan in zip(self.clients, plan.clients, strict=True)]

    # ------------------------------------------------------------ the run

    def run(self) -> None:
        """From the start of every process to the last check.

        Raises:
            SimulationFailure: a rule did not hold.
        """
        try:
            self._run()
        except SimulationFailure:
            raise
        except (AssertionError, DistributedError, LookupError, TypeError, AttributeError, ValueError) as error:
            # A machine that raises is as broken as a rule.
            text = f"{type(error).__name__}: {error}"
            raise SimulationFailure("a machine never raises", text, self.seconds()) from error

    def _run(self) -> None:
        clock = self.clock
        self.scheduler.start()
        for process in (*self.nannies, *(worker for worker in self.workers if worker.nanny is None), *self.clients):
            clock.after(self._delays.between(1, 50) * MS, process.start)
        ends = plan_faults(self)
        clock.at(max(SCRIPT, ends) + SECOND, self._heal)
        while not (self.is_healed and all(user.is_satisfied for user in self.users)):
            self._step()
        self.check_all()
        for client in self.clients:
            client.coordinator.stop()
            client.release(list(client.held))
        self._run_for(SECOND)
        self.is_over = True
        for client in self.all_clients():
            if client.is_alive:
                client.leave()
        self._run_for(REST)
        while any(worker.scheduler is None for worker in self.workers) and self.clock.now < self._deadline:
            self._step()
        self.check_all()
        self.memory["queues were emptied"] = True
        empty_places(self.scheduler)
        self._run_for(REST)
        self.check_all()
        self.check_rest()

    def _run_for(self, ticks: int) -> None:
        end = self.clock.now + ticks
        while (when := self.clock.next_time()) is not None and when <= end:
            self._step()

    def _step(self) -> None:
        self.clock.step()
        if self.events > EVENTS_MAX:
            self.fail("a cluster comes to rest", f"{self.events} events")
        if self.is_healed and self.clock.now > self._deadline and not self.is_over:
            self._explain_stuck()

    def _heal(self) -> None:
        self.is_healed = True
        self._deadline = self.clock.now + PATIENCE
        self.trace.note("world", "everything is healed")
        self.network.heal()
        self.network.tampers = [tamper for tamper in self.network.tampers if tamper.op is not None]
        self.network.slow_hosts.clear()
        for process in self.processes():
            if process.is_paused:
                process.resume()
        for worker in self.workers:
            worker.slowness = 1
            worker.disk.is_full = worker.disk.is_broken = False

    def _explain_stuck(self) -> NoReturn:
        waiting = []
        for client, user in zip(self.clients, self.users, strict=True):
            if not user.is_satisfied:
                keys = [record.key for record in client.undecided()]
                waiting.append(f"{client.name} waits for {keys[:5]}")
        self.fail("every task ends within a bounded time once all is healed", "; ".join(waiting))

    # ------------------------------------------------------------ for the processes

    def seconds(self) -> float:
        """Virtual seconds since the beginning."""
        return self.clock.now / SECOND

    def all_clients(self) -> list[ClientProcess]:
        """Those of users and those of tasks."""
        return [*self.clients, *(worker.client for worker in self.workers)]

    def processes(self) -> list[Process]:
        """All of them, dead or alive."""
        return [self.scheduler, *self.nannies, *self.workers, *self.clients]

    def learn(self, recipe: Recipe) -> None:
        """`recipe` is submitted for the first time."""
        self.work.recipes[recipe.key] = recipe
        self.order[recipe.key] = len(self.order)

    def forgotten(self) -> Container[str]:
        """Keys that the scheduler may not know though somebody held them.

        They were cancelled, or wanted when their last holder had just let go; or the scheduler had an earlier life.
        """
        return self.work.recipes if self.scheduler.life > 1 else {**self.cancelled, **self.wanted}

    def is_stubborn(self, key: str) -> bool:
        """Whether this task does not stop when it is interrupted: it waits in C."""
        return self.chance.stream(f"{key} is stubborn").percent(STUBBORN_PERCENT)

    def worker_at(self, address: str) -> WorkerProcess | None:
        """The living worker that listens there."""
        for worker in self.workers:
            if worker.is_alive and worker.address == address:
                return worker
        return None

    def restart_later(self, process: Any) -> None:
        """Somebody starts a dead process again: of a guarded worker its nanny, unless that does it."""
        guard = getattr(process, "nanny", None)
        target = process if guard is None else guard
        if (self.is_over and process in self.clients) or target in self._restarting or target.is_alive:
            return
        self._restarting[target] = None
        self.clock.after(self._delays.pick((100, 300, 1_000, 3_000)) * MS, self._restart, target)

    def _restart(self, process: Process) -> None:
        del self._restarting[process]
        if not process.is_alive and not (self.is_over and process in self.clients):
            process.start()

    def note_fault(self, kind: str, where: str) -> None:
        """A fault was injected."""
        self.faults[kind] += 1
        self.trace.note("fault", f"{kind}: {where}")

    def fail(self, rule: str, where: str) -> NoReturn:
        """A rule does not hold."""
        raise SimulationFailure(rule, where, self.seconds())
