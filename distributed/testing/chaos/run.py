"""One chaotic run: starts the cluster, lets the faults loose, checks every result and what is left at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed.client import Client
from distributed.testing.chaos.faults import Faults
from distributed.testing.chaos.workload import Node, draw_graph, expected_numbers, mix, number_of
from distributed.testing.cutting import ProxyThread
from distributed.testing.processes import Processes, Started, wait_until
from distributed.worker.measure import process_nbytes

__all__ = ["Plan", "Report", "run_chaos"]

WINDOW = 5_000  # futures held at once: a client that keeps all 50,000 would have each death recompute an eighth of them
WORKER_TIMEOUT = "3s"  # the scheduler's patience with a silent worker: short, so that stopping one has consequences
END_TIMEOUT_S = 60.0  # for one result once nothing goes wrong any more
SETTLE_S = 45.0  # for the scheduler to notice connections that fell silent: its patience with a client is 30 s
SPARE_DESCRIPTORS = 16  # that it may have more at the end than at the beginning: a few connections under way
MEMORY_NBYTES_MAX = 400 * 2**20  # of the scheduler, which keeps recipes and logs, but no results


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: tasks, workers, how long each task waits, and how often a worker is killed."""

    tasks: int = 50_000
    workers: int = 8
    seconds: float = 60.0
    task_s: float = 0.006
    kill_every_s: float = 0.5
    seed: int = 0


@dataclass(slots=True)
class Report:
    """What came of it; `faults` are texts, one for everything that must not be."""

    tasks: int = 0
    right: int = 0
    seconds: float = 0.0
    seconds_after: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def run_chaos(plan: Plan, folder: Path, tell: Callable[[str], object]) -> Report:
    """Run in `folder`, which must be empty. Cost: `plan.seconds` and what is left to compute then."""
    report = Report()
    segments = _shared_segments()
    through_proxy = {"DISTRIBUTED_ALLOW_FORWARDING": "1"}
    with Processes(folder, through_proxy) as processes:
        os.environ.update(through_proxy, DISTRIBUTED_KEY_FILE=str(processes.key_file))  # before anything asks for them
        scheduler = processes.dscheduler(f"--port 0 --deaths-max 0 --worker-timeout {WORKER_TIMEOUT}")
        proxy = ProxyThread(processes.address(scheduler))
        address = proxy.address
        scratch = folder / "scratch"
        scratch.mkdir()
        workers = processes.dworker(
            f"{address} --nworkers {plan.workers} --nthreads 1 --restarts-max 0 --local-directory {scratch}"
        )
        try:
            with Client(address) as client:
                wait_until(lambda: len(client.scheduler_info()["workers"]) == plan.workers, "all workers")
                descriptors = _descriptors(scheduler)
                _compute(
                    plan,
                    client,
                    Faults(lambda: worker_pids(workers), proxy, plan.kill_every_s, plan.seconds, plan.seed),
                    report,
                    tell,
                )
                _check_scheduler(scheduler, descriptors, report)
        except Exception as error:  # the report is all that is seen of a run, so whatever ends it must be in there
            report.faults.append(f"{type(error).__name__}: {error}")
        report.counts |= {"proxy cuts": proxy.cuts, "proxy silences": proxy.silences}
        _end(processes, workers, scheduler, report)
        proxy.close()
        report.faults += [f"left behind: {path}" for path in scratch.iterdir()]
    report.faults += [f"shared memory left behind: {name}" for name in sorted(_shared_segments() - segments)]
    return report


