"""The cell of a worker's death: what ``kill -9`` of one of two workers costs beyond the work that is lost with it.

The same map runs twice, the second time with a kill soon after its start, so that hardly any result is lost. The extra
seconds hold all of it: that the loss is noticed, that what was queued there runs elsewhere, that half of the threads
are missing until a new worker has come. Timed is what a user sees, from map to gather, and every result is checked.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from sides import Plan, Sample, Side, cluster
from workload import nap

__all__ = ["worker_death"]

NAP_S = 0.005
KILL_AFTER_S = 0.1


def worker_death(side: Side, plan: Plan) -> Sample:
    """Extra seconds of a map of 1,000 tasks of 5 ms (2.5 s of work for two threads) when one worker is killed."""
    count = 200 if plan.is_quick else 1_000
    with cluster(side) as client:
        _run(client, 100)
        undisturbed_s = min(_run(client, count) for _ in range(1 if plan.is_quick else 2))
        victim = sorted(side.worker_pids(client))[0]
        killer = threading.Timer(KILL_AFTER_S, os.kill, (victim, signal.SIGKILL))
        killer.start()
        disturbed_s = _run(client, count)
        killer.join()
        if victim in side.worker_pids(client):
            raise RuntimeError("the worker outlived its kill")
    extra_s = max(disturbed_s - undisturbed_s, 0.001)
    return Sample(extra_s, [undisturbed_s, disturbed_s], count, 1_000)


def _run(client: Any, count: int) -> float:
    began = time.perf_counter()
    futures = client.map(nap, range(count), seconds=NAP_S, pure=False)
    results = client.gather(futures)
    seconds = time.perf_counter() - began
    if results != list(range(count)):
        raise RuntimeError("wrong results")
    del futures
    time.sleep(0.5)  # releases belong to no timed run
    return seconds
