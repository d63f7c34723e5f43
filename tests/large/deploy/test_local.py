"""LocalCluster and Client() without an address, as programs use them: they end without a word and leave nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from distributed import Client, LocalCluster, wait
from distributed.errors import CommClosedError, ConfigError, WorkerStartError
from distributed.testing.functions import slowinc
from distributed.testing.processes import Processes, wait_until

STRICT = ("-X", "dev", "-W", "error")  # warnings of any kind, unclosed files and the like too, are errors


def process_exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_cluster_starts_works_and_leaves_nothing() -> None:
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="1GiB", name="bob", resources={"GPU": 2})
    with Client(cluster) as client:
        workers = client.scheduler_info()["workers"]
        assert sorted(worker["name"] for worker in workers.values()) == ["bob-0", "bob-1"]
        assert [worker["memory_limit"] for worker in workers.values()] == [2**30] * 2
        assert [worker["resources"] for worker in workers.values()] == [{"GPU": 2}] * 2
        assert sorted(cluster.workers) == sorted(workers)
        assert client.ncores() == dict.fromkeys(workers, 1)
        pids = [client.scheduler_info()["pid"], *(worker["pid"] for worker in workers.values())]
        assert client.submit(os.getpid).result() in pids
    assert cluster.status == "running"
    assert "bob" in repr(cluster)
    cluster.close()
    cluster.close()
    assert cluster.status == "closed"
    wait_until(lambda: not any(map(process_exists, pids)), "the processes are gone")


def test_a_cluster_without_workers() -> None:
    with LocalCluster(n_workers=0) as cluster, Client(cluster, timeout=5) as client:
        assert client.ncores() == {}
        assert cluster.workers == []
        future = client.submit(pow, 2, 2)
        with pytest.raises(TimeoutError):
            future.result(0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"n_workers": -1},
        {"n_workers": 1, "threads_per_worker": 0},
        {"threads_per_worker": 0},
        {"memory_limit": "lots"},
        {"memory_limit": "-1GiB"},
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_used_is_named(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"n_workers|threads_per_worker|memory_limit"):
        LocalCluster(**options)


def test_a_port_that_is_taken_is_told() -> None:
    with LocalCluster(n_workers=0) as cluster:
        port = int(cluster.scheduler_address.rpartition(":")[2])
        with pytest.raises(WorkerStartError, match=f"cannot listen on 127.0.0.1:{port}"):
            LocalCluster(n_workers=0, scheduler_port=port)


def test_a_worker_that_cannot_start_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(WorkerStartError, match="the process of the cluster ended, exit code 1"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "executable", "/bin/false")
        LocalCluster(n_workers=1)


def run(processes: Processes, code: str, *options: str) -> str:
    """Run a program to its end, with no word on stderr wanted beside its output, and nothing left of it."""
    program = processes.python(*STRICT, *options, "-c", code)
    assert program.wait() == 0, program.said()
    processes.wait_nothing_left(2)
    return program.said()


def test_a_program_that_does_not_close_ends_without_a_word(processes: Processes) -> None:
    code = """
from distributed import Client
client = Client(n_workers=2)
futures = client.map(lambda x: x + 1, range(1000))
print(sum(client.gather(futures)))
more = client.map(lambda x: x + 2, range(1000))  # and nobody waits for these
"""
    assert run(processes, code) == "500500\n"


def test_a_program_that_ends_while_tasks_run_ends_without_a_word(processes: Processes) -> None:
    code = """
import time
from distributed import Client
client = Client(n_workers=1)
client.submit(pow, 2, 2).result()
future = client.submit(time.sleep, 60)
"""
    assert run(processes, code) == ""


def test_a_cluster_that_is_dropped_is_ended(processes: Processes) -> None:
    code = """
