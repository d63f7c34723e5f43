"""Programs written for `concurrent.futures` run on our Executor as they are, with a cluster of its own.

With the path of the standard library's manual page (``Doc/library/concurrent.futures.rst`` of CPython) in
``CPYTHON_FUTURES_PAGE`` the examples of that page are run too, as they stand there.
"""

from __future__ import annotations

import http.server
import itertools
import os
import re
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed.testing.processes import Processes

STRICT = ("-X", "dev", "-W", "error")
RUNNER = """
import concurrent.futures, runpy, sys, types
from distributed import Executor, LocalCluster
class Small(Executor):  # two processes, whatever the program asks for: this machine is small
    def __init__(self, max_workers=None, **keywords):
        if max_workers is not None and max_workers < 1:
            raise ValueError("max_workers must be greater than 0")
        super().__init__(min(2, max_workers or 2), **keywords)
seen = types.ModuleType("concurrent.futures")  # what the program sees; the library itself needs threads of its own
seen.__dict__.update({name: getattr(concurrent.futures, name) for name in concurrent.futures.__all__})
seen.__all__ = concurrent.futures.__all__
seen.ThreadPoolExecutor = seen.ProcessPoolExecutor = Small
sys.modules["concurrent.futures"] = seen
sys.modules["concurrent"] = types.ModuleType("concurrent")
sys.modules["concurrent"].futures = seen
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever page a program asks for, also in worker processes, it gets one of 11 bytes; a subdomain fails."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_there = "subdomain" not in self.path
            self.send_response(200 if is_there else 502)
            self.end_headers()
            if is_there:
                self.wfile.write(b"hello there")

        def log_message(self, format: str, *args: object) -> None:
            self.close_connection = True

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def run(processes: Processes, folder: Path, program: str, *options: str) -> str:
    """What `program` prints when the standard library's executors are ours; nothing is left of it."""
    (folder / "runner.py").write_text(RUNNER)
    (folder / "program.py").write_text(program)
    started = processes.python(*options, str(folder / "runner.py"), str(folder / "program.py"))
    assert started.wait() == 0, started.said()
    processes.wait_nothing_left(2)
    return started.said()


def test_pages_are_fetched_in_any_order(internet: None, processes: Processes, tmp_path: Path) -> None:
    program = """
from concurrent.futures import as_completed
import concurrent.futures, urllib.request

def size_of(address, patience):
    with urllib.request.urlopen(address, timeout=patience) as page:
        return len(page.read())

addresses = [f"http://{name}.example/" for name in ("one", "two", "no-such-subdomain")]
with concurrent.futures.ThreadPoolExecutor(max_workers=3) as pool:
    address_of = {pool.submit(size_of, address, 30): address for address in addresses}
    lines = []
    for future in as_completed(address_of):
        try:
            lines.append(f"{address_of[future]}: {future.result()} bytes")
        except Exception as error:
            lines.append(f"{address_of[future]}: {'HTTP Error 502' in str(error)}")
print("; ".join(sorted(lines)))
"""
    said = run(processes, tmp_path, program)
    expected = "http://no-such-subdomain.example/: True; http://one.example/: 11 bytes; http://two.example/: 11 bytes"
    assert said.strip() == expected


def test_numbers_are_tested_in_order(processes: Processes, tmp_path: Path) -> None:
    program = """
import concurrent.futures

NUMBERS = [1_000_003, 1_000_033, 1_000_035, 97, 4]

def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))

def main():
    with concurrent.futures.ProcessPoolExecutor() as pool:
        for number, answer in zip(NUMBERS, pool.map(is_prime, NUMBERS, chunksize=2)):
            print(number, answer)

if __name__ == "__main__":
    main()
"""
    said = run(processes, tmp_path, program, *STRICT)
    assert said.split() == ["1000003", "True", "1000033", "True", "1000035", "False", "97", "True", "4", "False"]


def test_a_program_that_forgets_its_executor_ends_when_its_calls_have(processes: Processes, tmp_path: Path) -> None:
    program = f"""
import concurrent.futures, pathlib, time

def write(number):
    time.sleep(0.1)
    pathlib.Path({str(tmp_path)!r}, f"done-{{number}}").write_text("")

pool = concurrent.futures.ThreadPoolExecutor(2, initializer=print, initargs=("begun",))
futures = [pool.submit(write, number) for number in range(6)]
futures[0].add_done_callback(lambda future: print("called back"))
print("the end")
"""
    said = run(processes, tmp_path, program, *STRICT)
    assert said.startswith("the end") and "called back" in said
    assert sorted(path.name for path in tmp_path.glob("done-*")) == [f"done-{number}" for number in range(6)]


