"""The cells about actors; see `cells`."""

from __future__ import annotations

import time
from statistics import median, quantiles
from typing import Any

from sides import Plan, Sample, Side, check, cluster, rates
from workload import Counter

__all__ = ["actor", "actor_calls"]

WARM = 100  # calls before the first one that counts


def actor(side: Side, plan: Plan) -> Sample:
    """Calls of one actor's method one after the other, each waited for; us."""
    with cluster(side) as client:
        counter = client.submit(Counter, actor=True).result()
        times: list[float] = []
        until = time.perf_counter() + plan.box_s / 2
        while len(times) < 5_000 and time.perf_counter() < until:
            began = time.perf_counter()
            result = counter.add(1).result()
            times.append(time.perf_counter() - began)
            check(result, len(times))
    times = times[WARM:]
    return Sample(median(times) * 1e6, [second * 1e6 for second in quantiles(times)], len(times), 4_900)


def actor_calls(side: Side, plan: Plan) -> Sample:
    """Calls of one actor's method, all made before the first one is waited for."""
    with cluster(side) as client:
        counter = client.submit(Counter, actor=True).result()

        def run(count: int) -> float:
            began = time.perf_counter()
            futures: list[Any] = [counter.add(0) for _ in range(count)]
            for future in futures:
                check(future.result(), 0)
            return time.perf_counter() - began

        return rates(run, 20_000, 200, plan)
