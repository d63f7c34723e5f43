"""Tasks that no worker should have to run: each ends bounded, is reported with its key, and harms no other."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed import Client, KilledWorker, LocalCluster, Lock, Queue, get_client
from distributed.errors import CoordinationLimitError, RemoteError, UnpicklableError
from distributed.testing.functions import inc
from distributed.testing.processes import wait_until
from distributed.worker.context import current_key

PATIENCE_S = 25.0
LONG_S = 120.0  # for what takes 10 s on an idle machine


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Of a cluster of two workers with two threads each."""
    with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(autouse=True)
def others_are_unharmed(client: Client) -> Iterator[None]:
    """What was computed before each test is there behind it, and more can be."""
    computed = client.submit(inc, 41, pure=False)
    assert computed.result(PATIENCE_S) == 42
    yield
    assert computed.result(PATIENCE_S) == 42
    assert client.gather(client.map(inc, range(20), pure=False)) == list(range(1, 21))


@pytest.fixture
def data_is_unharmed(client: Client) -> Iterator[None]:
    """What was scattered before each test is there behind it: no process has ended."""
    [data] = client.scatter([list(range(100))])
    yield
    assert data.result(PATIENCE_S) == list(range(100))


no_process_ends = pytest.mark.usefixtures("data_is_unharmed")


def leave(code: int) -> None:
    sys.exit(code)


def vanish(code: int) -> None:
    os._exit(code)


