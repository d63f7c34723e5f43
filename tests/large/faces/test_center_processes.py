"""dcenter, dworker and Pool as processes: joining, leaving, dying."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Any

import pytest

from distributed import Pool, get_worker
from distributed.testing.processes import Processes, Started

Town = tuple[Processes, Started, str, dict[str, Started]]


def slow_place(number: int, folder: str) -> tuple[int, str]:
    """Takes 20 ms, leaves a trace; which worker ran it."""
    with open(os.path.join(folder, "ran"), "ab") as file:
        file.write(b".")
    time.sleep(0.02)
    return number, str(get_worker().name)


@pytest.fixture
def town(processes: Processes) -> Town:
    """A center at any port and two workers with two threads each, without nannies."""
    center = processes.python("-m", "distributed.cli.dcenter", "127.0.0.1:0")
    address = center.wait_said(r"center at tcp://(127\.0\.0\.1:\d+)")[1]
    workers = {name: processes.dworker(f"{address} --no-nanny --nthreads 2 --name {name}") for name in ("one", "two")}
    for worker in workers.values():
        worker.wait_said("registered with")
    return processes, center, address, workers


def places(pool: Pool, count: int, folder: Any) -> Counter[str]:
    results = pool.gather(pool.map(slow_place, range(count), folder=str(folder)))
    assert [number for number, _ in results] == list(range(count))
    return Counter(place for _, place in results)


def test_workers_join_and_leave_a_center(town: Town) -> None:
    """P17: dcenter takes its place from its argument; a dworker that gets SIGTERM unregisters; both end in order."""
    processes, center, address, workers = town
    with Pool(address) as pool:
        assert sorted(pool.ncores.values()) == [2, 2]
        assert set(places(pool, 20, processes.folder)) == {"one", "two"}
        assert workers["two"].end(signal.SIGTERM) == 0
        center.wait_said(r"worker tcp://\S+ left: SIGTERM")
        pool.sync_center()
        assert list(pool.ncores.values()) == [2] and list(pool.has_what) == list(pool.ncores)
    assert center.end(signal.SIGTERM) == 0
    assert workers["one"].wait() == 0
    assert "Traceback" not in center.said() + workers["one"].said() + workers["two"].said()
    processes.wait_nothing_left()


def test_a_worker_that_left_is_not_used(town: Town) -> None:
    """P13: whoever left before the map gets nothing of it, and what it held is told as gone."""
    processes, _, address, workers = town
    with Pool(address) as pool:
        before = pool.map(slow_place, range(8), folder=str(processes.folder))
        workers["one"].end(signal.SIGTERM)
        assert set(places(pool, 8, processes.folder)) == {"two"}
        assert list(pool.ncores.values()) == [2]
        assert sorted(pool.gather(before)) == sorted(entry.get() for entry in before)


def test_a_map_outlives_a_worker_that_is_killed(town: Town) -> None:
    """P12: kill -9 in the middle of a map: all results still come, in order."""
    processes, center, address, workers = town
    ran = processes.folder / "ran"

    with Pool(address) as pool:
        victim = workers["one"]
        killer = processes.python(
            "-c",
            "import os, sys, time\n"
            "while not os.path.exists(sys.argv[1]) or os.path.getsize(sys.argv[1]) < 20: time.sleep(0.005)\n"
            "os.kill(int(sys.argv[2]), 9)\n",
            str(ran),
            str(victim.pid),
        )
        found = places(pool, 120, processes.folder)
        assert killer.wait() == 0 and victim.wait() == -signal.SIGKILL
        assert found["two"] >= 60 and sum(found.values()) == 120
        assert ran.stat().st_size >= 120
        pool.sync_center()
        assert len(pool.ncores) == 1
    center.wait_said(r"worker tcp://\S+ left")
