"""Cells of rooms: how soon one is there, and what each call costs in it. With ``--beside`` (see `cells.main`) the same
of a plain worker, forked by the same zygote for the same scheduler."""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from sides import Plan, Sample, Side, check, rates, settle
from workload import same

__all__ = ["room_calls", "room_open"]

FOLDER = str(Path(__file__).parent)  # the workspace: it has the functions that are called


def room_open(side: Side, plan: Plan) -> Sample:
    """From the order until the scheduler has accepted it, the zygote being there; milliseconds."""
    with _house() as house:
        samples: list[float] = []
        for number in range(12 if plan.is_quick else 40):
            began = time.perf_counter()
            end = _open(house, f"w{number}", 1)
            samples.append(1000 * (time.perf_counter() - began))
            end()
    del samples[:2]  # the zygote may still be importing
    return Sample(median(samples), samples, len(samples), len(samples))


def room_calls(side: Side, plan: Plan) -> Sample:
    """A map of 10,000 no-ops with two threads, function by reference; tasks/s."""
    references = importlib.import_module("distributed.rooms.references")
    with _house() as house:
        _open(house, "w", 2)
        function = references.Reference("workload", "same")

        def run(count: int) -> float:
            began = time.perf_counter()
            results = house.client.gather(house.client.map(function, range(count), pure=False))
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            settle(house.client, same)
            return seconds

        return rates(run, 10_000, 200, plan)


@contextmanager
def _house() -> Iterator[Any]:
    rooms = importlib.import_module("distributed.testing.rooms")
    keys = importlib.import_module("distributed.security.keys").keyring()
    with tempfile.TemporaryDirectory(prefix="c") as folder, rooms.House(Path(folder), keys) as house:
        yield house


def _open(house: Any, name: str, nthreads: int) -> Any:
    """A room, or a plain worker; what ends it."""
    if "BENCHMARK_BESIDE" in os.environ:
        nanny = house.open_worker(name, nthreads)
        return lambda: house.run(nanny.close())
    room = house.open(name, FOLDER, entry="workload", nthreads=nthreads)
    return lambda: house.run(room.close())
