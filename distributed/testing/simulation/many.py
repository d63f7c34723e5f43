"""Many seeds, in several processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

from distributed.testing.simulation.simulate import simulate
from distributed.testing.simulation.telling import Summary

__all__ = ["run_seeds", "run_some"]

CHUNK = 25  # seeds given to a process at once
PROGRESS_S = 5.0


def run_some(seeds: Iterable[int]) -> tuple[Summary, list[int]]:
    """Simulate `seeds`: figures, and which ones failed."""
    found, failed = Summary(), []
    for seed in seeds:
        report = simulate(seed)
        found.add(report)
        if report.failure is not None:
            failed.append(seed)
    return found, failed


def run_seeds(first: int, count: int, jobs: int, is_quiet: bool = False) -> tuple[Summary, list[int]]:
    """Simulate `count` seeds from `first` on in `jobs` processes; stops soon after a failure."""
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    total, failed = Summary(), []
    if jobs <= 1:
        for chunk in chunks:
            found, bad = run_some(chunk)
            total.merge(found)
            failed += bad
            if bad:
                break
        return total, failed
    told = time.monotonic()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        todo = iter(chunks)
        running: set[Future[tuple[Summary, list[int]]]] = set()
        while True:
            while not failed and len(running) < 2 * jobs and (more := next(todo, None)) is not None:
                running.add(pool.submit(run_some, more))
            if not running:
                return total, sorted(failed)
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found, bad = future.result()
                total.merge(found)
                failed += bad
            if not is_quiet and time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                print(f"{len(total.events):,} of {count:,} seeds", file=sys.stderr, flush=True)
