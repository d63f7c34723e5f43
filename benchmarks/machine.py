"""The scheduler's machine alone: what a task costs when nothing is sent, waited for or run.

    python benchmarks/machine.py [--tasks 1000000] [--quick] [--json FILE]

Only ours: the rival has no such part. Cells:

placing    100,000 tasks of one function through 10, 1,000 and 10,000 workers of one thread; microseconds per task for
           submitting, for answering (which places the next ones), and for releasing. What grows with the workers shows.
million    --tasks tasks over 1,000 workers: events/s, bytes that a finished task holds (its key and arguments
           included), and the longest single `handle`, with Python's garbage collector off and on.

Model workers answer every message at once, as a whole; clients send 2,000 tasks a message, as ours do.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from distributed.messages import Message, ReleaseKeys, RunTasks, SubmitTasks, TasksDone, TaskSpec
from distributed.scheduler.effects import ToWorker
from distributed.scheduler.events import ClientJoined, Event, FromClient, FromWorker, WorkerJoined
from distributed.scheduler.machine import SchedulerMachine

BATCH = 2000  # tasks a client puts into one message
DURATION_S = 0.0002  # of every task: a queue of 50 ms holds 250
FUNCTION = b"f" * 32


@dataclass(slots=True)
class Stage:
    """Events of one kind: how many, how long, and the longest."""

    count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0


@dataclass(slots=True)
class Bench:
    """A machine with `nworkers` model workers; `stages` collects times by name."""

    nworkers: int
    machine: SchedulerMachine = field(default_factory=SchedulerMachine)
    now: float = 0.0
    inbox: deque[ToWorker] = field(default_factory=deque)
    stages: dict[str, Stage] = field(default_factory=dict)

    def handle(self, stage: str, event: Event) -> None:
        """Let the machine handle `event`, timed; what is for workers waits in `inbox`."""
        self.now += 1e-6
        begin = perf_counter()
        self.machine.handle(event, self.now)
        effects = self.machine.take_effects()
        took_s = perf_counter() - begin
        entry = self.stages.setdefault(stage, Stage())
        entry.count += 1
        entry.total_s += took_s
        entry.longest_s = max(entry.longest_s, took_s)
        self.inbox.extend(effect for effect in effects if isinstance(effect, ToWorker))

    def tell(self, stage: str, message: Message) -> None:
        """The client sends `message`."""
        self.handle(stage, FromClient("c", message))

    def join(self) -> None:
        """The client and the workers join; the function is made known, with its duration."""
        self.handle("join", ClientJoined("c"))
        for number in range(self.nworkers):
            address, host = f"tcp://10.0.{number // 250}.{number % 250}:40000", f"10.0.{number // 250}.{number % 250}"
            self.handle("join", WorkerJoined(address, address, address, 1, None, None, {}, host))
        self.tell("join", SubmitTasks({FUNCTION: b"code"}, [TaskSpec(FUNCTION)], None, ["warm"], [b""], None))
        self.answer("join")

    def answer(self, stage: str) -> None:
        """Workers answer until they have nothing left."""
        while self.inbox:
            effect = self.inbox.popleft()
            message = effect.message
            if isinstance(message, RunTasks):
                count = len(message.keys)
                results = [b"result"] * count
                done = TasksDone(message.keys, message.attempts, [28] * count, list(results), [DURATION_S] * count)
                self.handle(stage, FromWorker(effect.address, effect.address, done))

    def submit(self, keys: list[str]) -> None:
        """The client submits one task for each of `keys`."""
        spec = TaskSpec(FUNCTION)
        for begin in range(0, len(keys), BATCH):
            part = keys[begin : begin + BATCH]
            self.tell("submit", SubmitTasks({}, [spec], None, part, [b"argument %d" % len(k) for k in part], None))

    def release(self, keys: list[str]) -> None:
        """The client releases `keys`."""
        for begin in range(0, len(keys), BATCH):
            self.tell("release", ReleaseKeys(keys[begin : begin + BATCH]))


def placing(nworkers: int, ntasks: int) -> dict[str, Any]:
    """Microseconds per task, by stage; the garbage collector is off."""
    bench = Bench(nworkers)
    bench.join()
    keys = [f"f-{number:032x}" for number in range(ntasks)]
    gc.collect()
    gc.disable()
    bench.submit(keys)
    bench.answer("answer")
    bench.release(keys)
    gc.enable()
    assert not bench.machine.state.counts[4] > 1, "everything is released but the warm-up"
    return {name: round(1e6 * bench.stages[name].total_s / ntasks, 3) for name in ("submit", "answer", "release")}


def million(ntasks: int, with_gc: bool) -> dict[str, Any]:
    """All `ntasks` submitted, answered, held, weighed, and released."""
    bench = Bench(1000)
    bench.join()
    gc.collect()
    if not with_gc:
        gc.disable()
    before = psutil.Process().memory_info().rss
    keys = [f"f-{number:032x}" for number in range(ntasks)]
    begin = perf_counter()
    bench.submit(keys)
    bench.answer("answer")
    took_s = perf_counter() - begin
    held = psutil.Process().memory_info().rss - before
    bench.release(keys)
    gc.enable()
    events = bench.stages["submit"].count + bench.stages["answer"].count
    return {
        "tasks_per_s": round(ntasks / took_s),
        "events_per_s": round(events / took_s),
        "bytes_per_task": round(held / ntasks),
        "longest_ms": {name: round(1e3 * stage.longest_s, 2) for name, stage in bench.stages.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=1_000_000, help="of the cell million")
    parser.add_argument("--rounds", type=int, default=3, help="of the cell placing; the best counts")
    parser.add_argument("--quick", action="store_true", help="one small round: does it run?")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args()
    ntasks, rounds = (20_000, 1) if options.quick else (100_000, options.rounds)
    found: dict[str, Any] = {"placing_us": {}, "placing_rounds_us": {}}
    for nworkers in (10, 1000, 10_000):
        samples = [placing(nworkers, ntasks) for _ in range(rounds)]
        found["placing_rounds_us"][str(nworkers)] = samples
        best = {name: min(sample[name] for sample in samples) for name in samples[0]}
        found["placing_us"][str(nworkers)] = best
        print(f"{nworkers:>6} workers, us per task: " + ", ".join(f"{name} {us:.2f}" for name, us in best.items()))
    for with_gc in (False, True):
        name = "million" if with_gc else "million_without_gc"
        found[name] = million(ntasks if options.quick else options.tasks, with_gc)
        print(f"{name}: {found[name]}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
