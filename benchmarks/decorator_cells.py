"""Cells of `@distributed`, beside `Client.submit`: many calls, and a whole program up to its first result."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sides import Plan, Sample, Side, check, cluster, fresh_environment, rates, settle
from workload import same

__all__ = ["decorated_calls", "decorated_first", "decorated_start"]

FIRST = """\
from distributed import distributed

@distributed
def inc(value):
    return value + 1

if __name__ == "__main__":
    print(inc(1).unwrap(), flush=True)
"""

BESIDE = """\
from distributed import Client

def inc(value):
    return value + 1

if __name__ == "__main__":
    with Client() as client:
        print(client.submit(inc, 1).result(), flush=True)
"""


def decorated_calls(side: Side, plan: Plan) -> Sample:
    """10,000 decorated no-ops, each called and unwrapped, beside as many separate submits and results; calls/s."""
    if _is_beside():
        with cluster(side) as client:

            def submit(count: int) -> float:
                began = time.perf_counter()
                futures = [client.submit(same, number, pure=False) for number in range(count)]
                results = [future.result() for future in futures]
                seconds = time.perf_counter() - began
                check(results == list(range(count)), True)
                del futures
                settle(client, same)
                return seconds

            return rates(submit, 10_000, 200, plan)
    from distributed import distributed, setup, teardown  # not at the top: the rival's side imports this file, too

    setup(n_workers=2, threads=1)
    decorated = distributed(same)

    def call(count: int) -> float:
        began = time.perf_counter()
        tasks = [decorated(number) for number in range(count)]
        results = [task.unwrap() for task in tasks]
        seconds = time.perf_counter() - began
        check(results == list(range(count)), True)
        return seconds

    try:
        return rates(call, 10_000, 200, plan)
    finally:
        teardown()


def decorated_first(side: Side, plan: Plan) -> Sample:
    """From the start of an interpreter to the first result with nothing set up, beside `Client()`; s."""
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        script = Path(folder) / "first.py"
        script.write_text(BESIDE if _is_beside() else FIRST)
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=fresh_environment()
        ) as process:
            assert process.stdout is not None
            check(process.stdout.readline().strip(), b"2")
            seconds = time.perf_counter() - began
    return Sample(seconds, [seconds], 1, 1)


def decorated_start(side: Side, plan: Plan) -> Sample:
    """`decorated_first`, beside half a second; s."""
    return Sample(0.5, [0.5], 1, 1) if _is_beside() else decorated_first(side, plan)


def _is_beside() -> bool:
    return "BENCHMARK_BESIDE" in os.environ
