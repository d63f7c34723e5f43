"""The death of one worker under a thousand tasks: every result right, none waits for a timer, and hardly any time lost.

How much time it costs is measured by the benchmark `worker_death`; here it is enough that it is no time-out: all timers
that a death could run into (silence, certificates that do not come, connecting to who is gone) are set far too long.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from distributed import Client
from distributed.testing.processes import Processes, wait_until

COUNT = 1_000


def nap(value: int) -> int:
    time.sleep(0.002)
    return value


def add(left: int, right: int) -> int:
    return left + right


def start(processes: Processes) -> str:
    scheduler = processes.dscheduler("--worker-timeout 10m")
    address = processes.address(scheduler)
    workers = processes.dworker(f"{address} --nworkers 2 --nthreads 1 --name w --local-directory .")
    workers.wait_said(r"(?s)(registered with.*){2}")
    return address


def kill_one(client: Client, after: int) -> int:
    """Kill the first worker once so many results are there; its pid."""
    wait_until(lambda: client.scheduler_info()["tasks"]["memory"] >= after, "it works")
    worker: dict[str, Any] = client.scheduler_info()["workers"][sorted(client.ncores())[0]]
    os.kill(worker["pid"], signal.SIGKILL)
    return int(worker["pid"])


def test_a_thousand_tasks_survive_the_death_of_a_worker(processes: Processes) -> None:
    with Client(start(processes)) as client:
        futures = client.map(nap, range(COUNT))
        pid = kill_one(client, after=20)
        assert client.gather(futures) == list(range(COUNT))
        wait_until(lambda: len(client.ncores()) == 2, "another one is started")
        assert pid not in [worker["pid"] for worker in client.scheduler_info()["workers"].values()]


def test_data_on_its_way_from_a_dead_worker_is_computed_again(processes: Processes) -> None:
    with Client(start(processes)) as client:
        level = client.map(nap, range(512))
        while len(level) > 1:
            level = [client.submit(add, left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
        kill_one(client, after=5)
        assert level[0].result() == 512 * 511 // 2
