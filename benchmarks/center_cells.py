"""The cell of `distributed.Pool`, whose results stay on the workers; the rival does the same with its client."""

from __future__ import annotations

import importlib
import time
from typing import Any

from sides import Plan, Sample, Side, check, cluster, rates, settle
from workload import same

__all__ = ["center_pool"]


def center_pool(side: Side, plan: Plan) -> Sample:
    """A map, a map over its results where they lie, and one gather; calls/s."""
    with cluster(side) as client:
        twice = _by_pool(client) if side.name == "ours" else _by_client(client)

        def run(count: int) -> float:
            began = time.perf_counter()
            results = twice(count // 2)
            seconds = time.perf_counter() - began
            check(results == list(range(count // 2)), True)
            settle(client, same)
            return seconds

        return rates(run, 20_000, 200, plan)


def _by_pool(client: Any) -> Any:
    pool = importlib.import_module("distributed").Pool(client.scheduler_info()["address"])
    return lambda count: pool.gather(pool.map(same, pool.map(same, range(count))))


def _by_client(client: Any) -> Any:
    def twice(count: int) -> list[int]:
        results: list[int] = client.gather(client.map(same, client.map(same, range(count), pure=False), pure=False))
        return results

    return twice
