"""How each cell of `catalogue` is measured: one function a cell, the same code for both sides.

Timed is only what the row's name says: warm-up, waiting for workers, releasing futures and closing are not.
MB and GB are powers of ten. Bandwidths count the bytes moved both ways.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import operator
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from actor_cells import actor, actor_calls
from center_cells import center_pool
from crews_cells import crew_again, crew_edited, crew_first, crew_sixteen
from data_cells import held_task, many_args, peer_transfer, result_bandwidth, scatter_1x256MB, scatter_100x1MB
from deaths import worker_death
from decorator_cells import decorated_calls, decorated_first, decorated_start
from locality_cells import second_map
from manager_cells import manager_messages, manager_round_trip, manager_slices
from multiprocessing_cells import pool_apply, pool_imap, pool_map_10k, pool_map_million
from nested import nested
from people_cells import cancel_forced, cancel_running, executor_map, executor_submit, printing
from recipe_cells import pull_large, pull_small
from rooms_cells import room_calls, room_open
from shipping_cells import lay_out_1k, ship_edited, ship_edited_nbytes, ship_first, ship_unchanged
from sides import (
    Plan,
    Sample,
    Side,
    check,
    cluster,
    end_with_parent,
    fresh_environment,
    rates,
    server,
    settle,
)
from workload import inc, same
from workspace_cells import workspace_changed, workspace_first, workspace_rescan

__all__ = ["main"]

MB = 1_000_000
GB = 1_000_000_000
Result = TypeVar("Result")
FIRST = 200  # tasks of a first, small run: about 0.5 s for the slower side
PACKAGES = ("distributed", "dask", "tornado", "msgpack", "cloudpickle", "numpy", "psutil", "uvloop", "bokeh")


# ---------------------------------------------------------------- rpc


def rpc_latency(side: Side, plan: Plan) -> Sample:
    """Calls one after the other, each awaited; us."""

    async def measure(remote: Any) -> list[float]:
        times: list[float] = []
        until = time.perf_counter() + plan.box_s / 2
        while len(times) < 5_000 and time.perf_counter() < until:
            began = time.perf_counter()
            result = await remote.add(x=len(times), y=1)
            times.append(time.perf_counter() - began)
            check(result, len(times))
        return times

    times = _with_server(side, plan, measure)[100:]  # the first hundred warm up
    return Sample(median(times) * 1e6, [second * 1e6 for second in _percentiles(times)], len(times), 4_900)


def rpc_in_flight(side: Side, plan: Plan) -> Sample:
    """A hundred callers, each awaiting its own calls one after the other, on one `rpc`."""

    async def measure(remote: Any) -> Sample:
        async def caller(count: int) -> None:
            for number in range(count):
                check(await remote.add(x=number, y=1), number + 1)

        async def run(count: int) -> float:
            began = time.perf_counter()
            await asyncio.gather(*(caller(count // 100) for _ in range(100)))
            return time.perf_counter() - began

        await run(1_000)
        per_second = 1_000 / await run(1_000)
        count = min(50_000, max(1_000, int(per_second * plan.box_s / 3) // 100 * 100))
        samples = [count / await run(count) for _ in range(3)]
        return Sample(median(samples), samples, count, 50_000)

    return _with_server(side, plan, measure)


def _rpc_echo(side: Side, plan: Plan, nbytes: int, passes_max: int) -> Sample:
    import numpy  # here only: as in _scatter

    payload = numpy.frombuffer(os.urandom(nbytes), dtype="u1")

    async def measure(remote: Any) -> list[float]:
        times: list[float] = []
        until = time.perf_counter() + plan.box_s
        while len(times) < passes_max + 2 and (len(times) < 4 or time.perf_counter() < until):
            began = time.perf_counter()
            reply = side.unwrap((await remote.echo(data=side.wrap(payload)))["data"])
            times.append(time.perf_counter() - began)
            check(reply[-64:].tobytes() == payload[-64:].tobytes() and len(reply) == nbytes, True)
        check(bool((reply == payload).all()), True)
        return times[2:]

    times = _with_server(side, plan, measure)
    return Sample(
        2 * nbytes / median(times) / GB, [2 * nbytes / t / GB for t in _percentiles(times)], len(times), passes_max
    )


def rpc_echo_1MB(side: Side, plan: Plan) -> Sample:
    """A dict with a numpy array of 1 MB there and back."""
    return _rpc_echo(side, plan, 1 * MB, 500)


def rpc_echo_64MB(side: Side, plan: Plan) -> Sample:
    """A dict with a numpy array of 64 MB there and back."""
    return _rpc_echo(side, plan, 64 * MB, 20)


def tls_echo_64M(side: Side, plan: Plan) -> Sample:
    """`rpc_echo_64MB`, encrypted for one side, see `catalogue`."""
    return _rpc_echo(side, plan, 64 * MB, 20)


def _with_server(side: Side, plan: Plan, measure: Callable[[Any], Awaitable[Result]]) -> Result:
    async def run(address: str) -> Result:
        async with side.rpc(address) as remote:
            return await measure(remote)

    with server(plan) as address:
        return asyncio.run(run(address))


# ---------------------------------------------------------------- start


def start(side: Side, plan: Plan) -> Sample:
    """LocalCluster, Client and one result, once, in a process that has imported the package."""
    began = time.perf_counter()
    with side.local_client() as client:
        check(client.submit(inc, 1, pure=False).result(), 2)
        seconds = time.perf_counter() - began
    return Sample(seconds, [seconds], 1, 1)


def start_from_nothing(side: Side, plan: Plan) -> Sample:
    """From the start of an interpreter to the first result printed by a whole program."""
    script = Path(__file__).with_name("first_result.py")
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        command = [sys.executable, str(script), json.dumps(side.local_cluster_keywords)]
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=folder, env=fresh_environment()
        ) as process:
            assert process.stdout is not None
            check(process.stdout.readline().strip(), b"2")
            seconds = time.perf_counter() - began
    return Sample(seconds, [seconds], 1, 1)


def import_client(side: Side, plan: Plan) -> Sample:
    """The import statement in a fresh interpreter; a first one fills the file caches."""
    code = "import time; t = time.perf_counter(); from distributed import Client; print(time.perf_counter() - t)"
    with tempfile.TemporaryDirectory(prefix="c") as folder:  # `-c` imports from the current folder first: an empty one
        output = [
            subprocess.check_output([sys.executable, "-c", code], cwd=folder, env=fresh_environment()) for _ in range(2)
        ]
    seconds = float(output[-1])
    return Sample(seconds, [seconds], 1, 1)


# ---------------------------------------------------------------- tasks


def latency(side: Side, plan: Plan) -> Sample:
    """One no-op submitted and its result awaited, one after the other; us."""
    with cluster(side) as client:
        times: list[float] = []
        until = time.perf_counter() + plan.box_s
        while len(times) < 1_050 and time.perf_counter() < until:
            number = len(times)
            began = time.perf_counter()
            result = client.submit(same, number, pure=False).result()
            times.append(time.perf_counter() - began)
            check(result, number)
    times = times[50:]
    return Sample(median(times) * 1e6, [second * 1e6 for second in _percentiles(times)], len(times), 1_000)


def _map(side: Side, plan: Plan, nominal: int) -> Sample:
    with cluster(side) as client:

        def run(count: int) -> float:
            began = time.perf_counter()
            futures = client.map(same, range(count), pure=False)
            results = client.gather(futures)
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            del futures
            settle(client, same)
            return seconds

        return rates(run, nominal, FIRST, plan)


def map_10k(side: Side, plan: Plan) -> Sample:
    """One map, one gather."""
    return _map(side, plan, 10_000)


def map_100k(side: Side, plan: Plan) -> Sample:
    """One map, one gather."""
    return _map(side, plan, 100_000)


def million(side: Side, plan: Plan) -> Sample:
    """One map and one gather of a million on a local cluster, once, if it takes less than a minute; else fewer."""
    with side.local_client() as client:

        def run(count: int) -> float:
            began = time.perf_counter()
            futures = client.map(same, range(count), pure=False)
            results = client.gather(futures)
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            return seconds

        run(FIRST)
        probe = 2_000 if plan.is_quick else 5_000
        per_second = probe / run(probe)
        nominal = 100_000 if plan.is_quick else 1_000_000
        count = nominal if nominal < per_second * 60 else int(per_second * plan.box_s)
        seconds = run(count)
    return Sample(count / seconds, [count / seconds], count, nominal)


def tls_noop_map(side: Side, plan: Plan) -> Sample:
    """`map_100k`, encrypted for one side, see `catalogue`."""
    return _map(side, plan, 100_000)


def submit_10k(side: Side, plan: Plan) -> Sample:
    """A submit per task, one gather."""
    with cluster(side) as client:

        def run(count: int) -> float:
            began = time.perf_counter()
            futures = [client.submit(same, number, pure=False) for number in range(count)]
            results = client.gather(futures)
            seconds = time.perf_counter() - began
            check(results == list(range(count)), True)
            del futures
            settle(client, same)
            return seconds

        return rates(run, 10_000, FIRST, plan)


def tree_16k(side: Side, plan: Plan) -> Sample:
    """Leaves and pairwise sums by a submit each, with futures as arguments; tasks/s over leaves and sums."""
    with cluster(side) as client:

        def run(count: int) -> float:
            began = time.perf_counter()
            level = [client.submit(same, number, pure=False) for number in range((count + 1) // 2)]
            leaves = len(level)
            while len(level) > 1:
                pairs = zip(level[::2], level[1::2], strict=True)
                level = [client.submit(operator.add, left, right, pure=False) for left, right in pairs]
            result = level[0].result()
            seconds = time.perf_counter() - began
            check(result, leaves * (leaves - 1) // 2)
            del level
            settle(client, same)
            return seconds

        return rates(run, 2 * 16_384 - 1, 255, plan, fit=_full_tree)


def chain(side: Side, plan: Plan) -> Sample:
    """Tasks each of which needs the one before, all submitted at once; us per step."""
    with cluster(side) as client:

        def run(count: int) -> float:
            began = time.perf_counter()
            links = [client.submit(inc, 0, pure=False)]
            for _ in range(count - 1):
                links.append(client.submit(inc, links[-1], pure=False))
            result = links[-1].result()
            seconds = time.perf_counter() - began
            check(result, count)
            del links
            settle(client, inc)
            return seconds

        sample = rates(run, 2_000, 100, plan)
    return Sample(1e6 / sample.value, [1e6 / rate for rate in sample.samples], sample.count, sample.nominal)


def fanout(side: Side, plan: Plan) -> Sample:
    """Many pipelines of three steps beside each other, and one sum over all; tasks/s."""
    with cluster(side) as client:

        def run(count: int) -> float:
            width = count // 3
            began = time.perf_counter()
            first = [client.submit(same, number, pure=False) for number in range(width)]
            second = [client.submit(inc, future, pure=False) for future in first]
            third = [client.submit(inc, future, pure=False) for future in second]
            result = client.submit(sum, third, pure=False).result()
            seconds = time.perf_counter() - began
            check(result, width * (width - 1) // 2 + 2 * width)
            del first, second, third
            settle(client, same)
            return seconds

        return rates(run, 15_000, 300, plan)


def _full_tree(count: int) -> int:
    """Tasks of the largest binary tree with all leaves on one level that has at most `count`."""
    return (1 << (count + 1).bit_length() - 1) - 1


# ---------------------------------------------------------------- the script


def versions(side: Side) -> dict[str, Any]:
    """What runs here, for the record; and that it is the package of this interpreter's virtual environment."""
    where = Path(str(sys.modules["distributed.core"].__file__))
    if not where.is_relative_to(sys.prefix):
        raise RuntimeError(f"{side.name}: distributed is imported from {where}, not from {sys.prefix}")
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


