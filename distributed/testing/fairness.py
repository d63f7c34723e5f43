"""Two programs on one offer, each with a scheduler of its own: who gets how much of its slots (``make soak-fairness``).

Each program always has more tasks than it can run; one's take long, the other's are short. Slots are measured by the
offer, in slots times seconds; exit code 1 if somebody has more than 10 % less or more than its part.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time

from distributed.client.client import Client
from distributed.offers.sharing import Sharing
from distributed.testing.clusters import open_servers

__all__ = ["measure"]

LENGTHS_S = (1.0, 0.05)
DEVIATION_MAX = 0.1
START_TIMEOUT_S = 60.0


async def measure(seconds: float, cores: int, lengths_s: tuple[float, ...] = LENGTHS_S) -> dict[str, float]:
    """Slot-seconds of each program in so many seconds, once all of them have tasks that run or wait; by its name.

    Args:
        lengths_s: of the tasks of each program.
    """
    with tempfile.TemporaryDirectory(prefix="fairness-") as folder:
        sharing = Sharing(folder, cores)
        programs: list[subprocess.Popen[bytes]] = []
        names = [f"{number}: tasks of {length_s:g} s" for number, length_s in enumerate(lengths_s)]
        try:
            for name, length_s in zip(names, lengths_s, strict=True):
                path = await sharing.open_room(name, name, cores)
                arguments = ["--program", path, str(cores), str(length_s)]
                command = [sys.executable, "-m", "distributed.testing.fairness", *arguments]
                programs.append(subprocess.Popen(command, stdin=subprocess.PIPE))
            async with asyncio.timeout(START_TIMEOUT_S):
                while not all(each["slots"] or each["waiting"] for each in sharing.shares().values()):
                    await asyncio.sleep(0.01)
            before = sharing.shares()
            await asyncio.sleep(seconds)
            after = sharing.shares()
            return {name: after[name]["slot_seconds"] - before[name]["slot_seconds"] for name in names}
        finally:
            for program in programs:
                program.kill()
                program.wait()
                assert program.stdin is not None
                program.stdin.close()
            await sharing.close()


async def _program(path: str, cores: int, length_s: float) -> None:
    """Submit tasks of that length until this process is killed, or whoever started it is gone."""
    loop = asyncio.get_running_loop()
    gone = loop.run_in_executor(None, sys.stdin.buffer.read)
    async with (
        open_servers([("127.0.0.1", cores)], {"shares_path": path}) as (scheduler, _),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        while not gone.done():
            futures = client.map(time.sleep, [length_s] * max(4 * cores, int(2 * cores / length_s)), pure=False)
            await asyncio.wait([asyncio.ensure_future(client.gather(futures)), gone], return_when="FIRST_COMPLETED")


def main() -> int:
    """Run what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m distributed.testing.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--cores", type=int, default=2, help="slots of the offer")
    parser.add_argument("--program", nargs=3, metavar=("PATH", "CORES", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        path, cores, length_s = options.program
        asyncio.run(_program(path, int(cores), float(length_s)))
        return 0
    used = asyncio.run(measure(options.seconds, options.cores))
    part_s = sum(used.values()) / len(used)
    for name, used_s in used.items():
        print(f"{name:24} {used_s:8.2f} slot-seconds, {used_s / part_s - 1:+.1%}")
    print(f"{sum(used.values()) / options.seconds:.2f} of {options.cores} slots were in use")
    return int(any(abs(used_s / part_s - 1) > DEVIATION_MAX for used_s in used.values()))


if __name__ == "__main__":
    raise SystemExit(main())
