"""The cell of tasks that run tasks: a recursion in which every call is a task of its own and waits for two others.

Both sides use `worker_client`, the rival's way to let others have the slot meanwhile.
"""

from __future__ import annotations

import time

from sides import Plan, Sample, Side, check, cluster, rates
from workload import fib

__all__ = ["nested"]

FIBONACCI = (0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181)
N_MAX = 18


def nested(side: Side, plan: Plan) -> Sample:
    """Tasks per second of ``fib(18)``, 8,361 tasks in two slots; who is too slow does a smaller one."""
    with cluster(side) as client:

        def run(count: int) -> float:
            n = _n_of(count)
            began = time.perf_counter()
            check(client.submit(fib, n, pure=False).result(), FIBONACCI[n])
            return time.perf_counter() - began

        return rates(
            run, _count_of(10 if plan.is_quick else N_MAX), _count_of(7), plan, fit=lambda c: _count_of(_n_of(c))
        )


def _count_of(n: int) -> int:
    """Calls that ``fib(n)`` makes."""
    return 2 * FIBONACCI[n + 1] - 1


def _n_of(count: int) -> int:
    """The biggest recursion of no more calls."""
    return max(n for n in range(2, N_MAX + 1) if _count_of(n) <= count)
