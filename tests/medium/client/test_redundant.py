"""Calls that take long are tried a second time where a thread idles, on real workers."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from distributed import Client
from distributed.errors import BadRequestError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.worker.server import Worker

PATIENCE_S = 30.0

_calls: Counter[tuple[str, int]] = Counter()
_stopped: dict[tuple[str, int], threading.Semaphore] = {}


def slow_at_first(run: str, number: int) -> int:
    """The first call of number 7 and all calls of number 9 do not get on; in Python, so they can be stopped."""
    _calls[run, number] += 1
    if number == 9 or (number == 7 and _calls[run, number] == 1):
        deadline = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < deadline:
                time.sleep(0.001)
        finally:
            _stopped[run, number].release()
    return number * number


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)] * 2)
async def test_p10_the_end_of_a_map_does_not_wait_for_one_slow_machine(
    client: Client, scheduler: Scheduler, one: Worker, other: Worker
) -> None:
    """P10: stealing + redundant end-game"""
    ended = _stopped["map", 7] = threading.Semaphore(0)
    began = time.monotonic()
    results = await client.gather(client.map(slow_at_first, ["map"] * 8, range(8), redundant=True))
    assert results == [number * number for number in range(8)]
    assert time.monotonic() - began < PATIENCE_S
    assert _calls["map", 7] == 2
    await until(lambda: ended.acquire(blocking=False))  # the first attempt was interrupted
    await until(lambda: not any(worker.ntaken for worker in scheduler.machine.state.workers.values()))


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)] * 2)
async def test_a_cancel_stops_both_attempts(client: Client, scheduler: Scheduler, one: Worker, other: Worker) -> None:
    ended = _stopped["cancel", 9] = threading.Semaphore(0)
    await client.gather(client.map(slow_at_first, ["cancel"] * 4, range(4), redundant=True))
    future = client.submit(slow_at_first, "cancel", 9, redundant=True)
    await until(lambda: _calls["cancel", 9] == 2)
    assert scheduler.machine.state.seconds
    await future.cancel()
    await until(lambda: ended.acquire(blocking=False))
    await until(lambda: ended.acquire(blocking=False))
    await until(lambda: not any(worker.ntaken for worker in scheduler.machine.state.workers.values()))


@gen_cluster(client=True)
async def test_only_true_and_false_are_understood_and_no_actors(
    client: Client, scheduler: Scheduler, one: Worker, other: Worker
) -> None:
    with pytest.raises(BadRequestError, match="redundant=1"):
        client.submit(pow, 2, 2, redundant=1)  # type: ignore[arg-type]
    with pytest.raises(BadRequestError, match="actors"):
        client.submit(pow, 2, 2, redundant=True, actor=True)
