"""``python -m distributed.testing.simulation``: runs seeds, and tells the story of one that fails."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

from distributed.testing.simulation.shrink import shrink
from distributed.testing.simulation.simulate import Report, simulate
from distributed.testing.simulation.telling import Summary, story, summary

__all__ = ["main", "run_seeds"]

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


def _small_story(seed: int, without: frozenset[str], is_shrunk: bool) -> str:
    report = simulate(seed, without=without)
    if report.failure is None or not is_shrunk:
        return _told(seed, without)
    small: Report = shrink(report, lambda names: simulate(seed, without=without | names))
    return _told(seed, without | small.without)


def _told(seed: int, without: frozenset[str]) -> str:
    report = simulate(seed, without=without, is_told=True)
    report.without = without
    return story(report)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if a rule did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m distributed.testing.simulation", description="Simulate whole clusters, one for each seed."
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--without", default="", help="parts of its plan to leave out, separated by commas")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --seed: tell the story")
    options = parser.parse_args(arguments)
    without = frozenset(filter(None, options.without.split(",")))
    if options.seed is not None:
        report = simulate(options.seed, without=without)
        if options.verbose:
            print(_told(options.seed, without))
        elif report.failure is not None:
            print(_small_story(options.seed, without, True))
        else:
            print(f"seed {options.seed}: all rules hold; {report.events} events, trace {report.trace}")
        return int(report.failure is not None)
    started = time.monotonic()
    found, failed = run_seeds(options.first, options.seeds, options.jobs)
    print(summary(found, time.monotonic() - started))
    if failed:
        print(f"\n{len(failed)} failed: {', '.join(map(str, failed[:20]))}; the first, made small:\n")
        print(_small_story(failed[0], frozenset(), True))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
