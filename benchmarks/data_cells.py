"""The cells of data: to workers and back, between workers, shared by many tasks; and what the scheduler holds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from sides import REPEATS_MAX, Plan, Sample, Side, check, cluster, rates, settle
from workload import array, ends, nth, same

__all__ = [
    "held_task",
    "many_args",
    "peer_transfer",
    "result_bandwidth",
    "scatter_1x256MB",
    "scatter_100x1MB",
]

MB = 1_000_000
GB = 1_000_000_000
WAIT_S_MAX = 60.0
FIRST = 200  # tasks of a first, small run


def _scatter(side: Side, plan: Plan, arrays: int, nbytes: int) -> Sample:
    import numpy  # here only: every process that a cluster spawns from this script would import it too

    with cluster(side) as client:
        data = [numpy.random.default_rng(number).random(nbytes // 8) for number in range(arrays)]
        warm = client.gather(client.scatter([numpy.ones(MB // 8)] * 4, **side.scatter_keywords))
        check(len(warm), 4)
        samples: list[float] = []
        until = time.perf_counter() + plan.box_s
        while len(samples) < 2 or (len(samples) < REPEATS_MAX and time.perf_counter() < until):
            began = time.perf_counter()
            futures = client.scatter(data, **side.scatter_keywords)
            results = client.gather(futures)
            # One number of every page: what was only mapped is not here yet.
            sums = [float(array[::512].sum()) for array in results]
            seconds = time.perf_counter() - began
            check(sums, [float(array[::512].sum()) for array in data])
            check(any(result is array for result, array in zip(results, data, strict=True)), False)
            samples.append(2 * arrays * nbytes / seconds / GB)
            del futures, results
            settle(client, same)
    return Sample(median(samples), samples, len(samples), len(samples))


def scatter_100x1MB(side: Side, plan: Plan) -> Sample:
    """A hundred numpy arrays in one scatter and one gather."""
    return _scatter(side, plan, 100, 1 * MB)


def scatter_1x256MB(side: Side, plan: Plan) -> Sample:
    """One numpy array."""
    return _scatter(side, plan, 1, 256 * MB)


def result_bandwidth(side: Side, plan: Plan) -> Sample:
    """A hundred arrays that tasks have made, in one gather; making them is not timed."""
    count, nbytes = 100, 8 * MB
    with cluster(side) as client:
        samples: list[float] = []
        until = time.perf_counter() + plan.box_s
        while len(samples) < 3 or (len(samples) < REPEATS_MAX + 1 and time.perf_counter() < until):
            futures = client.map(array, [nbytes] * count, range(count), pure=False)
            _wait_done(futures)
            began = time.perf_counter()
            results = client.gather(futures)
            seen = [ends(result) for result in results]  # every page
            seconds = time.perf_counter() - began
            check(seen, [(float(number), float(number)) for number in range(count)])
            samples.append(count * nbytes / seconds / GB)
            del futures, results
            settle(client, same)
    return Sample(median(samples[1:]), samples[1:], len(samples) - 1, len(samples) - 1)  # the first one warms up


def peer_transfer(side: Side, plan: Plan) -> Sample:
    """From the submit of a task on one worker that takes an array of the other one to its result."""
    nbytes = 256 * MB
    with cluster(side) as client:
        one, other = client.ncores()
        samples: list[float] = []
        until = time.perf_counter() + plan.box_s
        while len(samples) < 3 or (len(samples) < REPEATS_MAX + 1 and time.perf_counter() < until):
            seed = len(samples)
            source, target = (one, other) if seed % 2 else (other, one)
            made = client.submit(array, nbytes, seed, pure=False, workers=[source])
            _wait_done([made])
            began = time.perf_counter()
            seen = client.submit(ends, made, pure=False, workers=[target]).result()
            seconds = time.perf_counter() - began
            check(tuple(seen), (float(seed), float(seed)))
            samples.append(nbytes / seconds / GB)
            del made
            settle(client, same)
    return Sample(median(samples[1:]), samples[1:], len(samples) - 1, len(samples) - 1)  # the first one warms up


def many_args(side: Side, plan: Plan) -> Sample:
    """From the scatter of one array to the results of tasks that each take all of it."""
    import numpy  # here only: as in _scatter

    with cluster(side) as client:

        def run(count: int) -> float:
            data = numpy.random.default_rng(count).random(50 * MB // 8)
            began = time.perf_counter()
            shared = client.scatter(data, **side.scatter_keywords)
            results = client.gather([client.submit(nth, shared, number, pure=False) for number in range(count)])
            seconds = time.perf_counter() - began
            check(results, data[:count].tolist())
            del shared
            settle(client, same)
            return seconds

        return rates(run, 1_000, FIRST, plan)


def held_task(side: Side, plan: Plan) -> Sample:
    """Growth of the scheduler's resident memory over finished no-ops whose futures are held, per task.

    It holds what the scheduler keeps beside, such as logs of fixed size, as far as 20,000 tasks fill them.
    """
    import psutil  # in both virtual environments, but no part of the standard library

    count = 4_000 if plan.is_quick else 20_000
    with cluster(side) as client:
        process = psutil.Process(side.scheduler_pid(client))
        check(len(client.gather(client.map(same, range(1_000), pure=False))), 1_000)
        settle(client, same)
        time.sleep(1)
        before = process.memory_info().rss
        futures = client.map(same, range(count), pure=False)
        check(client.gather(futures) == list(range(count)), True)
        time.sleep(2)
        after = process.memory_info().rss
        check(len(futures), count)
    value = (after - before) / count
    return Sample(value, [value], count, count)


def _wait_done(futures: Sequence[Any]) -> None:
    """Until all are finished, asking nobody for their results."""
    until = time.perf_counter() + WAIT_S_MAX
    while not all(future.done() for future in futures):
        if time.perf_counter() > until:
            raise RuntimeError(f"not done within {WAIT_S_MAX:.0f} s")
        time.sleep(0.01)
