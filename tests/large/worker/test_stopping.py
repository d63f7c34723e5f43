"""Tasks that do not stop, in real processes: interrupts, force, limits of time, and what must survive all that."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy
import pytest

from distributed import Client, LocalCluster
from distributed.errors import TaskTimeoutError
from distributed.testing.functions import inc
from distributed.testing.processes import wait_until

PATIENCE_S = 25.0


def note(path: str) -> None:
    """Says that the task has begun, and in which process."""
    Path(path).write_text(str(os.getpid()))


def spin(path: str) -> None:
    """A loop of Python."""
    note(path)
    x = 0
    while True:
        x += 1


def sleep(path: str) -> None:
    """A wait in C."""
    note(path)
    time.sleep(999)


def hold(path: str) -> int:
    """C code that holds the interpreter."""
    note(path)
    return sum(range(10**12))


def match(path: str) -> Any:
    """Likewise: a regular expression that tries everything."""
    note(path)
    return re.match(r"(a+)+$", "a" * 64 + "b")


def swallow(path: str) -> None:
    """Catches whatever is raised, and goes on."""
    note(path)
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException as error:
            str(error)


async def wait_async(path: str) -> None:
    """A coroutine that never ends."""
    import asyncio

    note(path)
    await asyncio.sleep(999)


def tidy_up(path: str, cleaned: str) -> None:
    """Cleans up behind it."""
    try:
        spin(path)
    finally:
        Path(cleaned).touch()


def slowly(number: int, path: str) -> int:
    """Waits for the file, then squares."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return number * number


