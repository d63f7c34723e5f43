"""Cells of the pull recipe. With ``--beside`` (see `cells.main`) the same function measures what it is compared with.

Timed is what its user sees: the worker program, from its start to its end. The master runs before.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sides import Plan, Sample, Side, check, rates

__all__ = ["pull_large", "pull_small"]

PROCESSES = 2
SMALL_COUNT, SMALL_NBYTES = 20_000, 1_000
LARGE_COUNT, LARGE_NBYTES = 4, 500_000_000
LIMIT_S = 120.0


def pull_small(side: Side, plan: Plan) -> Sample:
    """20,000 small files; beside: the first version's shape, a request for each file and a new connection for each
    request; files/s."""

    def run(count: int) -> float:
        content = os.urandom(SMALL_NBYTES)
        with tempfile.TemporaryDirectory(prefix="home-") as name:
            for number in range(count):
                folder = Path(name) / f"{number // 1_000}"
                folder.mkdir(exist_ok=True)
                (folder / str(number)).write_bytes(content + str(number).encode())
            return _timed(Path(name), count, _first_shape if _is_beside() else _workers)

    return rates(run, SMALL_COUNT, 1_000 if _is_beside() else 5_000, plan)


def pull_large(side: Side, plan: Plan) -> Sample:
    """2 GB in four files; beside: two `curl | sha1sum` in parallel against the same master; GB/s."""
    nbytes = LARGE_NBYTES // (10 if plan.is_quick else 1)
    with tempfile.TemporaryDirectory(prefix="home-") as name:
        block = os.urandom(nbytes // 20)
        for number in range(LARGE_COUNT):
            with open(Path(name) / str(number), "wb") as file:
                for _ in range(20):
                    file.write(block)
        run = _curls if _is_beside() else _workers
        _timed(Path(name), LARGE_COUNT, run)  # warms up
        gigabytes = LARGE_COUNT * nbytes / 1e9
        samples = [gigabytes / _timed(Path(name), LARGE_COUNT, run) for _ in range(2 if plan.is_quick else 5)]
    return Sample(sorted(samples)[len(samples) // 2], samples, LARGE_COUNT, LARGE_COUNT)


def _timed(home: Path, count: int, run: Callable[[int], int]) -> float:
    """Seconds for all files of a folder, each done once."""
    with _master(home) as port:
        began = time.perf_counter()
        done = run(port)
        seconds = time.perf_counter() - began
    check(done, count)
    return seconds


@contextmanager
def _master(home: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "distributed.pull.master", "--home", str(home), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if " at http" in line)
            yield int(line.strip().rpartition(":")[2])
        finally:
            process.terminate()


def _workers(port: int) -> int:
    """Our worker program; how many files have their digest."""
    options = ["--processes", str(PROCESSES), "--master", f"127.0.0.1:{port}"]
    subprocess.run([sys.executable, "-m", "distributed.pull.worker", *options], check=True, stdout=sys.stderr)
    return _finished(port)


def _first_shape(port: int) -> int:
    """Workers as the first version had them: synchronous, a new connection for each request, all of one name."""
    code = f"import recipe_cells; recipe_cells.pull_one_by_one({port})"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(PROCESSES)]
    for process in processes:
        check(process.wait(LIMIT_S), 0)
    return _finished(port)


def pull_one_by_one(port: int) -> None:
    """One such worker, until nothing is left."""
    from http.client import HTTPConnection
    from urllib.parse import urlencode

    from distributed.web.connecting import headers

    named = {**headers(), "X-DISTRIBUTED-WORKER-NAME": "worker"}

    def ask(method: str, path: str, body: str | None = None) -> tuple[int, str, bytes]:
        connection = HTTPConnection("127.0.0.1", port)
        more = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body, {**named, **more})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers.get("X-DISTRIBUTED-FILE-PATH", ""), content

    ask("POST", "/worker_register")
    while True:
        status, path, content = ask("GET", "/get_file")
        if status == 200:
            ask(
                "PUT",
                "/update_file_hash",
                urlencode({"file_path": path, "file_hash": hashlib.sha1(content).hexdigest()}),
            )
        elif status == 202:
            time.sleep(0.05)  # not the 4 s of the first version, which would only be counted against it
        else:
            return


def _curls(port: int) -> int:
    """Two pipelines of `curl | sha1sum`, each for its half of the files; how many digests came out."""
    from distributed.web.connecting import headers

    with tempfile.NamedTemporaryFile("w", suffix=".headers") as file:
        file.writelines(f"{name}: {value}\n" for name, value in headers().items())
        file.write("X-DISTRIBUTED-WORKER-NAME: curl\n")
        file.flush()
        curl = f"curl -sSf -H @{file.name}"
        url = f"http://127.0.0.1:{port}"
        subprocess.run(f"{curl} -X POST {url}/worker_register", shell=True, check=True, stdout=subprocess.DEVNULL)
        command = f"for i in {' '.join(map(str, range(LARGE_COUNT // 2)))}; do {curl} {url}/get_file | sha1sum; done"
        pipelines = [subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) for _ in range(2)]
        return sum(len(pipeline.communicate(timeout=LIMIT_S)[0].splitlines()) for pipeline in pipelines)


def _finished(port: int) -> int:
    import json
    from urllib.request import Request, urlopen

    from distributed.web.connecting import headers

    with urlopen(Request(f"http://127.0.0.1:{port}/home_status", headers=headers())) as answer:
        return int(json.load(answer)["state"]["finished"])


def _is_beside() -> bool:
    return "BENCHMARK_BESIDE" in os.environ