MEASURES: dict[str, Callable[[Side, Plan], Sample]] = {
    measure.__name__: measure
    for measure in (
        rpc_latency,
        rpc_in_flight,
        rpc_echo_1MB,
        rpc_echo_64MB,
        tls_echo_64M,
        tls_noop_map,
        start,
        decorated_calls,
        decorated_first,
        decorated_start,
        start_from_nothing,
        import_client,
        latency,
        map_10k,
        map_100k,
        million,
        submit_10k,
        tree_16k,
        chain,
        fanout,
        scatter_100x1MB,
        scatter_1x256MB,
        worker_death,
        nested,
        result_bandwidth,
        peer_transfer,
        many_args,
        held_task,
        actor,
        actor_calls,
        center_pool,
        executor_map,
        executor_submit,
        cancel_running,
        cancel_forced,
        printing,
        second_map,
        pool_apply,
        pool_imap,
        pool_map_10k,
        pool_map_million,
        manager_slices,
        manager_messages,
        manager_round_trip,
        pull_large,
        crew_first,
        crew_again,
        crew_edited,
        crew_sixteen,
        ship_first,
        ship_unchanged,
        ship_edited,
        ship_edited_nbytes,
        lay_out_1k,
        pull_small,
        room_calls,
        room_open,
        workspace_changed,
        workspace_first,
        workspace_rescan,
    )
}


