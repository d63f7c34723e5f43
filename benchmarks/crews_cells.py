"""Cells of crews, with a project of 1,000 files. With ``--beside`` (see `cells.main`) each is the figure to reach.

The offer runs already, in a process of its own with an empty store.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from sides import Plan, Sample, Side, check

__all__ = ["crew_again", "crew_edited", "crew_first", "crew_sixteen"]

FILES, FOLDERS = 1_000, 40
SOURCE = b"def value():\n    return 1\n" * 20
TIMEOUT_S = 30.0
LENT_MIB, TURNS = 240, 16  # eight rooms or so


def crew_first(side: Side, plan: Plan) -> Sample:
    """From the first call of a program to its result; the offer has none of its 1,000 files; beside: 1,000 ms."""
    if _is_beside():
        return _one(1000.0)
    samples = []
    for _ in range(2 if plan.is_quick else 5):
        with _project() as open_main:
            samples.append(_timed_ms(open_main))
    return _sample(samples)


def crew_again(side: Side, plan: Plan) -> Sample:
    """What 1,000 files that the offer has add to the first call: its scan, and asking; beside: 30 ms."""
    if _is_beside():
        return _one(30.0)
    links, crew_files = importlib.import_module("distributed.crews.links"), importlib.import_module(
        "distributed.crews.project"
    )  # fmt: skip
    seconds: list[float] = []
    plain_ship, plain_scan = links.OfferLink.ship, crew_files.Project.scan

    async def ship(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        shipped = await plain_ship(*args, **kwargs)
        seconds.append(time.perf_counter() - began)
        if len(seconds) > 2:
            check(shipped.blob_nbytes, 0)
        return shipped

    def scan(project: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain_scan(project)
        finally:
            seconds.append(time.perf_counter() - began)

    links.OfferLink.ship, crew_files.Project.scan = ship, scan
    samples = []
    with _project() as open_main:
        for number in range(3 if plan.is_quick else 8):
            time.sleep(0.05)  # files that were changed a moment ago are read once more
            open_main().close()
            if number > 1:
                samples.append(1000 * sum(seconds[-2:]))
    return _sample(samples)


def crew_edited(side: Side, plan: Plan) -> Sample:
    """From an edit of one of 1,000 files to the result of a call that runs the new code; beside: 300 ms."""
    if _is_beside():
        return _one(300.0)
    samples = []
    with _project() as open_main:
        main = open_main()
        module: Any = sys.modules["edited_module"]
        path = Path(module.__file__)
        for number in range(2, 8 if plan.is_quick else 22):
            path.write_text(f"NUMBER = {number}\ndef number():\n    return NUMBER\n")
            began = time.perf_counter()
            check(main.submit(module.number).result(TIMEOUT_S), number)
            samples.append((time.perf_counter() - began) * 1000)
    return _sample(samples)


def crew_sixteen(side: Side, plan: Plan) -> Sample:
    """Most memory that rooms take while 16 workspaces are used in turn, all Mains staying; beside: what is lent."""
    if _is_beside():
        return _one(float(LENT_MIB))
    samples = []
    with _project(files=20, memory_nbytes=LENT_MIB * 2**20) as open_main:
        for number in range(1, TURNS + 1):
            main = open_main(number)
            samples.append(asyncio.run(_taken_mib(main.lent_by)))
    return Sample(max(samples), samples, TURNS, TURNS)


async def _taken_mib(offer: str) -> float:
    async with importlib.import_module("distributed.calls").rpc(offer) as remote:
        return float((await remote.call("offer_status"))["taken_nbytes"] / 2**20)


@contextmanager
def _project(files: int = FILES, memory_nbytes: int | None = None) -> Iterator[Callable[..., Any]]:
    """What opens a Main of a project of 1,000 files, until its first result is there; all are closed in the end."""
    importing = importlib.import_module
    local, keys = importing("distributed.offers.local"), importing("distributed.security.keys")
    with tempfile.TemporaryDirectory(prefix="crews-") as name:
        root = Path(name) / "project"
        for number in range(files - 1):
            folder = root / f"package{number % FOLDERS}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"module{number}.py").write_bytes(SOURCE + b"# %d\n" % number)
        (root / "edited_module.py").write_text("NUMBER = 1\ndef number():\n    return NUMBER\n")
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        sys.path.insert(0, str(root))
        module: Any = importing("edited_module")
        offer = local.LocalOffer(keys.keyring(), cores=1, store=f"{name}/store", memory_nbytes=memory_nbytes)
        mains: list[Any] = []
        options = importing("distributed.crews.options").MainSettings(root=str(root), workers=(offer.address(),))

        def open_main(number: int = 1) -> Any:
            if number > 1:
                Path(module.__file__).write_text(f"NUMBER = {number}\ndef number():\n    return NUMBER\n")
            main = importing("distributed.crews.main").Main(options)
            mains.append(main)
            main.lent_by = offer.address()
            check(main.submit(module.number).result(TIMEOUT_S), number)
            return main

        try:
            yield open_main
        finally:
            for main in mains:
                main.close()
            offer.close()
            sys.path.remove(str(root))
            del sys.modules["edited_module"]


def _timed_ms(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1000


def _one(value: float) -> Sample:
    return Sample(value, [value], 1, 1)


def _sample(samples: list[float]) -> Sample:
    return Sample(median(samples), samples, len(samples), len(samples))


def _is_beside() -> bool:
    return "BENCHMARK_BESIDE" in os.environ
