"""The cell about data that stays where it was made: a map over the results of another."""

from __future__ import annotations

import time

from sides import Plan, Sample, Side, check, cluster, rates
from workload import array, ends

__all__ = ["second_map"]

NBYTES = 80_000  # of each result: not worth moving, too big to travel along


def second_map(side: Side, plan: Plan) -> Sample:
    """A map over as many arrays as there are calls, which an earlier map has left on the workers; tasks/s."""
    with cluster(side) as client:

        def run(count: int) -> float:
            arrays = client.map(array, [NBYTES] * count, range(count), pure=False)
            while any(future.status == "pending" for future in arrays):
                time.sleep(0.01)
            began = time.perf_counter()
            results = client.gather(client.map(ends, arrays, pure=False))
            seconds = time.perf_counter() - began
            check(results, [(float(seed), float(seed)) for seed in range(count)])
            return seconds

        return rates(run, 2_000, 100, plan)
