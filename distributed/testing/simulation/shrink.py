"""Makes a failing seed small: leaves out faults, clients, steps, tasks and workers while the same rule still breaks."""

from __future__ import annotations

from collections.abc import Callable

from distributed.testing.simulation.simulate import Report

__all__ = ["shrink"]

RUNS_MAX = 600


def shrink(report: Report, run: Callable[[frozenset[str]], Report], runs_max: int = RUNS_MAX) -> Report:
    """The smallest failing report found.

    Args:
        report: a failing one.
        run: simulates the same seed with nothing but the named parts.
        runs_max: simulations to try at most.
    Parts are left out in halves, quarters and so on, big parts first, again and again until nothing more can go.
    """
    assert report.failure is not None
    rule, best, runs = report.failure.rule, report, 0
    # Without a worker that may run them tasks wait for ever: that would be another story.
    kept = frozenset(worker.name for worker in report.plan.workers if rule.startswith("every task ends"))
    is_smaller = True
    while is_smaller:
        is_smaller = False
        names = [name for name in best.plan.names() if name not in kept]
        size = max(1, len(names) // 2)
        while size and runs < runs_max:
            start = 0
            while start < len(names) and runs < runs_max:
                runs += 1
                left = names[:start] + names[start + size :]
                tried = run(frozenset(left) | kept)
                if tried.failure is not None and tried.failure.rule == rule:
                    best, names, is_smaller = tried, left, True
                else:
                    start += size
            size //= 2
    return best
