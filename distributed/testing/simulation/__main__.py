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


def _small_story(seed: int, only: frozenset[str] | None) -> str:
    """Of a failing seed."""
    small: Report = shrink(simulate(seed, only=only), lambda names: simulate(seed, only=names))
    return _story(seed, frozenset(small.plan.names()))


def _story(seed: int, only: frozenset[str] | None) -> str:
    return story(simulate(seed, only=only, is_told=True))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if a rule did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m distributed.testing.simulation", description="Simulate whole clusters, one for each seed."
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--only", help="with --seed: parts of its plan to keep, separated by commas")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --seed: tell the story")
    options = parser.parse_args(arguments)
    only = None if options.only is None else frozenset(options.only.split(","))
    if options.seed is not None:
        report = simulate(options.seed, only=only)
        if options.verbose:
            print(_story(options.seed, only))
        elif report.failure is not None:
            print(_small_story(options.seed, only))
        else:
            print(f"seed {options.seed}: all rules hold; {report.events} events, trace {report.trace}")
        return int(report.failure is not None)
    started = time.monotonic()
    found, failed = run_seeds(options.first, options.seeds, options.jobs)
    print(summary(found, time.monotonic() - started))
    if failed:
        print(f"\n{len(failed)} failed: {', '.join(map(str, failed[:20]))}; the first, made small:\n")
        print(_small_story(failed[0], None))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
