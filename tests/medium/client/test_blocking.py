"""A client that blocks: in threads, beside loops, and when it must not wait."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeoutError
from functools import partial
from typing import Any

import pytest

from distributed import Client, as_completed, get_client, wait
from distributed.errors import CommClosedError, ConnectTimeoutError
from distributed.testing.functions import double, inc, slowinc

GATES: dict[str, threading.Event] = {}


def pass_gate(name: str) -> str:
    assert GATES[name].wait(10)
    return name


def divide(x: float, y: float) -> float:
    return x / y


@pytest.fixture
def client(background: Any) -> Any:
    with Client(background.address) as client:
        yield client


def test_the_quickstart(client: Client) -> None:
    squares = client.map(lambda x: x * x, range(10))
    negatives = client.map(lambda x: -x, squares)
    total = client.submit(sum, negatives)
    assert total.result() == -285
    assert total.done() and repr(total) == f"<Future: finished, key: {total.key}>"
    assert total.client is client is get_client()
    assert client.gather(squares) == [x * x for x in range(10)]
    assert "10 futures" in repr(squares)


def test_everything_that_waits(client: Client, background: Any) -> None:
    assert client.gather({"x": client.submit(inc, 1)}) == {"x": 2}
    assert client.gather(client.scatter([1, 2, 3])) == [1, 2, 3]
    assert client.get({"x": 1, "y": (inc, "x")}, ["x", "y"]) == [1, 2]
    assert client.compute([client.submit(inc, 1)]).result() == [2]
    done, not_done = wait(client.map(inc, range(5)))
    assert len(done) == 5 and not not_done
    assert sorted(future.result() for future in as_completed(client.map(double, range(4)))) == [0, 2, 4, 6]
    assert dict(as_completed(futures := client.map(inc, range(3)), with_results=True))[futures[2]] == 3
    assert client.submit(bytes, 100_000).result() == bytes(100_000)
    bad = client.submit(divide, 1, 0)
    assert isinstance(bad.exception(), ZeroDivisionError) and bad.traceback().tb_frame.f_code.co_name == "divide"
    with pytest.raises(ZeroDivisionError):
        bad.result()
    assert list(client.ncores()) == [worker.address for worker in background.workers]
    assert client.who_has() and client.has_what() and client.scheduler_info()["tasks"]
    assert set(client.get_versions()) == {"client", "scheduler", "workers"}


def test_time_limits(client: Client) -> None:
    GATES["time"] = threading.Event()
    future = client.submit(pass_gate, "time")
    for call in (future.result, future.exception, future.traceback):
        with pytest.raises(TimeoutError, match=f"{future.key} not decided within 0.01 s"):
            call(timeout=0.01)
    with pytest.raises(FuturesTimeoutError):
        wait([future], timeout=0.01)
    with pytest.raises(TimeoutError):
        next(as_completed([future], timeout=0.01))
    assert not future._record.waiters or len(future._record.waiters) == 1, "as_completed alone still waits"
    GATES["time"].set()
    assert future.result(timeout=5) == "time"


def test_cancelling(client: Client) -> None:
    GATES["cancel"] = threading.Event()
    first = client.submit(pass_gate, "cancel", workers="0")
    second = client.submit(inc, 1, workers="0")
    second.cancel()
    assert second.cancelled()
    done = client.submit(inc, 5, workers="1")
    done.result()
    client.cancel([done])
    assert done.cancelled()
    GATES["cancel"].set()
    assert first.result() == "cancel"


def test_one_client_in_many_threads(client: Client) -> None:
    def work(number: int) -> int:
        futures = [client.submit(inc, number * 1000 + i) for i in range(50)]
        shared = client.map(inc, range(50))
        assert client.gather(shared) == list(range(1, 51))
        return int(client.submit(sum, futures).result()) - sum(number * 1000 + i + 1 for i in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [0] * 16
    gc.collect()
    client.ncores()
    assert not client._session.table.records


def test_a_blocking_client_beside_a_running_loop(client: Client) -> None:
    async def main() -> list[Any]:
        future = client.submit(slowinc, 1)
        found = [await future, client.submit(inc, 2).result()]
        async for done in as_completed(client.map(inc, range(2))):
            found.append(await done)
        return found

    found = asyncio.run(main())
    assert found[:2] == [2, 3] and sorted(found[2:]) == [1, 2]


@pytest.mark.parametrize(
    "blocking",
    [
        lambda client, future: client.submit(inc, 1, pure=False).result(),
        lambda client, future: wait([client.submit(slowinc, 1, pure=False)]),
        lambda client, future: next(as_completed([client.submit(slowinc, 1, pure=False)])),
        lambda client, future: client.gather([client.submit(slowinc, 1, pure=False)]),
        lambda client, future: future.result(),
        lambda client, future: client.ncores(),
        lambda client, future: client.scatter([1]),
        lambda client, future: client.get_versions(),
    ],
    ids=["result", "wait", "as_completed", "gather", "fetch", "ask", "scatter", "versions"],
)
def test_blocking_on_the_loops_own_thread_raises_instead_of_hanging(client: Client, blocking: Any) -> None:
    future = client.submit(bytes, 100_000)
    wait(future)

    async def on_the_loop() -> None:
        with pytest.raises(RuntimeError, match="would block the loop"):
            blocking(client, future)

    asyncio.run_coroutine_threadsafe(on_the_loop(), client._session.loop).result(5)


def test_closing_twice_and_asking_afterwards(background: Any) -> None:
    client = Client(background.address)
    here, there = client.submit(inc, 1), client.submit(bytes, 100_000)
    wait([here, there])
    client.close()
    client.close()
    assert client.status == "closed" and here.result() == 2
    asked = [
        client.ncores,
        client.get_versions,
        there.result,
        there.cancel,
        partial(client.submit, inc, 1),
        partial(client.gather, [there]),
        partial(client.scatter, [1]),
    ]
    for ask in asked:
        with pytest.raises(CommClosedError, match="this client was closed"):
            ask()


def test_what_was_submitted_before_close_is_sent(background: Any) -> None:
    SEEN.clear()
    with Client(background.address) as client:
        futures = client.map(note, range(3))
        wait(futures)
    assert sorted(SEEN) == [0, 1, 2]


SEEN: list[int] = []


def note(number: int) -> None:
    SEEN.append(number)


def test_waiting_threads_hear_of_the_end(background: Any) -> None:
    client = Client(background.address)
    future = client.submit(inc, 1, resources={"GPU": 1})
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(future.result), pool.submit(wait, [future]), pool.submit(list, as_completed([future]))]
        deadline = time.monotonic() + 5
        while len(future._record.waiters or ()) < 3 and time.monotonic() < deadline:
            client.ncores()
        client.close()
        with pytest.raises(CommClosedError, match="this client was closed"):
            waiting[0].result(5)
        assert waiting[1].result(5).done == {future}
        assert waiting[2].result(5) == [future]


def test_a_scheduler_that_closes_ends_blocking_clients_too(background: Any) -> None:
    client = Client(background.address)
    future = client.submit(inc, 1, resources={"GPU": 1})
    asyncio.run_coroutine_threadsafe(background.scheduler.close("maintenance"), background.thread.loop)
    with pytest.raises(CommClosedError, match="maintenance"):
        future.result(5)
    with pytest.raises(CommClosedError, match="maintenance"):
        client.ncores()
    client.close()


def test_a_client_that_cannot_connect_leaves_nothing() -> None:
    with pytest.raises(ConnectTimeoutError, match=r"tcp://127\.0\.0\.1:9"):
        Client("127.0.0.1:9", timeout=0.05)


def test_futures_may_outlive_their_client(background: Any) -> None:
    with Client(background.address) as client:
        future, futures = client.submit(inc, 1), client.map(inc, range(3))
        wait(futures)
    del client
    gc.collect()
    del future, futures


INTERRUPTED = """
import os, signal, sys, threading, time
from distributed import Client
client = Client(sys.argv[1])
future = client.submit(pow, 2, 10, resources={"never": 1})
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    future.result()
except KeyboardInterrupt:
    print("interrupted", client.submit(pow, 2, 11).result())
client.close()
"""


def test_ctrl_c_returns_control_at_once(background: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, background.address], capture_output=True, text=True, timeout=20
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted 2048\n", "", 0)


IMPORTS = """
import sys
import distributed
heavy = {"numpy", "tornado", "cloudpickle", "psutil", "dask", "pandas", "asyncio"} & set(sys.modules)
assert not heavy, heavy
from distributed import Client, as_completed, wait
heavy = {"numpy", "tornado", "cloudpickle", "psutil", "dask", "pandas", "click"} & set(sys.modules)
assert not heavy, heavy
import distributed.client, distributed.worker, distributed.scheduler, distributed.protocol, distributed.utils
import distributed.utils_test
heavy = {"numpy", "tornado", "pytest"} & set(sys.modules)
assert not heavy, heavy
"""


def test_imports_are_light() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=20)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "an import changes nothing"