def main(side: Side, script: str) -> None:
    """Measure the cell named on the command line and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cell", choices=[*MEASURES, "versions", "serve"])
    parser.add_argument("--box", type=float, default=10.0, help="seconds for the timed runs")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--watch-stdin", action="store_true", help="end this process group when stdin is closed")
    parser.add_argument("--tls", action="store_true", help="ours only: everything encrypted")
    parser.add_argument("--beside", action="store_true", help="measure what the cell's function compares ours with")
    options = parser.parse_args()
    if options.beside:
        os.environ["BENCHMARK_BESIDE"] = "1"
    if options.cell.startswith("tls_"):  # TCP on both sides: one machine's shorter ways are not what is compared
        os.environ["DISTRIBUTED_SAME_HOST"] = "off"
    if options.tls:
        os.environ["BENCHMARK_TLS"] = "1"  # for the processes that are started too
    if options.watch_stdin:
        end_with_parent()
    if options.cell == "serve":
        asyncio.run(side.serve())
    elif options.cell == "versions":
        print(json.dumps(versions(side)), flush=True)
    else:
        plan = Plan(options.box, options.quick, os.path.abspath(script))
        print(json.dumps(asdict(MEASURES[options.cell](side, plan))), flush=True)


def _percentiles(times: list[float]) -> list[float]:
    """Five of many, from the least to the greatest: enough for the record."""
    ordered = sorted(times)
    return [ordered[round(part * (len(ordered) - 1))] for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
