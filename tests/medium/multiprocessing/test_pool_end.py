"""How a pool ends: closed, terminated, dropped; and who else may use it."""

from __future__ import annotations

import gc
import itertools
import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from distributed import Client
from distributed.errors import CancelledError, CommClosedError
from distributed.multiprocessing import Pool

GATES: dict[str, threading.Event] = {}
CALLED: list[Any] = []
PATIENCE_S = 10.0


def note(value: Any) -> Any:
    CALLED.append(value)
    return value


def wait_gate(value: Any) -> Any:
    CALLED.append(value)
    assert GATES["gate"].wait(PATIENCE_S)
    return value


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


@pytest.fixture(autouse=True)
def gate() -> Iterator[threading.Event]:
    GATES["gate"] = threading.Event()
    CALLED.clear()
    yield GATES["gate"]
    GATES["gate"].set()


def test_a_closed_pool_finishes_what_it_has_and_takes_no_more(pool: Pool, gate: threading.Event) -> None:
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    result = pool.map_async(wait_gate, range(20), 1)
    pool.close()
    for method in (pool.apply, pool.apply_async):
        with pytest.raises(ValueError, match="Pool not running"):
            method(note, (1,))
    for method in (pool.map, pool.map_async, pool.imap, pool.imap_unordered, pool.starmap):
        with pytest.raises(ValueError, match="Pool not running"):
            method(note, [1])
    with pytest.raises(ValueError, match="Pool not running"), pool:
        raise AssertionError("it was entered")
    gate.set()
    pool.join()
    assert result.get(0) == list(range(20))
    pool.join()


def test_terminate_ends_at_once_and_nobody_waits_in_vain(pool: Pool, gate: threading.Event) -> None:
    one = pool.apply_async(wait_gate, (1,))
    many = pool.map_async(wait_gate, range(10_000))
    iterator = pool.imap(wait_gate, itertools.count())
    until(lambda: CALLED)
    pool.terminate()
    for result in (one, many):
        with pytest.raises(CancelledError):
            result.get(PATIENCE_S)
    with pytest.raises(CancelledError):
        iterator.next(PATIENCE_S)
    gate.set()
    assert list(iterator) == []
    pool.terminate()
    pool.join()


def test_leaving_the_with_block_terminates(client: Client, gate: threading.Event) -> None:
    with Pool(client=client) as pool:
        result = pool.apply_async(wait_gate, (1,))
    with pytest.raises(CancelledError):
        result.get(PATIENCE_S)


def test_a_callback_cannot_wait_for_its_own_pool(pool: Pool) -> None:
    errors: list[RuntimeError] = []

    def wait(value: Any) -> None:
        pool.close()
        try:
            pool.join()
        except RuntimeError as error:
            errors.append(error)

    pool.apply_async(note, (1,), callback=wait).get()
    assert "callback" in str(errors)


def test_a_pool_that_is_dropped_warns_when_its_results_have_come(client: Client, gate: threading.Event) -> None:
    pool = Pool(client=client)
    result, iterator = pool.map_async(wait_gate, [1, 2]), pool.imap(note, [3])
    with pytest.warns(ResourceWarning, match="unclosed running pool") as warned:
        del pool
        gc.collect()
        assert not warned.list
        gate.set()
        assert result.get(PATIENCE_S) == [1, 2] and list(iterator) == [3]
        until(lambda: warned.list)


def test_a_pool_does_not_travel(pool: Pool) -> None:
    with pytest.raises(NotImplementedError, match="cannot be passed between processes"):
        pickle.dumps(pool)


def test_many_threads_use_one_pool(pool: Pool) -> None:
    found: dict[int, list[Any]] = {}

    def use(number: int) -> None:
        found[number] = [pool.map(note, range(100)), list(pool.imap(note, range(50))), pool.apply(note, (number,))]

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [list(range(100)), list(range(50)), number] for number in range(8)}


def test_a_task_may_use_a_pool_of_its_own_cluster(client: Client) -> None:
    def inside(count: int) -> int:
        from distributed import get_client

        with Pool(client=get_client()) as pool:
            return sum(pool.map(abs, range(count))) + sum(pool.imap(abs, range(count)))

    with Pool(client=client) as pool:
        assert pool.map(inside, [10, 20, 30], 1) == [90, 380, 870]


def test_when_the_client_is_closed_nobody_waits_in_vain(servers: Any, gate: threading.Event) -> None:
    scheduler, _ = servers
    with Client(scheduler.address) as client:
        pool = Pool(client=client)
        many, iterator = pool.map_async(wait_gate, range(100), 1), pool.imap(wait_gate, itertools.count())
        until(lambda: len(CALLED) == 2)
    with pytest.raises(CommClosedError):
        many.get(PATIENCE_S)
    with pytest.raises(CommClosedError):
        list(iterator)
    with pytest.raises(CommClosedError):
        pool.apply(note, (1,))
    pool.close()
    pool.join()
