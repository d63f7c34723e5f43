"""Cells of what people do with a cluster beside mapping: executors, stopping what runs, tasks that print."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sides import Plan, Sample, Side, check, cluster, rates, settle
from workload import inc, nap, same, say, spin

__all__ = ["cancel_forced", "cancel_running", "executor_map", "executor_submit", "printing"]

STUCK_S = 6.0  # how long a task runs that nobody can stop
BEGUN_S = 0.5  # for tasks that workers were sent to have begun
WORKERS = 2


def executor_map(side: Side, plan: Plan) -> Sample:
    """`Executor.map` of no-ops, every result taken; tasks/s."""
    with cluster(side) as client, client.get_executor(pure=False) as executor:

        def run(count: int) -> float:
            began = time.perf_counter()
            results = list(executor.map(same, range(count)))
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            settle(client, same)
            return seconds

        return rates(run, 50_000, 200, plan)


def executor_submit(side: Side, plan: Plan) -> Sample:
    """A submit per no-op, then the result of each future; tasks/s."""
    with cluster(side) as client, client.get_executor(pure=False) as executor:

        def run(count: int) -> float:
            began = time.perf_counter()
            futures = [executor.submit(same, number) for number in range(count)]
            results = [future.result() for future in futures]
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            del futures
            settle(client, same)
            return seconds

        return rates(run, 10_000, 200, plan)


def cancel_running(side: Side, plan: Plan) -> Sample:
    """Every thread runs a Python loop that is cancelled: seconds until another task has run."""
    return _cancel(side, plan, lambda client: client.map(spin, range(WORKERS), seconds=STUCK_S, pure=False), False)


def cancel_forced(side: Side, plan: Plan) -> Sample:
    """Every thread sleeps in C and is cancelled with force: seconds until another task has run."""
    return _cancel(side, plan, lambda client: client.map(nap, range(WORKERS), seconds=STUCK_S, pure=False), True)


def _cancel(side: Side, plan: Plan, begin: Callable[[Any], Any], is_forced: bool) -> Sample:
    samples: list[float] = []
    with cluster(side) as client:
        check(client.gather(client.map(inc, range(10), pure=False)), list(range(1, 11)))
        for _ in range(1 if plan.is_quick else 3):
            stuck = begin(client)
            while sum(map(len, client.processing().values())) < WORKERS:
                time.sleep(0.01)
            time.sleep(BEGUN_S)
            began = time.perf_counter()
            client.cancel(stuck, force=is_forced)
            check(client.submit(inc, 1, pure=False).result(), 2)
            samples.append(time.perf_counter() - began)
            del stuck
            while len(client.ncores()) < WORKERS:
                time.sleep(0.05)
            time.sleep(STUCK_S if max(samples) > STUCK_S / 2 else 0.3)  # until the other thread is free, too
    return Sample(sorted(samples)[len(samples) // 2], samples, 1, 1)


def printing(side: Side, plan: Plan) -> Sample:
    """A map of tasks each of which prints a line; tasks/s."""
    with cluster(side) as client:

        def run(count: int) -> float:
            began = time.perf_counter()
            futures = client.map(say, range(count), pure=False)
            results = client.gather(futures)
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            del futures
            settle(client, same)
            return seconds

        return rates(run, 10_000, 200, plan)
