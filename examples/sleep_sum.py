"""Ten thousand naps and a sum each, as seed of everything: decorate, call as usual, unwrap."""

import sys
from time import sleep

from distributed import distributed


@distributed(platform="*", threads=1)
def sleep_sum(a: int, b: int) -> int:
    """`a` + `b`, after a nap."""
    sleep(SECONDS)
    return a + b


COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 16  # with 10000: as many seconds, divided by your cores
SECONDS = 1.0

if __name__ == "__main__":
    responses = [sleep_sum(x, x + 1) for x in range(COUNT)]
    print([x.unwrap() for x in responses])
