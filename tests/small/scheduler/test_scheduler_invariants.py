"""The checker finds what is broken and names the rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distributed.dataclass import replace
from distributed.errors import InvariantError
from distributed.scheduler.events import WorkerJoined
from distributed.scheduler.invariants import check
from distributed.scheduler.orders import Spread
from distributed.scheduler.queues import ReadyQueue, Restriction
from distributed.scheduler.records import ClientRecord, FunctionRecord, Room, TaskState
from distributed.scheduler.state import SchedulerState
from distributed.testing.scenarios import Stage

STORY = """client c
worker w1
worker w2 threads=2 gpu:2 nanny
worker w3 nanny
submit c f done
done w1 done
submit c f run1 run2
submit c f user gpu:1
submit c f ~mid wait(mid) next(done)
submit c f bad
submit c f far workers=nowhere
submit c f farther workers=nowhere,faraway
submit c f big gpu:2
scatter w2 c data
worker w4 threads=2
worker w5
replicate order data workers=w1,w3,w4
retire out w5
"""


@pytest.fixture
def state(stage: Stage) -> SchedulerState:
    """A state with something of everything."""
    stage(STORY)
    check(stage.machine)
    return stage.machine.state


def worker(state: SchedulerState, name: str) -> Any:
    return state.workers[f"tcp://{name}:1"]


def running(state: SchedulerState) -> Any:
    return next(task for task in state.tasks.values() if task.state is TaskState.PROCESSING)


def in_state(state: SchedulerState, kind: TaskState) -> Any:
    return next(task for task in state.tasks.values() if task.state is kind)


def swap(target: Any, name: str, value: Any) -> None:
    setattr(target, name, value)


def open_a_full_worker(state: SchedulerState) -> None:
    full = next(worker for worker in state.open if len(worker.processing) >= worker.nthreads)
    full.room = Room.IDLE
    del state.open[full]
    state.idle[full] = None


def spread(state: SchedulerState) -> Any:
    return state.moving.spreads[state.tasks["data"]]


def let_a_source_rest(state: SchedulerState) -> None:
    taker, copy = spread(state).begun.popitem()
    copy.source = None
    spread(state).waiting[taker] = copy
    spread(state).serving[worker(state, "w2")] -= 1


def give_a_copy_to_the_dead(state: SchedulerState) -> None:
    taker, copy = spread(state).begun.popitem()
    copy.taker = replace(taker, is_alive=False)
    spread(state).begun[copy.taker] = copy


BREAKAGES: list[tuple[str, Callable[[SchedulerState], object]]] = [
    ("filed under its key", lambda s: s.tasks.update(other=s.tasks["done"])),
    ("filed under its id", lambda s: s.clients.update(d=s.clients["c"])),
    ("what a client wants is known", lambda s: s.clients["c"].wanted.update(mid=s.tasks["mid"])),
    ("names of living workers", lambda s: s.by_name.pop("w1")),
    ("hosts are indexed", lambda s: s.by_host.pop("w1")),
    (
        "say nothing are looked at",
        lambda s: s.mute.update({worker(s, "w1"): (2.0, None), worker(s, "w2"): (1.0, None)}),
    ),
    ("a paused, hung or retiring", lambda s: swap(worker(s, "w4"), "is_hung", True)),
    ("counted by state", lambda s: s.counts.__setitem__(TaskState.MEMORY, 7)),
    ("nothing is left over", lambda s: s.touched.update({worker(s, "w1"): None})),
    ("with a worker exactly while", lambda s: swap(s.tasks["done"], "processing_on", worker(s, "w1"))),
    ("holders exactly while", lambda s: swap(s.tasks["done"], "who_has", None)),
    ("a failure exactly while", lambda s: swap(s.tasks["done"], "failure", ["E", "", "", None])),
    ("estimated exactly while", lambda s: swap(s.tasks["done"], "estimate_s", 1.0)),
    ("no recipe is not computed", lambda s: swap(s.tasks["far"], "function", None)),
    ("deaths, attempts and retries", lambda s: swap(s.tasks["done"], "deaths", 1)),
    ("counts the dependencies without data", lambda s: swap(s.tasks["wait"], "waiting_on", 2)),
    ("READY task has all its dependencies", lambda s: swap(s.tasks["far"], "dependencies", (s.tasks["mid"],))),
    (
        "a dependency is known and knows",
        lambda s: swap(s.tasks["wait"], "dependencies", (s.tasks["mid"], s.tasks["done"])),
    ),
    ("a dependent is known and knows", lambda s: swap(s.tasks["done"], "dependents", (s.tasks["bad"],))),
    ("who wants a task is connected", lambda s: s.clients["c"].wanted.pop("done")),
    ("who wants a task is connected", lambda s: swap(s.tasks["mid"], "wanted_by", (ClientRecord("d"),))),
    ("who holds a result is alive", lambda s: worker(s, "w1").holds.pop("done")),
    ("who runs a task knows it", lambda s: running(s).processing_on.processing.clear()),
    ("names anybody twice", lambda s: swap(s.tasks["done"], "who_has", worker(s, "w1").alone * 2)),
    ("counts the dependents that need it", lambda s: swap(s.tasks["mid"], "needed_by", 9)),
    ("what a worker runs knows it", lambda s: worker(s, "w3").processing.update(done=s.tasks["done"])),
    ("what a worker holds knows it", lambda s: worker(s, "w3").holds.update(done=s.tasks["done"])),
    ("occupancy is the sum", lambda s: swap(worker(s, "w2"), "occupancy_s", 9.0)),
    ("knows its suspects and who uses", lambda s: swap(worker(s, "w2"), "has_suspect", True)),
    ("resources are reserved", lambda s: worker(s, "w2").resources_free.update(gpu=2.0)),
    ("queue is bounded", lambda s: swap(s, "settings", _Depth())),
    ("lost workers have deadlines", lambda s: s.lost.update({("a", "b"): worker(s, "w2")})),
    ("living worker is filed", lambda s: swap(worker(s, "w1"), "lost_deadline", 1.0)),
    ("function of a task is known", lambda s: swap(s.tasks["done"], "function", FunctionRecord(b"g", b""))),
    ("function counts its tasks", lambda s: swap(s.functions[b"f"], "ntasks", 1)),
    ("without tasks and clients", lambda s: s.functions.update({b"g": FunctionRecord(b"g", b"")})),
    ("known on both sides", lambda s: s.functions[b"f"].workers.clear()),
    ("is a known function", lambda s: worker(s, "w1").functions.update({b"g": FunctionRecord(b"g", b"")})),
    ("a queue for each restriction", lambda s: s.queues.update({Restriction(("x",)): ReadyQueue(Restriction(("x",)))})),
    ("exactly the READY tasks", lambda s: swap(next(iter(s.queues.values())), "live", 5)),
    ("counts its entries", lambda s: swap(next(iter(s.queues.values())), "entries", 5)),
    ("filed under what it asks for", lambda s: s.queues_by_token.pop("nowhere")),
    ("queues of suspects are known", lambda s: s.suspects.update({next(iter(s.queues.values())): None})),
    ("only queues with tasks are filed", lambda s: s.queues_by_token.update(other={})),
    ("pool of its room", lambda s: swap(worker(s, "w2"), "room", Room.IDLE)),
    ("threads with room are counted", lambda s: swap(s, "room_threads", 99)),
    ("idle worker has a thread free", open_a_full_worker),
    ("orders is left over", lambda s: s.moving.ended.update({s.moving.orders["order"]: None})),
    ("filed under its id until", lambda s: s.moving.orders.update(other=s.moving.orders["order"])),
    ("counts what is open", lambda s: swap(s.moving.orders["order"], "open", 9)),
    ("has data, and somebody who waits", lambda s: s.moving.spreads.update({s.tasks["mid"]: Spread(s.tasks["mid"])})),
    (
        "a copy that has begun has a source",
        lambda s: swap(next(iter(spread(s).waiting.values())), "source", worker(s, "w2")),
    ),
    ("taker lives and has not got", give_a_copy_to_the_dead),
    ("serves few takers", lambda s: spread(s).serving.clear()),
    ("no taker waits while a source is free", let_a_source_rest),
    ("a taker knows what it takes", lambda s: s.moving.taking.clear()),
    ("who retires is known", lambda s: swap(worker(s, "w5"), "is_retiring", False)),
    ("retiring worker has tasks", lambda s: swap(s.moving.retiring[worker(s, "w5")], "deadline", None)),
    ("has no room", lambda s: swap(worker(s, "w4"), "is_paused", True)),
    ("dismissed workers have deadlines", lambda s: s.moving.dismissed.clear()),
    ("watched for silence", lambda s: s.heard.popitem()),
    ("silent longest", lambda s: s.heard.update({next(iter(s.heard)): 99.0})),
    ("timer watches for silence", lambda s: swap(s, "silence_at", None)),
    ("reserved for one queue of suspects", lambda s: swap(worker(s, "w1"), "is_reserved", True)),
]


class _Depth:
    depth_max = 0
    queue_target_s = 0.05


@pytest.mark.parametrize(("rule", "break_it"), BREAKAGES, ids=[rule for rule, _ in BREAKAGES])
def test_a_broken_rule_is_named(
    stage: Stage, state: SchedulerState, rule: str, break_it: Callable[[SchedulerState], object]
) -> None:
    break_it(state)
    with pytest.raises(InvariantError, match=rule):
        check(stage.machine)


def test_a_task_that_nobody_needs_is_found(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a")
    task = stage.machine.state.tasks["a"]
    stage.machine.state.clients["c"].wanted.clear()
    task.wanted_by = None
    with pytest.raises(InvariantError, match="what nobody needs is released"):
        check(stage.machine)


def test_a_needed_task_that_rests_is_found(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f ~a b(a)\ndone w1 a\ndone w1 b")
    stage.machine.state.tasks["a"].wanted_by = stage.machine.state.clients["c"].alone
    stage.machine.state.clients["c"].wanted["a"] = stage.machine.state.tasks["a"]
    with pytest.raises(InvariantError, match="a needed task is computed"):
        check(stage.machine)


def test_a_record_without_use_is_found(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a\nfailed w1 a")
    stage.machine.state.clients["c"].wanted.clear()
    stage.machine.state.tasks["a"].wanted_by = None
    with pytest.raises(InvariantError, match="nothing depends on is forgotten"):
        check(stage.machine)


def test_a_task_that_waits_for_a_failure_is_found(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a b(a)")
    task, state = stage.machine.state.tasks["a"], stage.machine.state
    stage("failed w1 a")
    task.dependents[0].state, task.dependents[0].failure = TaskState.WAITING, None  # type: ignore[index]
    task.dependents[0].waiting_on, task.needed_by = 1, 1  # type: ignore[index]
    state.counts[TaskState.WAITING], state.counts[TaskState.ERRED] = 1, 1
    with pytest.raises(InvariantError, match="whose dependency failed has failed"):
        check(stage.machine)


def test_company_of_a_suspect_is_found(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f a b")
    task = stage.machine.state.tasks["a"]
    task.deaths, task.certificates = 1, [{}]
    worker(stage.machine.state, "w1").has_suspect = True
    worker(stage.machine.state, "w1").extras["a"] = ()
    with pytest.raises(InvariantError, match="a suspect runs alone"):
        check(stage.machine)


def test_a_lost_worker_with_data_is_found(stage: Stage) -> None:
    stage("worker w1 nanny\nleft w1")
    next(iter(stage.machine.state.lost.values())).is_alive = True
    with pytest.raises(InvariantError, match="a lost worker holds nothing"):
        check(stage.machine)


def test_idleness_is_found(stage: Stage) -> None:
    stage("client c\nsubmit c f a\nsubmit c f b workers=w1")
    state = stage.machine.state
    ready, state.ready = state.ready, ReadyQueue(Restriction())
    queues = dict(state.queues)
    state.queues.clear()
    stage.machine.state.counts[TaskState.READY] = 2
    machine = stage.machine
    machine.state.queues_by_token, tokens = {}, machine.state.queues_by_token
    machine.handle(WorkerJoined("tcp://w1:1", "1", "w1", 1, None, None, {}, "w1"), 0.0)
    state.ready, state.queues_by_token = ready, tokens
    state.queues.update(queues)
    with pytest.raises(InvariantError, match="no task waits while a worker has room"):
        check(machine)
    state.tasks["a"].state = TaskState.PROCESSING
    ready.clear()
    del state.tasks["a"], state.clients["c"].wanted["a"]
    state.functions[b"f"].ntasks = 1
    state.counts[TaskState.READY] = 1
    with pytest.raises(InvariantError, match="no restricted task waits"):
        check(machine)
