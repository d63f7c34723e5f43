"""Any order of events: the invariants hold after each, and with well-behaved workers every wanted task ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from distributed.messages import (
    AskHolders,
    CancelKeys,
    CopiesFailed,
    DataAdded,
    DataRemoved,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    KeysStuck,
    ReleaseKeys,
    SubmitTasks,
    TasksDone,
    TasksFailed,
    TasksMissingData,
    TaskSpec,
    TasksReturned,
    WantKeys,
    WorkerPaused,
    WorkerRetiring,
)
from distributed.scheduler.effects import AcceptWorker, DropWorker, OrderDone, ToClient, ToWorker
from distributed.scheduler.events import (
    ClientJoined,
    ClientLeft,
    Event,
    FromClient,
    FromWorker,
    Rebalance,
    Replicate,
    Retire,
    Tick,
    WorkerAlive,
    WorkerDied,
    WorkerJoined,
    WorkerLeft,
)
from distributed.scheduler.invariants import check
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.records import TaskState
from distributed.scheduler.silence import UNREAD_S
from distributed.scheduler.state import Settings
from distributed.testing.obedient import ObedientWorker as Worker

KEYS = [f"k{number}" for number in range(12)]
NAMES = ["w0", "w1", "w2", "w3"]
CLIENTS = ["c0", "c1"]
SPECS = [
    TaskSpec(
        function,
        priority,
        retries,
        wanted,
        workers,
        resources,
        bool(workers) and retries > 0,
        platform,
        limit,
        redundant=not priority,
    )
    for function in (b"f", b"g")
    for priority in (0, 1)
    for retries in (0, 1)
    for wanted in (True, False)
    for workers, resources, platform, limit in (
        (None, None, None, None),
        (("w0", "h1"), None, None, None),
        (None, (("gpu", 1.0),), None, None),
        (("h0",), (("gpu", 0.5),), None, 600),
        (None, None, "*even", None),
        (("w3",), None, None, 600),
    )
]


class Cluster(RuleBasedStateMachine):
    """A scheduler machine with model workers and clients; messages wait in between, in order per connection."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = SchedulerMachine(Settings(redundant_factor=0.01, redundant_least_s=0.02))
        self.now = 0.0
        self.workers: dict[str, Worker] = {}  # by address
        self.lives = 0
        self.dead: list[Worker] = []
        self.orders: list[str] = []  # under way
        self.orders_given = 0
        self.told: dict[str, dict[str, str]] = {}  # what each client last heard about a key that it holds

    # ------------------------------------------------------------ joining the machine to the models

    def handle(self, event: Event) -> None:
        self.now += 0.01
        self.machine.handle(event, self.now)
        for effect in self.machine.take_effects():
            if isinstance(effect, ToWorker):
                self.workers[effect.address].inbox.append(effect.message)
            elif isinstance(effect, ToClient):
                self.tell(self.told[effect.client], effect.message)
            elif isinstance(effect, OrderDone):
                self.orders.remove(effect.order)  # each ends once
            elif isinstance(effect, DropWorker):
                worker = self.workers.get(effect.address)
                if worker is not None and worker.incarnation == effect.incarnation:
                    self.dead.append(self.workers.pop(effect.address))
            else:
                assert isinstance(effect, AcceptWorker)

    def tell(self, told: dict[str, str], message: Any) -> None:
        if isinstance(message, KeysDone):
            told.update((key, "done") for key in message.keys if key in told)
        elif isinstance(message, KeysFailed):
            told.update((key, "failed") for key in message.keys if key in told)
        elif isinstance(message, KeysLost):
            told.update((key, "pending" if message.recomputing else "failed") for key in message.keys if key in told)
        elif isinstance(message, KeysStuck):
            assert all(key in told for keys in message.waiting for key in keys)
        else:
            assert isinstance(message, KeysCancelled)
            for key in message.keys:
                told.pop(key, None)

    @invariant()
    def everything_is_consistent(self) -> None:
        check(self.machine)

    @invariant()
    def clients_know_what_they_hold(self) -> None:
        for name, told in self.told.items():
            wanted = self.machine.state.clients[name].wanted
            assert list(sorted(told)) == sorted(wanted)
            for key, task in wanted.items():
                news = {TaskState.MEMORY: "done", TaskState.ERRED: "failed"}.get(task.state, "pending")
                assert told[key] == news, (name, key, told[key], task)

    # ------------------------------------------------------------ clients

    @initialize()
    def begin(self) -> None:
        self.client_joins("c0")
        self.worker_joins("w0", 2, True)
        self.worker_joins("w1", 2, False)
        for key, spec in (("k0", TaskSpec(b"f", redundant=True)), ("k1", TaskSpec(b"g", redundant=True))):
            self.submit("c0", [spec], [(key, [], 0)], 3)  # so that it is known how long they take
            for number in range(2):
                self.worker_steps(number, True, 6)

    @rule(name=st.sampled_from(CLIENTS))
    def client_joins(self, name: str) -> None:
        self.told.setdefault(name, {})
        self.handle(ClientJoined(name))

    @rule(name=st.sampled_from(CLIENTS))
    def client_leaves(self, name: str) -> None:
        self.told.pop(name, None)
        self.handle(ClientLeft(name))

    @rule(
        name=st.sampled_from(CLIENTS),
        specs=st.lists(st.sampled_from(SPECS), min_size=1, max_size=3),
        tasks=st.lists(
            st.tuples(st.sampled_from(KEYS), st.lists(st.sampled_from(KEYS), max_size=3), st.integers(0, 2)),
            min_size=1,
            max_size=8,
        ),
        mode=st.integers(0, 5),
    )
    def submit(self, name: str, specs: list[TaskSpec], tasks: list[tuple[str, list[str], int]], mode: int) -> None:
        """Mode 0: as drawn (cycles, unknown keys); 1, 2: only dependencies that exist; else none at all."""
        earlier = set(self.machine.state.tasks)
        keys, dependencies, spec_of = [], [], []
        for key, needs, number in tasks:
            if mode:
                needs = [need for need in needs if need in earlier]
                earlier.add(key)
            keys.append(key)
            dependencies.append(needs or None)
            spec_of.append(number % len(specs))
        is_plain = mode > 2
        if name in self.told:
            for key, number in zip(keys, spec_of, strict=True):
                if specs[0 if is_plain else number].wanted:
                    self.told[name].setdefault(key, "pending")
        self.handle(FromClient(name, SubmitTasks(
            {spec.function: b"code" for spec in specs} if mode != 5 else {},
            specs,
            None if is_plain else spec_of,
            keys,
            [b"arguments"] * len(keys),
            None if is_plain else dependencies,
        )))  # fmt: skip

    @rule(name=st.sampled_from(CLIENTS), keys=st.lists(st.sampled_from(KEYS), max_size=4))
    def want(self, name: str, keys: list[str]) -> None:
        if name in self.told:
            for key in keys:
                self.told[name].setdefault(key, "pending")
        self.handle(FromClient(name, WantKeys(keys)))

    @rule(name=st.sampled_from(CLIENTS), keys=st.lists(st.sampled_from(KEYS), max_size=6))
    def release(self, name: str, keys: list[str]) -> None:
        for key in keys:
            self.told.get(name, {}).pop(key, None)
        self.handle(FromClient(name, ReleaseKeys(keys)))

    @rule(name=st.sampled_from(CLIENTS), keys=st.lists(st.sampled_from(KEYS), max_size=2))
    def cancel(self, name: str, keys: list[str]) -> None:
        self.handle(FromClient(name, CancelKeys(keys, False, None)))

    @rule(address=st.sampled_from(NAMES), name=st.sampled_from(CLIENTS), key=st.sampled_from([*KEYS, "s0", "s1"]))
    def scatter(self, address: str, name: str, key: str) -> None:
        worker = self.workers.get(f"tcp://{address}:1")
        if worker is not None and not worker.outbox:
            if name in self.told:
                self.told[name].setdefault(key, "pending")
            worker.data[key] = None
            self.handle(FromWorker(worker.address, worker.incarnation, DataAdded([key], [5], name)))

    # ------------------------------------------------------------ workers

    @rule(name=st.sampled_from(NAMES), nthreads=st.integers(1, 3), has_nanny=st.booleans())
    def worker_joins(self, name: str, nthreads: int, has_nanny: bool) -> None:
        if f"tcp://{name}:1" not in self.workers:
            self.lives += 1
            self.join(Worker(name, self.lives, nthreads, has_nanny))

    def join(self, worker: Worker) -> None:
        self.workers[worker.address] = worker
        self.handle(WorkerJoined(
            worker.address,
            worker.incarnation,
            worker.name,
            worker.nthreads,
            1000 if worker.nthreads < 3 else None,
            worker.nanny,
            {"gpu": 1.0} if worker.name in ("w1", "w2") else {},
            f"h{int(worker.name[1]) % 2}",
            tags=("linux", ("even", "odd")[int(worker.name[1]) % 2]),
        ))  # fmt: skip

    def some_worker(self, number: int) -> Worker:
        return list(self.workers.values())[number % len(self.workers)]

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 9), is_good=st.sampled_from([True, True, True, False]), count=st.integers(1, 6))
    def worker_steps(self, number: int, is_good: bool, count: int) -> None:
        worker = self.some_worker(number)
        for _ in range(count):
            if worker.inbox:
                worker.take_message(self.workers)
            elif worker.queue:
                worker.run_task(self.workers, is_good)
            elif worker.outbox:
                self.deliver(worker)

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 9), count=st.integers(1, 4))
    def deliver_some(self, number: int, count: int) -> None:
        worker = self.some_worker(number)
        for _ in range(min(count, len(worker.outbox))):
            self.deliver(worker)

    def deliver(self, worker: Worker) -> None:
        message = worker.outbox.popleft()
        worker.sent.append(message)
        self.handle(FromWorker(worker.address, worker.incarnation, message))

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 9), index=st.integers(0, 50))
    def an_old_answer_comes_again(self, number: int, index: int) -> None:
        worker = self.some_worker(number)
        answers = [
            m
            for m in worker.sent
            if isinstance(m, TasksDone | TasksFailed | TasksMissingData | TasksReturned | CopiesFailed)
        ]
        if answers:
            self.handle(FromWorker(worker.address, worker.incarnation, answers[index % len(answers)]))

    @rule(index=st.integers(0, 50))
    def a_dead_worker_speaks(self, index: int) -> None:
        messages = [(worker, message) for worker in self.dead for message in [*worker.sent, *worker.outbox]]
        if messages:
            worker, message = messages[index % len(messages)]
            self.handle(FromWorker(worker.address, worker.incarnation, message))

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 9), is_expected=st.booleans())
    def worker_leaves(self, number: int, is_expected: bool) -> None:
        worker = self.some_worker(number)
        del self.workers[worker.address]
        self.dead.append(worker)
        self.handle(WorkerLeft(worker.address, worker.incarnation, "gone", is_expected))

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 9), count=st.integers(0, 3))
    def worker_is_certified_dead(self, number: int, count: int) -> None:
        worker = self.some_worker(number)
        running = list(worker.queue)[:count]
        self.handle(WorkerDied(worker.address, worker.incarnation, {"running": running, "cause": "signal 9"}))

    @precondition(lambda self: self.dead)
    @rule(number=st.integers(0, 9), has_running=st.booleans())
    def a_certificate_comes_late(self, number: int, has_running: bool) -> None:
        worker = self.dead[number % len(self.dead)]
        certificate: dict[str, Any] = {"running": list(worker.queue)[:1]} if has_running else {}
        self.handle(WorkerDied(worker.address, worker.incarnation, certificate))

    @precondition(lambda self: self.dead)
    @rule()
    def a_lost_worker_comes_back(self) -> None:
        worker = self.dead[-1]
        if worker.address not in self.workers:
            self.dead.pop()
            worker.inbox.clear()
            worker.outbox.clear()
            worker.functions.clear()
            worker.is_dismissed = worker.is_paused = False
            self.join(worker)
            worker.outbox.append(DataAdded(list(worker.data), [1] * len(worker.data), None))

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 9), keys=st.lists(st.sampled_from(KEYS), max_size=4))
    def worker_drops_data(self, number: int, keys: Iterable[str]) -> None:
        worker = self.some_worker(number)
        for key in keys:
            if key in worker.data:
                del worker.data[key]
                worker.outbox.append(DataRemoved([key]))

    @rule(seconds=st.sampled_from([0.1, 0.6]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.handle(Tick())

    @precondition(lambda self: self.machine.next_wakeup is not None)
    @rule()
    def the_next_timer_fires(self) -> None:
        assert self.machine.next_wakeup is not None
        self.now = max(self.now, self.machine.next_wakeup)
        self.handle(Tick())

    # ------------------------------------------------------------ orders, and workers on their way out

    @rule(keys=st.lists(st.sampled_from(KEYS), max_size=4), copies=st.sampled_from([None, 1, 2, 3]))
    def data_is_replicated(self, keys: list[str], copies: int | None) -> None:
        self.handle(Replicate(self.new_order(), tuple(keys), copies))

    @rule(keys=st.lists(st.sampled_from(KEYS), max_size=4), names=st.lists(st.sampled_from(NAMES), max_size=3))
    def data_is_rebalanced(self, keys: list[str], names: list[str]) -> None:
        self.handle(Rebalance(self.new_order(), tuple(keys) or None, tuple(names) or None))

    @rule(names=st.lists(st.sampled_from(NAMES), max_size=3))
    def workers_are_retired(self, names: list[str]) -> None:
        self.handle(Retire(self.new_order(), tuple(names), "test"))

    def new_order(self) -> str:
        self.orders_given += 1
        self.orders.append(f"o{self.orders_given}")
        return self.orders[-1]

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 9), keys=st.lists(st.sampled_from(KEYS), max_size=2), kind=st.integers(0, 3))
    def worker_says_something(self, number: int, keys: list[str], kind: int) -> None:
        worker = self.some_worker(number)
        if kind == 0:
            worker.outbox.append(AskHolders(keys))
        elif kind == 1:
            worker.is_paused = not worker.is_paused
            worker.outbox.append(WorkerPaused(worker.is_paused))
        elif kind == 2:
            worker.outbox.append(WorkerRetiring("SIGTERM"))
        else:
            self.handle(WorkerAlive(worker.address, worker.incarnation))

    @precondition(lambda self: any(worker.processing for worker in self.machine.state.workers.values()))
    @rule(number=st.integers(0, 9), running=st.lists(st.sampled_from(KEYS), max_size=2))
    def worker_hangs(self, number: int, running: list[str]) -> None:
        """It has said nothing for long, and its nanny may see anything run there."""
        busy = [worker for worker in self.machine.state.workers.values() if worker.processing]
        worker = busy[number % len(busy)]
        self.now += self.machine.state.settings.hung_patience_s
        self.handle(WorkerAlive(worker.address, worker.incarnation, running))
        self.now += UNREAD_S
        self.handle(Tick())

    @rule()
    def dismissed_workers_leave(self) -> None:
        for worker in [worker for worker in self.workers.values() if worker.is_dismissed]:
            del self.workers[worker.address]
            self.dead.append(worker)
            self.handle(WorkerLeft(worker.address, worker.incarnation, "dismissed", True))

    # ------------------------------------------------------------ the end

    def teardown(self) -> None:
        """With every worker there and well-behaved, all that clients hold ends, and then nothing is left."""
        for name in NAMES:
            self.worker_joins(name, 1, False)
        for worker in self.workers.values():
            self.handle(WorkerAlive(worker.address, worker.incarnation))
            worker.outbox.append(WorkerPaused(False))
        for _ in range(10_000):
            self.dismissed_workers_leave()
            for name in NAMES:
                self.worker_joins(name, 1, False)
            busy = [worker for worker in self.workers.values() if worker.inbox or worker.queue or worker.outbox]
            if not busy and self.machine.state.lost:
                self.now += 1.0
                self.handle(Tick())
            elif not busy:
                break
            for worker in busy:
                if worker.inbox:
                    worker.take_message(self.workers)
                elif worker.queue:
                    worker.run_task(self.workers, True)
                else:
                    self.deliver(worker)
                check(self.machine)
        else:
            raise AssertionError("the cluster does not come to rest")
        assert not self.orders, "an order does not end"
        for told in self.told.values():
            assert set(told.values()) <= {"done", "failed"}, told
        self.clients_know_what_they_hold()
        for name in list(self.told):
            self.client_leaves(name)
        check(self.machine)
        state = self.machine.state
        assert not state.tasks and not state.functions and not state.queues and not state.lost
        for worker in self.workers.values():
            while worker.inbox:
                worker.take_message(self.workers)
            assert not worker.functions and not worker.queue and not worker.data, "a worker keeps what nobody needs"


Cluster.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrderOfEvents = Cluster.TestCase
