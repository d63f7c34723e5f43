"""Whatever happens in whatever order: each task is answered once, and the store holds what the machine thinks."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distributed.messages import (
    AskHolders,
    CancelTasks,
    CopiesFailed,
    CopyData,
    DataAdded,
    ForgetFunctions,
    HoldersKnown,
    Message,
    ReleaseData,
    ReturnTasks,
    RunTasks,
    TasksDone,
    TasksFailed,
    TasksMissingData,
    TasksReturned,
)
from distributed.worker import invariants
from distributed.worker.effects import (
    DropData,
    DropFunctions,
    Execute,
    Fetch,
    GiveBack,
    Keep,
    ReadyTask,
    ToScheduler,
    Withdraw,
)
from distributed.worker.events import (
    DataFetched,
    DataPut,
    Event,
    FetchBusy,
    FetchFailed,
    FromScheduler,
    Outcome,
    SchedulerLost,
    TasksExecuted,
    TasksWithdrawn,
    Tick,
)
from distributed.worker.machine import WorkerMachine

ME = "tcp://me:1"
HOLDERS = [ME, *(f"tcp://peer{number}:1" for number in range(10))]
KEYS = [f"k{number}" for number in range(8)]

keys = st.sampled_from(KEYS)
some_keys = st.lists(keys, max_size=4, unique=True)
some_holders = st.lists(st.sampled_from(HOLDERS), max_size=4)


class Cluster(RuleBasedStateMachine):
    """A scheduler that may say anything, peers that may answer anything, an executor that may be late."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = WorkerMachine(ME, 2)
        self.attempts = 0
        self.expected: dict[str, int] = {}  # {key: attempt} the scheduler waits for
        self.executor: list[ReadyTask] = []
        self.fetches: dict[str, list[str]] = {}
        self.store: dict[str, int] = {}
        self.ordered: set[str] = set()  # copies that the scheduler waits for
        self.now = 0.0
        self.asked_back: list[str] = []  # keys that the scheduler asked back and has no answer for
        self.given_back: list[TasksWithdrawn] = []  # what the executor said and the machine has not heard

    # ------------------------------------------------------------ effects

    def handle(self, event: Event) -> None:
        self.machine.handle(event, self.now)
        invariants.check(self.machine)
        for effect in self.machine.take_effects():
            match effect:
                case Execute(tasks):
                    self.executor += tasks
                case Fetch(address, names):
                    assert address not in self.fetches, "two fetches from one peer"
                    assert address != ME
                    assert names
                    self.fetches[address] = names
                case Keep(names, _, nbytes):
                    self.store.update(zip(names, nbytes, strict=True))
                case DropData(names):
                    for name in names:
                        del self.store[name]
                case ToScheduler(message):
                    self.answer(message)
                case Withdraw(names):
                    # Those with an even ticket have begun and run on.
                    self.executor = [task for task in self.executor if task.key not in names or task.ticket % 2 == 0]
                case GiveBack(tickets):
                    withdrawn = [
                        task.key
                        for task in self.executor
                        if tickets.get(task.key) == task.ticket and task.ticket % 2 == 1
                    ]
                    self.executor = [task for task in self.executor if task.key not in withdrawn]
                    self.given_back.append(TasksWithdrawn(tickets, withdrawn))
                case DropFunctions():
                    pass

    def answer(self, message: Message) -> None:
        match message:
            case TasksDone() | TasksFailed() | TasksMissingData():
                for key, attempt in zip(message.keys, message.attempts, strict=True):
                    assert self.expected.pop(key) == attempt
            case TasksReturned():
                for key, attempt in zip(message.keys, message.attempts, strict=True):
                    assert self.expected.pop(key) == attempt
                for key in message.keys + message.kept:
                    self.asked_back.remove(key)
            case CopiesFailed():
                self.ordered.difference_update(message.keys)
            case AskHolders():
                assert all(key in self.machine.state.copies for key in message.keys)
            case _:
                assert isinstance(message, DataAdded)
                assert all(key in self.store for key in message.keys)
                self.ordered.difference_update(message.keys)

    # ------------------------------------------------------------ what may happen

    @rule(
        names=st.lists(keys, min_size=1, max_size=3, unique=True),
        data=st.data(),
        function=st.sampled_from([b"f", b"g"]),
    )
    def run_tasks(self, names: list[str], data: Any, function: bytes) -> None:
        dependencies = [data.draw(st.one_of(st.none(), some_keys)) for _ in names]
        who_has = {key: data.draw(some_holders) for entry in dependencies for key in entry or () if key != "k0"}
        attempts = []
        for name in names:
            self.attempts += 1
            attempts.append(self.attempts)
            self.expected[name] = self.attempts
        self.handle(
            FromScheduler(
                RunTasks(
                    {b"f": b"F"},
                    [function],
                    None,
                    names,
                    attempts,
                    [b""] * len(names),
                    None,
                    dependencies,
                    who_has,
                    {"k1": 100 * 2**20, "k2": 3},
                )
            )
        )

    @rule(names=some_keys)
    def cancel(self, names: list[str]) -> None:
        for name in names:
            self.expected.pop(name, None)
        self.handle(FromScheduler(CancelTasks(names)))

    @rule(names=some_keys, is_late=st.booleans())
    def ask_back(self, names: list[str], is_late: bool) -> None:
        self.asked_back += names
        self.handle(FromScheduler(ReturnTasks(names, [self.expected.get(name, 0) - is_late for name in names])))

    @precondition(lambda self: self.given_back)
    @rule()
    def hear_of_withdrawn(self) -> None:
        self.handle(self.given_back.pop(0))

    @rule(names=some_keys)
    def release(self, names: list[str]) -> None:
        self.handle(FromScheduler(ReleaseData(names)))

    @rule()
    def forget_functions(self) -> None:
        self.handle(FromScheduler(ForgetFunctions([b"f", b"g"])))

    @rule(name=keys)
    def put(self, name: str) -> None:
        self.handle(DataPut("client", {name: "put"}, {name: 7}))

    @precondition(lambda self: self.executor)
    @rule(data=st.data(), how=st.sampled_from(["done", "failed", "missing"]))
    def execute(self, data: Any, how: str) -> None:
        indexes = data.draw(st.lists(st.integers(0, len(self.executor) - 1), min_size=1, unique=True))
        tasks = [self.executor[index] for index in indexes]
        self.executor = [task for task in self.executor if task not in tasks]
        self.handle(TasksExecuted([outcome(task, how) for task in tasks]))

    @precondition(lambda self: self.fetches)
    @rule(data=st.data(), how=st.sampled_from(["given", "failed", "busy"]))
    def answer_fetch(self, data: Any, how: str) -> None:
        address = data.draw(st.sampled_from(sorted(self.fetches)))
        names = self.fetches.pop(address)
        if how == "busy":
            self.handle(FetchBusy(address))
            return
        if how == "failed":
            self.handle(FetchFailed(address, names, "refused"))
            return
        given = data.draw(st.lists(st.sampled_from(names), unique=True))
        self.handle(DataFetched(address, dict.fromkeys(given, "copy"), dict.fromkeys(given, 5)))

    @rule(names=st.lists(keys, max_size=3), data=st.data())
    def copy_data(self, names: list[str], data: Any) -> None:
        self.ordered.update(names)
        sizes = [data.draw(st.sampled_from([0, 2**21])) for _ in names]
        self.handle(FromScheduler(CopyData(names, sizes, [data.draw(some_holders) for _ in names])))

    @rule(names=some_keys, data=st.data())
    def know_holders(self, names: list[str], data: Any) -> None:
        self.handle(FromScheduler(HoldersKnown(names, [data.draw(some_holders) for _ in names])))

    @precondition(lambda self: self.machine.next_wakeup is not None)
    @rule()
    def wake_up(self) -> None:
        assert self.machine.next_wakeup > self.now
        self.now = self.machine.next_wakeup
        self.handle(Tick())

    @rule()
    def lose_scheduler(self) -> None:
        self.expected.clear()
        self.ordered.clear()
        self.handle(SchedulerLost())
        assert not self.store

    # ------------------------------------------------------------ what must hold

    @invariant()
    def the_store_holds_what_the_machine_thinks(self) -> None:
        assert self.machine.state.memory == self.store

    @invariant()
    def every_task_waited_for_is_known(self) -> None:
        assert list(self.machine.state.tasks) == sorted(
            self.machine.state.tasks, key=lambda key: self.machine.state.tasks[key].task.ticket
        )
        assert {key: record.attempt for key, record in self.machine.state.tasks.items()} == self.expected

    def teardown(self) -> None:
        while self.fetches or self.executor or self.given_back or self.machine.next_wakeup is not None:
            if self.machine.next_wakeup is not None:
                self.wake_up()
            while self.given_back:
                self.handle(self.given_back.pop(0))
            while self.fetches:
                address, names = self.fetches.popitem()
                self.handle(DataFetched(address, {}, {}, names))
            tasks, self.executor = self.executor, []
            self.handle(TasksExecuted([outcome(task, "done") for task in tasks]))
        assert not self.expected, "tasks that were never answered"
        assert not self.ordered, "copies ordered and never answered"
        assert not self.asked_back, "keys asked back and never answered"
        assert not self.machine.state.copies
        assert not self.machine.state.peers


def outcome(task: ReadyTask, how: str) -> Outcome:
    failure = ["builtins.ValueError", "no", "", None] if how == "failed" else None
    missing = list(task.dependencies or ["k0"]) if how == "missing" else None
    return Outcome(task.key, task.ticket, "value", 3, b"payload", 0.1, failure, missing)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
