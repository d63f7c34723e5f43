"""Tasks that wait lend their slot: who runs meanwhile, in how many threads, and how they go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.messages import RunOptions
from distributed.protocol.failure import exception_from_failure
from distributed.worker import lending
from distributed.worker.context import TaskContext, current, current_key, get_worker, rejoin, secede, wait_lent
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.permits import Permits
from distributed.worker.store import Store

PATIENCE_S = 20.0

_calls: dict[str, Callable[[], Any]] = {}  # what the tasks of a test do, by key


def call(key: str) -> Any:
    """What every task here is."""
    return _calls[key]()


class Bench:
    """An executor, and tasks that are closures of the test."""

    def __init__(self, nthreads: int) -> None:
        self.woken = threading.Event()
        self.executor = Executor(nthreads, self.woken.set, Store(), "tcp://me:1", owner=self)
        self.blob = b"c" + f"{__name__}\ncall\n.".encode()

    def submit(self, key: str, function: Callable[[], Any], depth: int = 0) -> None:
        _calls[key] = function
        arguments = b"\x80\x05" + b"(\x8c" + bytes([len(key)]) + key.encode() + b"t}\x86."
        task = ReadyTask(key, 1, self.blob, self.blob, arguments, False, None, -2 * depth, RunOptions(depth=depth))
        self.executor.submit([task])

    def wait(self, count: int) -> dict[str, Outcome]:
        """The outcomes of the next `count` tasks by key."""
        outcomes: dict[str, Outcome] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(outcomes) < count:
            assert time.monotonic() < deadline, f"only {sorted(outcomes)} ended"
            outcomes.update((outcome.key, outcome) for outcome in self.executor.take_outcomes())
            self.woken.wait(0.001)
            self.woken.clear()
        return outcomes

    def values(self, count: int) -> dict[str, Any]:
        """The same, for tasks that must have returned."""
        outcomes = self.wait(count)
        for outcome in outcomes.values():
            if outcome.failure is not None:
                raise exception_from_failure(outcome.failure, "the executor")
        return {key: outcome.value for key, outcome in outcomes.items()}

    def threads(self) -> int:
        """How many there are."""
        return len(self.executor._threads)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """With as many threads as the parameter says, else one."""
    bench = Bench(getattr(request, "param", 1))
    yield bench
    assert bench.executor.close(PATIENCE_S)
    _calls.clear()


def until(event: threading.Event) -> str:
    """Wait as a client does; in which thread."""
    assert wait_lent(event.wait, PATIENCE_S)
    return threading.current_thread().name


def test_another_task_runs_in_the_slot_of_one_that_waits(bench: Bench) -> None:
    done = threading.Event()
    bench.submit("parent", lambda: until(done))
    bench.submit("child", done.set)
    assert set(bench.values(2)) == {"parent", "child"}
    assert bench.threads() == 2


def test_the_loop_hears_who_lends_and_who_goes_on(bench: Bench) -> None:
    done = threading.Event()
    bench.submit("parent", lambda: until(done))
    deadline = time.monotonic() + PATIENCE_S
    while not (news := bench.executor.lending.take_news()):
        assert time.monotonic() < deadline
    assert news == {"parent": (1, True)}
    assert bench.executor.running.keys() == []  # who waits dies of nothing
    done.set()
    bench.values(1)
    assert bench.executor.lending.take_news() == {"parent": (1, False)}


def test_what_is_there_already_lends_nothing(bench: Bench) -> None:
    done = threading.Event()
    done.set()
    bench.submit("parent", lambda: until(done))
    bench.values(1)
    assert bench.executor.lending.take_news() == {}
    assert bench.threads() == 1


def test_a_wait_ends_in_time(bench: Bench) -> None:
    bench.submit("parent", lambda: wait_lent(threading.Event().wait, 0.01))
    assert bench.values(1) == {"parent": False}


def test_the_time_that_a_task_waits_is_not_its_duration(bench: Bench) -> None:
    bench.submit("parent", lambda: wait_lent(threading.Event().wait, 0.2))
    assert bench.wait(1)["parent"].duration_s < 0.1


@pytest.mark.parametrize("bench", [2], indirect=True)
def test_no_more_tasks_run_at_once_than_there_are_slots(bench: Bench) -> None:
    lock, running, most = threading.Lock(), [0], [0]
    go = threading.Event()

    def count(change: int) -> None:
        with lock:
            running[0] += change
            most[0] = max(most[0], running[0])

    def work() -> None:
        count(1)
        time.sleep(0.002)
        count(-1)

    def parent() -> None:
        work()
        until(go)
        work()

    for number in range(10):
        bench.submit(f"parent{number}", parent)
    bench.submit("child", go.set)
    for number in range(10):
        bench.submit(f"other{number}", work)
    bench.values(21)
    assert most[0] == 2
    assert bench.threads() <= 2 + lending.LENT_THREADS_MAX


def test_tasks_wait_for_each_other_many_levels_deep(bench: Bench) -> None:
    depth = 150
    done = [threading.Event() for _ in range(depth + 1)]

    def task(level: int) -> str:
        if level < depth:
            bench.submit(f"t{level + 1}", lambda: task(level + 1), level + 1)
            until(done[level + 1])
        done[level].set()
        return threading.current_thread().name

    bench.submit("t0", lambda: task(0))
    names = bench.values(depth + 1)
    assert bench.threads() <= 1 + lending.LENT_THREADS_MAX + depth // lending.LEVELS_MAX + 1
    assert len(set(names.values())) < depth / 3  # most of them ran on the stack of one that waited


def test_a_thread_that_helps_runs_deeper_tasks_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "LENT_THREADS_MAX", 0)
    monkeypatch.setattr(lending, "HELP_PATIENCE_S", PATIENCE_S)
    done, order = threading.Event(), []

    def child() -> str:
        order.append("child")
        done.set()
        return threading.current_thread().name

    bench.submit("parent", lambda: until(done), depth=1)
    bench.submit("stranger", lambda: order.append("stranger"), depth=1)
    bench.submit("child", child, depth=2)
    values = bench.values(3)
    assert order == ["child", "stranger"]
    assert values["parent"] == values["child"]
    assert bench.threads() == 1


def test_a_task_that_waits_for_one_that_is_not_deeper_gets_a_thread_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "LENT_THREADS_MAX", 0)
    done = threading.Event()
    bench.submit("one", lambda: until(done))
    bench.submit("other", done.set)
    bench.values(2)
    assert bench.threads() == 2


def test_a_task_that_raises_while_it_waits_gives_its_slot_back(bench: Bench) -> None:
    def wait(timeout_s: float | None) -> bool:
        if timeout_s:
            raise KeyError("interrupted")
        return False

    bench.submit("parent", lambda: wait_lent(wait, None))
    assert "interrupted" in str(bench.wait(1)["parent"].failure)
    bench.submit("next", current_key)
    assert bench.values(1) == {"next": "next"}


def test_closing_ends_who_waits_for_a_slot() -> None:
    bench = Bench(1)
    done, busy, go = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        busy.set()
        go.wait(PATIENCE_S)

    bench.submit("parent", lambda: until(done))
    bench.submit("other", other)
    assert busy.wait(PATIENCE_S)
    done.set()
    assert not bench.executor.close(0.0)
    go.set()
    assert bench.executor.close(PATIENCE_S)


# ---------------------------------------------------------------- secede, rejoin, and who I am


def test_a_task_that_secedes_runs_on_beside_its_slot(bench: Bench) -> None:
    done = threading.Event()

    def parent() -> bool:
        secede()
        secede()  # said twice
        return done.wait(PATIENCE_S)

    bench.submit("parent", parent)
    bench.submit("child", done.set)
    assert bench.values(2)["parent"] is True
    bench.submit("next", current_key)
    assert bench.values(1) == {"next": "next"}


def test_a_task_that_rejoins_waits_for_a_slot(bench: Bench) -> None:
    seceded, go, order = threading.Event(), threading.Event(), []

    def parent() -> None:
        secede()
        seceded.set()
        assert go.wait(PATIENCE_S)
        rejoin()
        rejoin()  # said twice
        order.append("parent")

    def other() -> None:
        assert seceded.wait(PATIENCE_S)
        go.set()
        order.append("other")

    bench.submit("parent", parent)
    bench.submit("other", other)
    bench.values(2)
    assert order == ["other", "parent"]


def test_threads_for_tasks_that_secede_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "THREADS_MAX", 0)
    bench.submit("parent", secede)
    bench.values(1)
    assert bench.threads() == 1
    assert bench.executor.lending.take_news() == {}


def test_a_task_knows_its_worker_and_its_key(bench: Bench) -> None:
    bench.submit("me", lambda: (get_worker() is bench, current_key()))
    assert bench.values(1) == {"me": (True, "me")}


@pytest.mark.parametrize("function", [get_worker, secede, rejoin])
def test_outside_of_tasks_there_is_no_worker(function: Callable[[], Any]) -> None:
    assert current() is None and current_key() is None
    with pytest.raises(ValueError, match="inside tasks only"):
        function()


def test_who_wants_to_know_the_end_of_a_call_is_told_once(bench: Bench) -> None:
    ends: list[str] = []

    def task() -> None:
        context = current()
        assert context is not None
        context.at_end = [lambda: ends.append("end")]
        raise KeyError

    bench.submit("a", task)
    bench.wait(1)
    bench.submit("b", current_key)
    bench.values(1)
    assert ends == ["end"]


# ---------------------------------------------------------------- permits


def test_a_permit_that_nobody_waits_for_any_more_goes_to_the_next() -> None:
    permits = Permits(1, lambda: False, lambda slot: None)
    holder, gone, waiting = TaskContext(0), TaskContext(1), TaskContext(2)
    holder.permits = 1
    granted: list[str] = []
    assert not permits.request(gone, lambda: granted.append("gone"))
    assert not permits.request(waiting, lambda: granted.append("waiting"))
    permits.end(gone, TaskContext(3))
    permits.put(holder)
    assert granted == ["waiting"]
    assert waiting.permits and not holder.permits and not permits.is_wanted


def test_whoever_is_told_of_a_permit_has_it() -> None:
    permits = Permits(1, lambda: False, lambda slot: None)
    giver, waiter = TaskContext(0), TaskContext(1)
    giver.permits = 1
    told: list[bool] = []
    assert not permits.request(waiter, lambda: told.append(waiter.permits))
    permits.put(giver)
    assert told == [True]
