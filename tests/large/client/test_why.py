"""Why tasks wait that wait for others while they run: at a lock, or for tasks of their own."""

from __future__ import annotations

import time
from typing import Any

from distributed import Client, LocalCluster, Lock, get_client

PATIENCE_S = 20.0


def guarded(name: str) -> str:
    """Waits at the lock that the test holds."""
    with Lock(name):
        return name


def child() -> int:
    """Runs until the test cancels it."""
    time.sleep(60)
    return 1


def parent() -> Any:
    """Waits for a task of its own."""
    return get_client().submit(child, key="child").result()


def reason_within(client: Client, key: str, reason: str) -> Any:
    """The sentence on `key` as soon as it has this reason, or the last one."""
    end = time.monotonic() + PATIENCE_S
    while (answer := client.why(key)).reason != reason and time.monotonic() < end:
        time.sleep(0.05)
    return answer


def test_a_task_that_waits_while_it_runs_is_explained() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=2, log_level="ERROR") as cluster, Client(cluster) as client:
        lock = Lock("shared", client)
        lock.acquire()
        future = client.submit(guarded, "shared", key="guarded")
        answer = reason_within(client, "guarded", "coordination")
        assert (answer.reason, answer.blockers) == ("coordination", [client.id])
        assert "task guarded has waited for" in answer and f"at lock 'shared': {client.id} has held it for" in answer
        lock.release()
        assert future.result() == "shared"
        above = client.submit(parent, key="parent")
        answer = reason_within(client, "parent", "lent")
        assert answer.reason == "lent" and "waits there, for other tasks or outside; its slot is lent" in answer
        assert reason_within(client, "child", "running").reason == "running"
        client.cancel(above, force=True)
