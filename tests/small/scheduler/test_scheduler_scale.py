"""What does not grow: the work per task with the number of workers, the memory per task. Counted, not timed."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType

import pytest

from distributed.messages import DataAdded, Message, ReleaseKeys, RunTasks, SubmitTasks, TasksDone, TaskSpec
from distributed.scheduler.effects import ToWorker
from distributed.scheduler.events import ClientJoined, FromClient, FromWorker, Tick, WorkerJoined
from distributed.scheduler.machine import SchedulerMachine

FUNCTION = b"f"
TASKS = 200


class Cluster:
    """A machine with workers of one thread, the first of which holds x; everything sent is answered at once."""

    def __init__(self, nworkers: int) -> None:
        self.machine = SchedulerMachine()
        self.now = 0.0
        self.machine.handle(ClientJoined("c"), 0.0)
        for number in range(nworkers):
            address = f"tcp://w{number}:1"
            self.machine.handle(WorkerJoined(address, address, address, 1, None, None, {"gpu": 1.0}, address), 0.0)
        self.machine.handle(FromWorker("tcp://w0:1", "tcp://w0:1", DataAdded(["x"], [8], "c")), 0.0)
        self.tell(SubmitTasks({FUNCTION: b"code"}, [TaskSpec(FUNCTION)], None, ["warm"], [b""], None))

    def tell(self, message: Message) -> None:
        self.now += 0.001
        self.machine.handle(FromClient("c", message), self.now)
        while runs := [effect for effect in self.machine.take_effects() if isinstance(effect, ToWorker)]:
            for run in runs:
                if isinstance(run.message, RunTasks):
                    keys, count = run.message.keys, len(run.message.keys)
                    done = TasksDone(keys, run.message.attempts, [8] * count, [b"r"] * count, [0.001] * count)
                    self.machine.handle(FromWorker(run.address, run.address, done), self.now)


def plain(cluster: Cluster, number: int) -> None:
    cluster.tell(SubmitTasks({}, [TaskSpec(FUNCTION)], None, [f"k{number}"], [b""], None))


def with_dependency(cluster: Cluster, number: int) -> None:
    cluster.tell(SubmitTasks({}, [TaskSpec(FUNCTION)], None, [f"k{number}"], [b""], [["x"]]))


def restricted(cluster: Cluster, number: int) -> None:
    spec = TaskSpec(FUNCTION, workers=("tcp://w1:1",))
    cluster.tell(SubmitTasks({}, [spec], None, [f"k{number}"], [b""], None))


def several(cluster: Cluster, number: int) -> None:
    keys = [f"k{number}-{index}" for index in range(5)]
    cluster.tell(SubmitTasks({}, [TaskSpec(FUNCTION)], None, keys, [b""] * 5, None))
    cluster.tell(ReleaseKeys(keys))
    cluster.machine.handle(Tick(), cluster.now)


def calls(act: Callable[[Cluster, int], None], nworkers: int) -> int:
    """How many calls, and steps of generators, `act` takes for each of many tasks on so many workers."""
    cluster = Cluster(nworkers)
    count = 0

    def on_call(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(on_call)
    try:
        for number in range(TASKS):
            act(cluster, number)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("act", [plain, with_dependency, restricted, several])
def test_the_work_per_task_does_not_grow_with_the_workers(act: Callable[[Cluster, int], None]) -> None:
    assert calls(act, 1000) <= 1.05 * calls(act, 10)


def test_the_work_per_task_does_not_grow_with_the_tasks() -> None:
    cluster = Cluster(10)
    counts = []
    for base in (0, 10_000):
        count = 0

        def on_call(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += 1

        before = sys.getprofile()
        sys.setprofile(on_call)
        try:
            for number in range(base, base + TASKS):
                plain(cluster, number)
        finally:
            sys.setprofile(before)
        counts.append(count)
        keys = [f"more{number}" for number in range(5000)]
        cluster.tell(SubmitTasks({}, [TaskSpec(FUNCTION)], None, keys, [b""] * len(keys), None))
    assert counts[1] <= 1.05 * counts[0]


def test_a_finished_task_holds_at_most_700_bytes() -> None:
    cluster = Cluster(1)
    count = 4000
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    keys = [f"function-{number:032x}" for number in range(count)]
    arguments = [b"argument %d" % number for number in range(count)]
    cluster.tell(SubmitTasks({}, [TaskSpec(FUNCTION)], None, keys, arguments, None))
    del keys, arguments
    cluster.machine.take_effects()
    cluster.machine.state.log.clear()  # bounded, whatever the number of tasks
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cluster.machine.state.counts[4] == count + 2
    assert (after - before) / count <= 700