def total(values: Any) -> float:
    return float(values.sum())


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Of a cluster of one worker with two threads."""
    with LocalCluster(n_workers=1, threads_per_worker=2) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[], int]:
    """Waits until the task that was given ``tmp_path / "begun"`` has begun; its process."""

    def wait() -> int:
        path = tmp_path / "begun"
        wait_until(lambda: path.exists() and bool(path.read_text()), "the task has begun", PATIENCE_S)
        return int(path.read_text())

    return wait


def is_alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("function", [spin, wait_async], ids=lambda function: function.__name__)
def test_python_code_is_interrupted_and_its_thread_serves_others(
    client: Client, tmp_path: Path, begun: Callable[[], int], function: Any
) -> None:
    others = [client.submit(slowly, 7, str(tmp_path / "go"), pure=False)]  # has the other thread
    future = client.submit(function, str(tmp_path / "begun"), pure=False)
    pid = begun()
    future.cancel(reason="enough of it")
    assert client.submit(inc, 1, pure=False).result(PATIENCE_S) == 2
    with pytest.raises(CancelledError, match="enough of it"):
        future.result()
    (tmp_path / "go").touch()
    assert client.gather(others) == [49]
    assert is_alive(pid)


def test_an_interrupted_task_cleans_up(client: Client, tmp_path: Path, begun: Callable[[], int]) -> None:
    future = client.submit(tidy_up, str(tmp_path / "begun"), str(tmp_path / "cleaned"), pure=False)
    begun()
    future.cancel()
    wait_until((tmp_path / "cleaned").exists, "it has cleaned up", PATIENCE_S)


@pytest.mark.parametrize("function", [sleep, hold, match, swallow], ids=lambda function: function.__name__)
def test_with_force_the_process_is_replaced_and_nothing_else_is_lost(
    client: Client, tmp_path: Path, begun: Callable[[], int], function: Any
) -> None:
    array = numpy.arange(500_000.0)
    [big, small] = client.scatter([array, {"one": [1, "two"]}])
    used = client.submit(total, big, pure=False)  # its object is made of the data, which stays
    assert used.result(PATIENCE_S) == array.sum()
    computed = client.submit(inc, 41, pure=False)
    assert computed.result(PATIENCE_S) == 42
    innocent = client.submit(slowly, 7, str(tmp_path / "go"), pure=False)
    future = client.submit(function, str(tmp_path / "begun"), pure=False)
    pid = begun()
    future.cancel(force=True)
    wait_until(lambda: not is_alive(pid), "the process is gone", PATIENCE_S)
    (tmp_path / "go").touch()
    assert innocent.result(PATIENCE_S) == 49
    assert (big.result(PATIENCE_S) == array).all()
    assert small.result(PATIENCE_S) == {"one": [1, "two"]}
    assert client.submit(total, big, pure=False).result(PATIENCE_S) == array.sum()
    assert computed.result(PATIENCE_S) == 42


def test_force_helps_after_a_cancel_that_did_not(client: Client, tmp_path: Path, begun: Callable[[], int]) -> None:
    future = client.submit(sleep, str(tmp_path / "begun"), pure=False)
    pid = begun()
    future.cancel()
    assert client.submit(inc, 1, pure=False).result(PATIENCE_S) == 2
    assert is_alive(pid)
    future.cancel(force=True)
    wait_until(lambda: not is_alive(pid), "the process is gone", PATIENCE_S)


def test_force_costs_no_process_if_the_task_stops_by_itself(
    client: Client, tmp_path: Path, begun: Callable[[], int]
) -> None:
    future = client.submit(spin, str(tmp_path / "begun"), pure=False)
    pid = begun()
    future.cancel(force=True)
    with pytest.raises(CancelledError):
        future.result()
    assert client.submit(os.getpid, pure=False).result(PATIENCE_S) == pid


@pytest.mark.parametrize("function", [spin, sleep, hold, wait_async], ids=lambda function: function.__name__)
def test_a_task_that_runs_for_too_long_fails_and_others_do_not(client: Client, tmp_path: Path, function: Any) -> None:
    [data] = client.scatter([[1, 2, 3]])
    innocent = client.submit(slowly, 7, str(tmp_path / "go"), pure=False)
    future = client.submit(function, str(tmp_path / "begun"), timeout=0.3, pure=False)
    with pytest.raises(TaskTimeoutError, match=r"ran longer than its limit of 0\.3 s") as failure:
        future.result(PATIENCE_S)
    assert failure.value.key == future.key
    assert isinstance(failure.value, TimeoutError)
    (tmp_path / "go").touch()
    assert innocent.result(PATIENCE_S) == 49
    assert data.result(PATIENCE_S) == [1, 2, 3]


def test_a_limit_is_for_one_run_of_a_task_that_is_tried_again(client: Client, tmp_path: Path) -> None:
    runs = tmp_path / "runs"

    def second_time_lucky(path: str) -> str:
        with open(path, "a+") as file:
            file.write("run\n")
            file.seek(0)
            count = len(file.readlines())
        while count == 1:
            time.sleep(0.01)
        return f"run {count}"

    future = client.submit(second_time_lucky, str(runs), timeout=0.5, retries=1, pure=False)
    assert future.result(PATIENCE_S) == "run 2"


def test_a_task_within_its_limit_is_left_alone(client: Client) -> None:
    assert client.submit(inc, 1, timeout=20.0, pure=False).result(PATIENCE_S) == 2
    assert client.gather(client.map(inc, range(5), timeout=20.0)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), "1", True])
def test_a_limit_is_some_seconds(client: Client, timeout: Any) -> None:
    with pytest.raises(ValueError, match="seconds, more than 0"):
        client.submit(inc, 1, timeout=timeout)


def parent(folder: str) -> Any:
    """Waits for two children that never end."""
    from distributed import get_client

    client = get_client()
    children = [client.submit(spin, os.path.join(folder, f"child-{number}"), pure=False) for number in range(2)]
    note(os.path.join(folder, "begun"))
    return client.gather(children)


def test_children_stop_with_their_parent(client: Client, tmp_path: Path, begun: Callable[[], int]) -> None:
    future = client.submit(parent, str(tmp_path), pure=False)
    pid = begun()
    wait_until(
        lambda: all((tmp_path / f"child-{number}").exists() for number in range(2)), "both children run", PATIENCE_S
    )
    future.cancel()
    both = [client.submit(slowly, number, str(tmp_path / "go"), pure=False) for number in range(2)]
    (tmp_path / "go").touch()
    assert client.gather(both) == [0, 1]  # both threads are free
    assert is_alive(pid)


def test_workers_in_threads_interrupt_too(tmp_path: Path, begun: Callable[[], int]) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False) as cluster, Client(cluster) as client:
        future = client.submit(spin, str(tmp_path / "begun"), pure=False)
        assert begun() == os.getpid()
        future.cancel(force=True)  # there is nobody who could end a process, and that is not needed
        assert client.submit(inc, 1, pure=False).result(PATIENCE_S) == 2