def catch_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fork(path: str) -> str:
    """Parent and child go on behind it, as if both were the task."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return f"parent of a child that ended with {os.waitstatus_to_exitcode(status)}"
    Path(path).write_text(str(os.getpid()))
    return "child"


def fork_and_raise() -> str:
    child = os.fork()
    if not child:
        raise ValueError("in the child")
    return f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


class NoPickle(Exception):
    """Cannot leave its process."""

    def __reduce__(self) -> Any:
        raise TypeError("never")


class Endless(Exception):
    """Says too much."""

    def __str__(self) -> str:
        return "x" * 100_000_000


def say_nothing() -> None:
    raise NoPickle("something")


def say_too_much() -> None:
    raise Endless


def carry_too_much() -> None:
    raise ValueError("y" * 100_000_000, bytes(100_000_000))


def itself() -> Any:
    return itself


def own_future() -> Any:
    """A future of itself."""
    return get_client().submit(own_future, key=current_key())


def hold(seconds: float, path: str) -> float:
    """Holds the interpreter with one call of C, for about so long; for how long."""
    Path(path).touch()
    begun = time.perf_counter()
    sum(range(10**7))
    count = int(10**7 * seconds / (time.perf_counter() - begun))
    begun = time.perf_counter()
    sum(range(count))
    return time.perf_counter() - begun


def never() -> None:
    """Waits in C, where no interrupt comes."""
    while True:
        time.sleep(1000)


def take(name: str) -> str:
    """Leaves a lock locked."""
    Lock(name).acquire()
    return name


def fill(name: str, maxsize: int, nbytes: int) -> None:
    """Nobody reads what it puts there."""
    items = Queue(name, maxsize=maxsize)
    while True:
        items.put(bytes(nbytes))


def add_callback() -> str:
    """Its own client calls what raises."""
    future = get_client().submit(inc, 1, pure=False)
    future.add_done_callback(lambda done: 1 / 0)
    return f"{future.result()}"


def hold_in_one(seconds: float, path: str) -> float:
    """Holds it in one call, so that no other thread gets it for about so long; `path` says that it begins."""
    count = 10**6
    begun = time.monotonic()
    sum(range(count))
    count = int(count * seconds / (time.monotonic() - begun))
    Path(path).touch()
    return float(sum(range(count)) > 0)


@no_process_ends
def test_what_leaves_the_interpreter_is_an_error_and_no_worker_ends(client: Client) -> None:
    future = client.submit(leave, 3, key="leave-3", pure=False)
    with pytest.raises(RemoteError, match="SystemExit"):
        future.result(PATIENCE_S)


def test_what_ends_its_process_is_given_up_with_its_key(client: Client) -> None:
    future = client.submit(vanish, 3, key="vanish-3", pure=False)
    with pytest.raises(KilledWorker, match=r"vanish-3 is given up.*exit code 3"):
        future.result(PATIENCE_S)


@no_process_ends
def test_a_task_cannot_change_how_signals_are_handled(client: Client) -> None:
    with pytest.raises(ValueError, match="main thread"):
        client.submit(catch_signals, pure=False).result(PATIENCE_S)


@no_process_ends
def test_a_child_that_a_task_forks_ends_with_it(client: Client, tmp_path: Path) -> None:
    future = client.submit(fork, str(tmp_path / "child"), pure=False)
    assert future.result(PATIENCE_S) == "parent of a child that ended with 0"
    assert not os.path.exists(f"/proc/{(tmp_path / 'child').read_text()}")


@no_process_ends
def test_a_child_that_raises_ends_too(client: Client) -> None:
    assert client.submit(fork_and_raise, pure=False).result(PATIENCE_S).startswith("child ")


@no_process_ends
def test_an_exception_that_cannot_be_pickled_is_told_in_words(client: Client) -> None:
    with pytest.raises(RemoteError, match=r"NoPickle.*something"):
        client.submit(say_nothing, pure=False).result(PATIENCE_S)


@no_process_ends
@pytest.mark.parametrize("function", [say_too_much, carry_too_much], ids=lambda function: function.__name__)
def test_a_huge_exception_is_cut(client: Client, function: Any) -> None:
    with pytest.raises((RemoteError, Endless, ValueError)) as failure:
        client.submit(function, pure=False).result(PATIENCE_S)
    assert sum(map(len, failure.value.args)) < 1_000_000


@no_process_ends
def test_a_function_may_return_itself(client: Client) -> None:
    assert client.submit(itself, pure=False).result(PATIENCE_S)() is not None


@no_process_ends
def test_a_future_is_no_result_and_the_error_names_the_task(client: Client) -> None:
    with pytest.raises(UnpicklableError, match="the result of own-future of type Future"):
        client.submit(own_future, key="own-future").result(PATIENCE_S)


@no_process_ends
def test_a_worker_whose_interpreter_is_held_is_not_taken_for_dead(client: Client, tmp_path: Path) -> None:
    held = client.submit(hold, 10.0, str(tmp_path / "begun"), pure=False)
    wait_until((tmp_path / "begun").exists, PATIENCE_S)
    quick = [future for _ in range(5) for future in client.map(inc, range(10), pure=False)]
    assert client.gather(quick) == 5 * list(range(1, 11))
    assert held.result(LONG_S) > 1


def test_tasks_that_never_return_keep_others_neither_waiting_nor_unheard(client: Client) -> None:
    before = client.run(os.getpid).values()
    endless = client.map(lambda number: never(), range(2), pure=False)
    wait_until(lambda: all(client.why(future.key).reason == "running" for future in endless), PATIENCE_S)
    assert client.gather(client.map(inc, range(200), pure=False)) == list(range(1, 201))
    assert all("It runs since" in client.why(future.key) for future in endless)  # their workers answer
    client.cancel(endless, force=True)
    assert {future.status for future in endless} == {"cancelled"}
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in before), PATIENCE_S)


@no_process_ends
def test_who_holds_a_lock_that_is_never_released_is_told_to_who_waits(client: Client) -> None:
    assert client.submit(take, "kept", key="take-kept").result(PATIENCE_S) == "kept"
    assert not Lock("kept", client).acquire(timeout=0.1)
    waiting = [client.submit(take, "kept", key=f"wait-{number}") for number in range(6)]  # more than there are slots
    wait_until(lambda: client.why("wait-0").reason == "coordination", PATIENCE_S)
    assert re.search(r"at lock 'kept': .* \(task take-kept\) has held it for", client.why("wait-0"))
    assert client.gather(client.map(inc, range(20), pure=False)) == list(range(1, 21))
    client.cancel(waiting)
    assert not Lock("kept", client).acquire(timeout=0.1)


@no_process_ends
def test_a_queue_that_nobody_reads_holds_up_only_who_fills_it(client: Client) -> None:
    writers = [client.submit(fill, "unread", 2, 10, key=f"fill-{number}") for number in range(6)]
    items = Queue("unread", client)
    wait_until(lambda: client.why("fill-0").reason == "coordination", PATIENCE_S)
    assert items.qsize() == 2
    assert client.gather(client.map(inc, range(20), pure=False)) == list(range(1, 21))
    client.cancel(writers)
    assert items.qsize() == 2
    items.close()


@no_process_ends
def test_a_queue_without_a_bound_is_bounded_all_the_same(client: Client) -> None:
    with pytest.raises(CoordinationLimitError, match=r"queue 'endless': .* at most: get some, or delete them"):
        client.submit(fill, "endless", 0, 1_000_000, key="fill-endless").result(LONG_S)
    Queue("endless", client).close()


@no_process_ends
def test_a_callback_that_raises_in_a_task_fails_nothing(client: Client) -> None:
    assert client.submit(add_callback, pure=False).result(PATIENCE_S) == "2"


@no_process_ends
def test_others_do_not_wait_for_a_worker_whose_interpreter_is_held(client: Client, tmp_path: Path) -> None:
    held = client.submit(hold_in_one, 15, str(tmp_path / "held"), key="held", pure=False)
    wait_until((tmp_path / "held").exists, "nothing holds it", PATIENCE_S)
    quick = client.map(inc, range(50), pure=False)
    assert client.gather(quick) == list(range(1, 51))
    assert client.why("held").reason in ("hung", "with-worker")
    assert not held.done()
    assert held.result(60) == 1.0
