"""The command ``python -m distributed.testing.chaos``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from distributed.testing.chaos.run import Plan, run_chaos


def main() -> int:
    """Run and report; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m distributed.testing.chaos", description=__doc__)
    defaults = Plan()
    parser.add_argument(
        "--tasks", type=int, default=defaults.tasks, help="tasks of a round; rounds go on until time is up"
    )
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="how long things go wrong")
    parser.add_argument("--task-seconds", type=float, default=defaults.task_s, help="what each task waits")
    parser.add_argument("--kill-every", type=float, default=defaults.kill_every_s, help="seconds between two kill -9")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    given = parser.parse_args()
    plan = Plan(given.tasks, given.workers, given.seconds, given.task_seconds, given.kill_every, given.seed)
    with tempfile.TemporaryDirectory(prefix="distributed-chaos-") as folder:
        report = run_chaos(plan, Path(folder), lambda line: print(line, flush=True))
    counts = ", ".join(f"{count} x {name}" for name, count in report.counts.items())
    print(f"{report.right:,} of {report.tasks:,} results right in {report.seconds:.1f} s", end="; ")
    print(f"the last {report.seconds_after:.1f} s of it in peace; {counts}")
    for fault in report.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if report.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
