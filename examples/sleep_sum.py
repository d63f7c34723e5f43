"""A nap and a sum, many times: decorate, call, unwrap. ``python sleep_sum.py 10000`` takes 10,000 s / cores."""

from __future__ import annotations

import sys
from time import sleep

from distributed import distributed

SECONDS = 1.0


@distributed(platform="*", threads=1)
def sleep_sum(a: int, b: int) -> int:
    """`a` + `b`, after a nap."""
    sleep(SECONDS)
    return a + b


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    responses = [sleep_sum(x, x + 1) for x in range(count)]
    print([x.unwrap() for x in responses])