from distributed import Client, LocalCluster, wait
cluster = LocalCluster(n_workers=1)
client = Client(cluster)
print(client.submit(pow, 2, 10).result())
client.close()
del client, cluster
import gc; gc.collect()
import psutil
print([p.name() for p in psutil.Process().children()])
cluster = LocalCluster(n_workers=1)
"""
    assert run(processes, code) == "1024\n[]\n"


def test_a_program_that_fails_shows_its_own_error_only(processes: Processes) -> None:
    program = processes.python(*STRICT, "-c", "from distributed import Client; c = Client(n_workers=1); 1 / 0")
    assert program.wait() == 1
    assert program.said().splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert program.said().count("Traceback") == 1
    assert len(program.said().splitlines()) <= 5
    processes.wait_nothing_left(2)


@pytest.mark.parametrize("forked", [False, True], ids=["alone", "with a child that lives on"])
def test_a_program_that_is_killed_leaves_nothing(processes: Processes, forked: bool) -> None:
    code = """
import os, subprocess, sys, time
from distributed import Client
client = Client(n_workers=2)
future = client.submit(subprocess.call, ["sleep", "66"])
while not client.scheduler_info()["tasks"]["processing"]:
    pass
if sys.argv[1] == "True" and os.fork() == 0:  # it holds everything open that its parent held
    os.execv("/bin/sleep", ["sleep", "3"]) if False else time.sleep(8)
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""
    program = processes.python("-W", "ignore", "-c", code, str(forked))
    program.wait_said("ready")
    wait_until(lambda: "sleep 66" in str(processes.alive()), processes.alive)
    program.end(signal.SIGKILL)
    wait_until(lambda: len(processes.alive()) <= forked, processes.alive, 5)


def test_a_program_that_is_ended_by_sigterm_leaves_nothing(processes: Processes) -> None:
    program = processes.python(
        "-c", "import time; from distributed import Client; c = Client(n_workers=1); print('ready'); time.sleep(60)"
    )
    program.wait_said("ready")
    assert program.end(signal.SIGTERM) == -signal.SIGTERM
    processes.wait_nothing_left()


SCRIPT = """
import helper
from distributed import Client

class Point:
    def __init__(self, x):
        self.x = x

def double(point):
    return Point(2 * point.x)

client = Client(n_workers=1)
print(client.submit(double, Point(21)).result().x, client.submit(helper.triple, 5).result())
"""


@pytest.mark.parametrize("way", ["script", "stdin", "-c", "-m", "elsewhere"])
def test_a_script_needs_no_main_guard_and_may_use_modules_beside_it(processes: Processes, way: str) -> None:
    folder = processes.folder / "program"
    folder.mkdir()
    (folder / "helper.py").write_text("def triple(x):\n    return 3 * x\n")
    (folder / "json.py").write_text("raise SystemExit('nobody asked for this one')\n" if way == "elsewhere" else "")
    (folder / "script.py").write_text(SCRIPT)
    if way != "elsewhere":
        (folder / "json.py").unlink()
    if way == "stdin":
        with open(folder / "script.py") as script:
            program = processes.python(*STRICT, "-", cwd=folder, stdin=script)
    elif way == "elsewhere":  # the working folder is not where the script looks for modules, so we do not either
        other = processes.folder / "other"
        other.mkdir()
        (folder / "json.py").rename(other / "json.py")
        program = processes.python(*STRICT, str(folder / "script.py"), cwd=other)
    else:
        arguments = {"script": ["script.py"], "-c": ["-c", SCRIPT], "-m": ["-m", "script"]}[way]
        program = processes.python(*STRICT, *arguments, cwd=folder)
    assert program.wait() == 0, program.said()
    assert program.said() == "42 15\n"
    processes.wait_nothing_left(2)


def test_programs_that_tasks_start_find_their_own_modules(processes: Processes) -> None:
    code = """
import os
from distributed import Client
client = Client(n_workers=1)
print(client.submit(os.environ.get, "PYTHONPATH").result() == os.environ.get("PYTHONPATH"))
"""
    assert run(processes, code) == "True\n"


