"""Makes a failing seed small: leaves out faults, clients, steps, tasks and workers while the same rule still breaks."""

from __future__ import annotations

from collections.abc import Callable

from distributed.testing.simulation.simulate import Report

__all__ = ["shrink"]

RUNS_MAX = 400


def shrink(report: Report, run: Callable[[frozenset[str]], Report], runs_max: int = RUNS_MAX) -> Report:
    """The smallest failing report found.

    Args:
        report: a failing one.
        run: simulates the same seed without the named parts.
        runs_max: simulations to try at most.
    Parts are left out in halves, quarters and so on, big parts first, again and again until nothing more can go.
    """
    assert report.failure is not None
    rule = report.failure.rule
    best, without, runs = report, frozenset[str](), 0
    is_smaller = True
    while is_smaller:
        is_smaller = False
        names = best.plan.names()
        size = max(1, len(names) // 2)
        while size and runs < runs_max:
            start = 0
            while start < len(names) and runs < runs_max:
                chunk = frozenset(names[start : start + size])
                runs += 1
                tried = run(without | chunk)
                if tried.failure is not None and tried.failure.rule == rule:
                    best, without, is_smaller = tried, without | chunk, True
                    del names[start : start + size]
                else:
                    start += size
            size //= 2
    best.without = without
    return best
