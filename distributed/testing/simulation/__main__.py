"""``python -m distributed.testing.simulation``: runs seeds, and tells the story of one that fails."""

from __future__ import annotations

import argparse
import sys
import time

from distributed.testing.simulation.many import run_seeds
from distributed.testing.simulation.shrink import shrink
from distributed.testing.simulation.simulate import Report, simulate
from distributed.testing.simulation.telling import story, summary

__all__ = ["main"]


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