def test_what_tasks_print_comes_out_here_and_never_blocks(processes: Processes) -> None:
    code = """
import sys
from distributed import Client
client = Client(n_workers=1)
for number in range(3):
    client.submit(print, number, "x" * 100_000, flush=True).result(10)
client.submit(print, "to stderr", file=None).result()
"""
    assert run(processes, code).count("x") == 300_000


def test_ctrl_c_in_result_returns_control_and_the_cluster_lives_on(processes: Processes) -> None:
    code = """
import os, time
from distributed import Client
client = Client(n_workers=1)
pid = client.submit(os.getpid).result()
future = client.submit(lambda: time.sleep(1) or "slept")
print("ready", flush=True)
begun = time.perf_counter()
try:
    future.result()
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - begun < 0.9, flush=True)
print(future.result(), client.submit(os.getpid).result() == pid)
"""
    program = processes.python(*STRICT, "-c", code)
    program.wait_said("ready")
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to the whole group
    assert program.wait() == 0, program.said()
    assert program.said() == "ready\ninterrupted True\nslept True\n"


def test_ctrl_c_while_starting_leaves_nothing(processes: Processes) -> None:
    code = "from distributed import LocalCluster\nwhile True: LocalCluster(n_workers=1).close()"
    program = processes.python("-c", code)
    wait_until(lambda: len(processes.alive()) > 1, "it has begun to start one")
    program.send(signal.SIGINT)
    assert program.wait() in (1, -signal.SIGINT)
    assert "KeyboardInterrupt" in program.said()
    processes.wait_nothing_left()


def test_a_cluster_in_a_loop(processes: Processes) -> None:
    code = """
import asyncio
from distributed import Client, LocalCluster, wait

async def main():
    async with LocalCluster(n_workers=1, asynchronous=True) as cluster:
        async with Client(cluster, asynchronous=True) as client:
            print(await client.submit(pow, 2, 10))
    await cluster.close()
    cluster = await LocalCluster(n_workers=1, asynchronous=True)
    print(cluster.status)
    await cluster.close()
    print(cluster.status)
    async with Client(asynchronous=True, n_workers=1) as client:
        print(await client.submit(pow, 2, 11))

asyncio.run(main())
"""
    assert run(processes, code) == "1024\nrunning\nclosed\n2048\n"


def test_a_child_that_was_forked_does_not_end_the_cluster_of_its_parent(processes: Processes) -> None:
    code = """
import os, sys
from distributed import Client, LocalCluster, wait
cluster = LocalCluster(n_workers=1)
if os.fork() == 0:
    sys.exit()
print(os.wait()[1])
with Client(cluster) as client:
    print(client.submit(pow, 2, 10).result())
"""
    program = processes.python("-c", code)
    assert program.wait() == 0, program.said()
    assert program.said() == "0\n1024\n"


def test_when_the_scheduler_dies_everything_ends_and_the_program_is_told(processes: Processes) -> None:
    code = """
import os, signal, time
from distributed import Client
client = Client(n_workers=1)
future = client.submit(time.sleep, 60)
os.kill(client.scheduler_info()["pid"], signal.SIGKILL)
try:
    future.result(10)
except OSError as error:
    print(type(error).__name__)
while client.cluster.status == "running":
    pass
"""
    assert "CommClosedError" in run(processes, code)


def test_a_name_and_a_limit_are_shared_out(processes: Processes) -> None:
    with LocalCluster(n_workers=2) as cluster, Client(cluster) as client:
        limits = {worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()}
        assert len(limits) == 1
        (limit,) = limits
        assert 0 < limit <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