def test_results_outlive_the_executor_and_its_cluster(processes: Processes, tmp_path: Path) -> None:
    program = """
import concurrent.futures, os

with concurrent.futures.ThreadPoolExecutor(2) as pool:
    big = pool.submit(bytes, 2_000_000)
    squares = pool.map(pow, range(5), [2] * 5)
    pids = set(pool.map(lambda number: os.getpid(), range(20)))
print(len(big.result()), list(squares), os.getpid() not in pids)
try:
    pool.submit(pow, 2, 2)
except RuntimeError as error:
    print(error)
other = concurrent.futures.ThreadPoolExecutor(1)
future = other.submit(pow, 2, 5)
other.shutdown(wait=False)
print(future.result())
"""
    lines = run(processes, tmp_path, program, *STRICT).splitlines()
    assert lines[0] == "2000000 [0, 1, 4, 9, 16] True"
    assert "after shutdown" in lines[1] and lines[2] == "32"


def test_a_worker_process_that_dies_does_not_break_the_executor(processes: Processes, tmp_path: Path) -> None:
    program = """
import concurrent.futures, os, signal

def stumble(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"

with concurrent.futures.ProcessPoolExecutor(2) as pool:
    print(pool.submit(stumble, "PATH").result(), list(pool.map(abs, range(-3, 0))))
""".replace("PATH", str(tmp_path / "stumbled"))
    assert "done [3, 2, 1]" in run(processes, tmp_path, program)


def test_a_notebook_starts_clusters_while_its_loop_runs(processes: Processes, tmp_path: Path) -> None:
    program = """
import asyncio
from distributed import Client, Executor, LocalCluster

async def cell():
    with LocalCluster(n_workers=1) as cluster, Client(cluster) as client:
        print(client.submit(pow, 2, 3).result(), await client.submit(pow, 2, 4))
    with Executor(1) as executor:
        print(executor.submit(pow, 2, 5).result())
    async with LocalCluster(n_workers=1, asynchronous=True) as cluster, Client(cluster, asynchronous=True) as client:
        print(await client.submit(pow, 2, 6))

asyncio.run(cell())
"""
    assert run(processes, tmp_path, program, "-W", "error").split() == ["8", "16", "32", "64"]


# ---------------------------------------------------------------- the examples of the standard library's manual


PAGE = os.environ.get("CPYTHON_FUTURES_PAGE", "")


def manual_examples() -> dict[str, str]:
    """The programs of the page by their headings, and the two that show `submit` and `shutdown`."""
    text = Path(PAGE).read_text()
    found = {}
    for heading in ("ThreadPoolExecutor Example", "ProcessPoolExecutor Example"):
        found[heading] = _literal(text[text.index(f"\n{heading}\n") :])
    found["submit"] = "from concurrent.futures import *\n" + _literal(text[text.index(".. method:: submit") :])
    found["shutdown"] = "from concurrent.futures import *\n" + _literal(text[text.index("explicitly if you use the") :])
    return found


def _literal(text: str) -> str:
    """The first literal block of `text`: what is indented as deep as its first line."""
    begin = re.search(r"::\n\n( +)", text)
    assert begin is not None
    lines = text[begin.start(1) :].splitlines()
    block = itertools.takewhile(lambda line: not line.strip() or line.startswith(begin[1]), lines)
    return textwrap.dedent("\n".join(block)) + "\n"


@pytest.mark.skipif(not PAGE, reason="CPYTHON_FUTURES_PAGE does not name the page")
def test_the_examples_of_the_standard_librarys_manual_run_unchanged(
    internet: None, processes: Processes, tmp_path: Path
) -> None:
    examples = manual_examples()
    said = run(processes, tmp_path, examples["ThreadPoolExecutor Example"])
    assert said.count("page is 11 bytes") == 4 and said.count("generated an exception") == 1
    said = run(processes, tmp_path, examples["ProcessPoolExecutor Example"])
    assert said.count("is prime: True") == 5 and said.count("is prime: False") == 1
    assert run(processes, tmp_path, examples["submit"]).strip() == str(323**1235)
    for number in range(1, 5):
        (tmp_path / f"src{number}.txt").write_text(str(number))
    program = f"import os\nos.chdir({str(tmp_path)!r})\n" + examples["shutdown"]
    run(processes, tmp_path, program)
    assert [(tmp_path / f"dest{number}.txt").read_text() for number in range(1, 5)] == ["1", "2", "3", "4"]