def _check_scheduler(scheduler: Started, descriptors: int, report: Report) -> None:
    """What many deaths must not leave in the process that outlives them all: open connections, and memory."""
    until = time.monotonic() + SETTLE_S
    while (found := _descriptors(scheduler)) > descriptors + SPARE_DESCRIPTORS and time.monotonic() < until:
        time.sleep(0.5)
    if found > descriptors + SPARE_DESCRIPTORS:
        report.faults.append(f"the scheduler has {found} open descriptors, {descriptors} at the beginning")
    nbytes = process_nbytes(scheduler.pid)
    if nbytes > MEMORY_NBYTES_MAX:
        report.faults.append(f"the scheduler has taken {nbytes / 2**20:,.0f} MiB")
    report.counts |= {"MiB of the scheduler": round(nbytes / 2**20), "more descriptors": found - descriptors}


def _descriptors(process: Started) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def worker_pids(dworker: Started) -> list[int]:
    """The processes that `dworker`'s zygote has forked."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended while we looked
                continue
            if fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    return sorted(pid for zygote in children.get(dworker.pid, []) for pid in children.get(zygote, []))


def _compute(plan: Plan, client: Client, faults: Faults, report: Report, tell: Callable[[str], object]) -> None:
    """Rounds of `plan.tasks` tasks until time is up; the last round ends in peace."""
    started = time.monotonic()
    faults.start()
    is_peace = False
    try:
        for number in range(1_000):
            nodes = draw_graph(plan.tasks, plan.seed + number)
            for done, right in enumerate(_results(client, nodes, plan, number), 1):
                report.tasks += 1
                report.right += right
                passed = time.monotonic() - started
                if not is_peace and passed > plan.seconds:
                    is_peace = True
                    faults.stop()
                if done % 2_500 == 0:
                    tell(
                        f"{passed:5.1f} s  round {number + 1}: {done:,} of {len(nodes):,} tasks, {dict(faults.counts)}"
                    )
            if is_peace:
                break
    finally:
        if not is_peace:
            faults.stop()
        report.counts.update(faults.counts)
        report.seconds = time.monotonic() - started
        report.seconds_after = max(0.0, report.seconds - plan.seconds)
    if report.right < report.tasks:
        report.faults.append(f"{report.tasks - report.right:,} results are wrong")


def _results(client: Client, nodes: list[Node], plan: Plan, number: int) -> Iterator[bool]:
    """Whether each result is right, in order; raises if one has failed or does not come.

    `WINDOW` futures are held: those that later tasks depend on, and those whose results are still to come.
    """
    held: list[Any] = []
    expected = expected_numbers(nodes)
    for index, node in enumerate(nodes):
        held.append(
            client.submit(
                mix, index, node.is_big, plan.task_s, *(held[dependency] for dependency in node.dependencies),
                key=f"chaos-{number}-{index}",
            )
        )  # fmt: skip
        if index >= WINDOW:
            yield _is_right(held, index - WINDOW, next(expected), plan)
    for index in range(max(0, len(nodes) - WINDOW), len(nodes)):
        yield _is_right(held, index, next(expected), plan)


def _is_right(held: list[Any], index: int, expected: int, plan: Plan) -> bool:
    value = held[index].result(timeout=plan.seconds + END_TIMEOUT_S)
    held[index] = None
    return number_of(value) == expected


def _end(processes: Processes, workers: Started, scheduler: Started, report: Report) -> None:
    """End the cluster as an operator would; whatever does not end, or cries, is a fault."""
    for name, process in (("dworker", workers), ("dscheduler", scheduler)):
        try:
            code = process.end()
            if code:
                report.faults.append(f"{name} ended with {code}:\n{process.said()[-2000:]}")
            processes.wait_nothing_left() if name == "dscheduler" else None
        except AssertionError as error:
            report.faults.append(f"{name}: {error}")
        if "Traceback" in process.said() or "CRITICAL" in process.said():
            report.faults.append(f"{name} had a fault of its own:\n{_first_trace(process.said())}")


def _first_trace(said: str) -> str:
    start = max(0, min(said.find(word) for word in ("Traceback", "CRITICAL") if word in said) - 200)
    return said[start : start + 3000]


def _shared_segments() -> set[str]:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not path.name.startswith("sem.")}  # locks are others' programs'