def test_no_process_of_a_cluster_warns(processes: Processes) -> None:
    code = """
from distributed import Client
with Client(n_workers=2) as client:
    print(client.submit(sum, client.map(abs, range(100))).result())
"""
    strict = {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"}
    program = processes.python("-c", code, env=strict)
    assert program.wait() == 0, program.said()
    assert program.said() == "4950\n"
    scheduler = processes.dscheduler(env=strict)
    worker = processes.dworker(f"{processes.address(scheduler)} --nthreads 1", env=strict)
    worker.wait_said("registered with")
    assert (worker.end(), scheduler.end()) == (0, 0)
    assert "Warning" not in worker.said() + scheduler.said()


def test_a_cluster_of_threads_runs_in_this_process_and_leaves_nothing() -> None:
    before = threading.active_count()
    with Client(processes=False, n_workers=2, threads_per_worker=2) as client:
        assert client.submit(os.getpid).result() == os.getpid()
        assert client.gather(client.map(pow, range(5), [2] * 5)) == [0, 1, 4, 9, 16]
        assert list(client.ncores().values()) == [2, 2]
        cluster = client.cluster
        assert cluster.status == "running"
    assert cluster.status == "closed"
    wait_until(lambda: threading.active_count() <= before, "the threads are gone")


# ---------------------------------------------------------------- more workers and fewer


@pytest.mark.parametrize("processes", [True, False])
def test_a_cluster_is_scaled_up_and_down(processes: bool) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=processes) as cluster, Client(cluster) as client:
        cluster.scale(3)
        assert len(cluster.workers) == 3 and sorted(client.ncores()) == sorted(cluster.workers)
        names = [worker["name"] for worker in client.scheduler_info()["workers"].values()]
        assert sorted(names) == ["local-0", "local-1", "local-2"]
        big = client.map(bytes, [100_000] * 6, pure=False)
        data = client.scatter(list(range(6)))
        wait([*big, *data])
        cluster.scale(1)
        assert len(cluster.workers) == 1 and list(client.ncores()) == cluster.workers
        assert client.gather([data, big]) == [list(range(6)), [bytes(100_000)] * 6], "nothing was lost"
        assert len(client.has_what()[cluster.workers[0]]) == 12
        cluster.scale(2)
        assert "local-3" in [worker["name"] for worker in client.scheduler_info()["workers"].values()]
        del data
        cluster.scale(0)
        assert client.ncores() == {} and cluster.workers == []
        future = client.submit(pow, 2, 10)
        cluster.scale(1)
        assert future.result(timeout=20) == 1024
        assert client.gather(big) == [bytes(100_000)] * 6, "computed again"
        for nonsense in (-1, "many", 1.5, True):
            with pytest.raises(ConfigError):
                cluster.scale(nonsense)  # type: ignore[arg-type]
    with pytest.raises(CommClosedError, match="is not running"):
        cluster.scale(1)


@pytest.mark.parametrize("processes", [True, False])
def test_a_cluster_adapts_to_its_work(processes: bool) -> None:
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=processes) as cluster, Client(cluster) as client:
        cluster.adapt(0, 3, interval="50ms", wait_count=2)
        futures = client.map(slowinc, range(30), delay=0.1)
        wait_until(lambda: len(client.ncores()) == 3, "three workers")
        assert client.gather(futures) == list(range(1, 31))
        wait_until(lambda: len(client.ncores()) == 1, "one worker, which holds the results")
        assert client.gather(futures) == list(range(1, 31))
        del futures
        wait_until(lambda: not client.ncores(), "no worker")
        assert client.submit(pow, 2, 10).result(timeout=20) == 1024
        cluster.scale(1)
        assert len(client.ncores()) == 1, "and now nobody adapts it"


def test_a_cluster_scales_for_coroutines_too() -> None:
    async def main() -> None:
        async with (
            LocalCluster(n_workers=0, threads_per_worker=1, asynchronous=True, processes=False) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await cluster.scale(1)
            assert await client.submit(pow, 2, 10) == 1024
            await cluster.adapt(1, 2)

    asyncio.run(main())
