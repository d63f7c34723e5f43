"""Cells of `distributed.multiprocessing.Pool`, beside the standard library's Pool and beside `Client.map`.

With ``--beside`` (see `cells.main`) the same function measures the other one.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from typing import Any

from sides import Plan, Sample, Side, check, cluster, rates, settle
from workload import same

__all__ = ["pool_apply", "pool_imap", "pool_map_10k", "pool_map_million"]

PROCESSES = 2


def pool_map_million(side: Side, plan: Plan) -> Sample:
    """`Pool.map` of a million no-ops in two processes; calls/s."""
    return _calls(lambda pool, count: pool.map(same, range(count)), 1_000_000, plan)


def pool_imap(side: Side, plan: Plan) -> Sample:
    """`Pool.imap` of no-ops, each a task of its own; calls/s."""
    return _calls(lambda pool, count: list(pool.imap(same, range(count))), 20_000, plan)


def pool_apply(side: Side, plan: Plan) -> Sample:
    """`Pool.apply_async` for each no-op, then the result of each; calls/s."""

    def run(pool: Any, count: int) -> list[int]:
        results = [pool.apply_async(same, (number,)) for number in range(count)]
        return [result.get() for result in results]

    return _calls(run, 10_000, plan)


def pool_map_10k(side: Side, plan: Plan) -> Sample:
    """`Pool.map` of 10,000 no-ops on a cluster that runs, beside `Client.map` and gather there; calls/s."""
    pool_class = importlib.import_module("distributed.multiprocessing").Pool
    with cluster(side) as client, pool_class(client=client) as pool:

        def run(count: int) -> float:
            began = time.perf_counter()
            if _is_beside():
                results = client.gather(client.map(same, range(count), pure=False))
            else:
                results = pool.map(same, range(count))
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            settle(client, same)
            return seconds

        return rates(run, 10_000, 200, plan)


def _calls(call: Callable[[Any, int], list[int]], nominal: int, plan: Plan) -> Sample:
    name = "multiprocessing" if _is_beside() else "distributed.multiprocessing"
    with importlib.import_module(name).Pool(PROCESSES) as pool:

        def run(count: int) -> float:
            began = time.perf_counter()
            results = call(pool, count)
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            return seconds

        return rates(run, nominal, 1_000, plan)


def _is_beside() -> bool:
    return "BENCHMARK_BESIDE" in os.environ
