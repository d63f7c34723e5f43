"""Pool: what programs that know the standard library's rely on, on a cluster in this process."""

from __future__ import annotations

import gc
import itertools
import logging
import multiprocessing
import multiprocessing.pool
import operator
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from distributed import Client
from distributed.client.chunks import Chunks
from distributed.errors import ConfigError, ExecutorBrokenError, UnpicklableError
from distributed.multiprocessing import AsyncResult, IMapIterator, MapResult, Pool, TimeoutError, cpu_count

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


def refuse(value: Any) -> Any:
    if value % 3 == 1:
        raise KeyError(value)
    return note(value)


def change(array: Any) -> float:
    array += 1
    return float(array.sum())


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


class Told:
    """Callbacks that note what they are told."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.errors: list[Any] = []
        self.keywords: Any = {"callback": self.values.append, "error_callback": self.errors.append}


@pytest.fixture(autouse=True)
def gate() -> Iterator[threading.Event]:
    GATES["gate"] = threading.Event()
    CALLED.clear()
    yield GATES["gate"]
    GATES["gate"].set()


# ---------------------------------------------------------------- one call


def test_apply_gives_the_result_of_one_call(pool: Pool) -> None:
    assert pool.apply(pow, (2, 10)) == 1024
    assert pool.apply(int, ("ff",), {"base": 16}) == 255
    assert pool.apply(dict, kwds={"key": 1, "retries": 2}) == {"key": 1, "retries": 2}


def test_apply_async_gives_it_later(pool: Pool, gate: threading.Event) -> None:
    result = pool.apply_async(wait_gate, (5,))
    assert type(result) is AsyncResult and not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.01)
    result.wait(0.01)
    gate.set()
    assert result.get(PATIENCE_S) == 5 and result.get() == 5
    assert result.ready() and result.successful()


def test_what_a_call_raised_is_raised_with_the_remote_traceback(pool: Pool) -> None:
    result = pool.apply_async(refuse, (1,))
    with pytest.raises(KeyError) as caught:
        result.get()
    assert "in refuse" in str(caught.value.__cause__)
    assert not result.successful()


def test_callbacks_are_told_before_the_result_is_ready(pool: Pool) -> None:
    told = Told()
    assert pool.apply_async(note, (1,), **told.keywords).get() == 1
    assert (told.values, told.errors) == ([1], [])
    with pytest.raises(KeyError):
        pool.apply_async(refuse, (1,), **told.keywords).get()
    assert told.values == [1] and [type(error) for error in told.errors] == [KeyError]


def test_a_callback_that_raises_is_logged_and_the_next_result_comes(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert pool.apply_async(note, (1,), callback=lambda value: 1 / 0).get() == 1
        assert pool.apply(note, (2,)) == 2
    assert "ZeroDivisionError" in caplog.text


def test_what_cannot_be_sent_is_told_where_the_result_is_asked_for(pool: Pool) -> None:
    told = Told()
    with pytest.raises(UnpicklableError):
        pool.apply_async(note, (threading.Lock(),), **told.keywords).get()
    assert len(told.errors) == 1
    with pytest.raises(UnpicklableError):
        pool.map(note, [1, threading.Lock(), 2], 1)
    iterator = pool.imap(note, [1, threading.Lock(), 2])
    assert next(iterator) == 1
    with pytest.raises(UnpicklableError):
        next(iterator)
    assert next(iterator) == 2


def test_what_cannot_be_called_is_told(pool: Pool) -> None:
    with pytest.raises(TypeError, match="function"):
        pool.map(5, [1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="function"):
        pool.apply(5)  # type: ignore[arg-type]


def test_a_future_of_the_client_is_given_as_its_result(pool: Pool, client: Client) -> None:
    future = client.submit(pow, 2, 5)
    assert pool.apply(operator.add, (future, 1)) == 33
    assert pool.starmap(operator.add, [(future, 1), (1, 1)], 2) == [33, 2]


@pytest.mark.parametrize("count", [10, 100_000, 300_000])
def test_each_call_has_arguments_of_its_own_and_may_change_them(pool: Pool, count: int) -> None:
    array = numpy.zeros(count)
    assert pool.map(change, [array, array]) == [count, count]
    assert pool.apply(change, (array,)) == count and array.sum() == 0


# ---------------------------------------------------------------- map


@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
def test_map_gives_results_in_order(pool: Pool, chunksize: int | None) -> None:
    wanted = list(range(200))
    assert pool.map(note, wanted, chunksize) == wanted
    assert pool.map(note, iter(wanted), chunksize=chunksize) == wanted
    assert pool.map_async(note, wanted, chunksize).get() == wanted
    assert pool.map_async(note, iter(wanted), chunksize=chunksize).get() == wanted
    assert pool.starmap(operator.add, zip(wanted, wanted, strict=True), chunksize) == [2 * value for value in wanted]
    assert pool.starmap_async(pow, [(2, 3), (3, 2)], chunksize).get() == [8, 9]


def test_many_cheap_calls_are_few_tasks(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    send = pool._sender.send_chunks

    def send_chunks(packed: Any, chunks: Any) -> Any:
        sizes.extend(map(len, chunks))
        return send(packed, chunks)

    monkeypatch.setattr(pool._sender, "send_chunks", send_chunks)
    assert pool.map(abs, range(100_000)) == list(range(100_000))
    assert sizes[0] == 1 and sum(sizes) == 100_000 and len(sizes) < 2_000


@pytest.mark.parametrize("iterable", [[], (), range(0), iter([]), {}])
def test_a_map_of_nothing_is_an_empty_list_at_once(pool: Pool, iterable: Any) -> None:
    told = Told()
    assert pool.map(note, iterable) == []
    result = pool.map_async(note, [], **told.keywords)
    assert type(result) is MapResult and result.get() == [] and result.successful()
    assert told.values == []
    assert list(pool.imap(note, [])) == []


def test_when_a_call_fails_the_others_are_made_and_the_error_is_told_once(pool: Pool) -> None:
    told = Told()
    result = pool.map_async(refuse, range(9), 1, **told.keywords)
    with pytest.raises(KeyError):
        result.get()
    assert sorted(CALLED) == [0, 2, 3, 5, 6, 8]
    assert told.values == [] and [type(error) for error in told.errors] == [KeyError]


def test_map_takes_elements_only_as_they_are_needed(pool: Pool, gate: threading.Event) -> None:
    taken: list[int] = []

    def elements() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(pool.map(wait_gate, elements(), 1)))
    thread.start()
    until(lambda: len(CALLED) == 2)
    assert len(taken) <= Chunks(2, None, 1).window + 1
    gate.set()
    thread.join()
    assert results == [list(range(100))]


def test_an_iterable_that_raises_ends_a_map_at_once(pool: Pool) -> None:
    def elements() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        pool.map(note, elements())
    with pytest.raises(LookupError, match="no more"):
        pool.map_async(note, elements())
    with pytest.raises(TypeError):
        pool.map(note, 5)  # type: ignore[arg-type]
    assert pool.map(note, [1]) == [1]


def test_sizes_of_chunks_below_one_are_refused(pool: Pool) -> None:
    for method in (pool.map, pool.map_async, pool.imap, pool.imap_unordered, pool.starmap):
        with pytest.raises(ValueError, match=r"Chunksize must be 1\+, not 0"):
            method(note, [1], 0)


# ---------------------------------------------------------------- imap


@pytest.mark.parametrize("chunksize", [1, 4, None])
def test_imap_gives_results_in_order_and_unordered_any(pool: Pool, chunksize: int | None) -> None:
    iterator = pool.imap(note, range(100), chunksize)
    assert type(iterator) is IMapIterator and iter(iterator) is iterator
    assert list(iterator) == list(range(100))
    assert sorted(pool.imap_unordered(note, iter(range(100)), chunksize)) == list(range(100))
    with pytest.raises(StopIteration):
        next(iterator)


def test_unordered_results_come_as_calls_end(pool: Pool, gate: threading.Event) -> None:
    iterator = pool.imap_unordered(lambda value: wait_gate(value) if value == 0 else value, range(3))
    assert sorted([next(iterator), next(iterator)]) == [1, 2]
    gate.set()
    assert next(iterator) == 0


def test_the_next_result_in_time_or_a_timeout(pool: Pool, gate: threading.Event) -> None:
    iterator = pool.imap(wait_gate, [1])
    with pytest.raises(TimeoutError):
        iterator.next(timeout=0.01)
    gate.set()
    assert iterator.next(PATIENCE_S) == 1
    with pytest.raises(StopIteration):
        iterator.next(0)


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_an_error_takes_its_place_and_the_next_result_comes(pool: Pool, name: str) -> None:
    iterator = getattr(pool, name)(refuse, range(6))
    found, errors = [], 0
    while True:
        try:
            found.append(next(iterator))
        except KeyError:
            errors += 1
        except StopIteration:
            break
    assert sorted(found) == [0, 2, 3, 5] and errors == 2


def test_with_bigger_chunks_an_error_ends_the_iteration(pool: Pool) -> None:
    iterator = pool.imap(refuse, [0, 2, 1, 3, 5, 6], 2)
    assert [next(iterator), next(iterator)] == [0, 2]
    with pytest.raises(KeyError):
        next(iterator)
    assert list(iterator) == []


def test_an_iterable_that_raises_takes_the_place_of_an_element(pool: Pool) -> None:
    def elements() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("no more")

    iterator = pool.imap(note, elements())
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(LookupError):
        next(iterator)
    assert list(iterator) == []


def test_an_iterable_without_end_is_taken_only_so_far(pool: Pool) -> None:
    taken: list[int] = []

    def elements() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    iterator = pool.imap(note, elements())
    assert [next(iterator) for _ in range(5)] == [0, 1, 2, 3, 4]
    until(lambda: pool._under_way.count() == 0)  # it rests
    count = len(taken)
    assert count <= 5 + 2 * 1000 + 1
    assert [next(iterator) for _ in range(count)] == list(range(5, count + 5))
    pool.terminate()


def test_who_drops_the_iterator_wants_all_calls_and_no_results(pool: Pool) -> None:
    pool.imap(note, (number for number in range(5000)))
    gc.collect()
    pool.close()
    pool.join()
    assert sorted(CALLED) == list(range(5000))


def test_who_joins_before_reading_gets_everything_all_the_same(pool: Pool) -> None:
    iterator = pool.imap(note, (number for number in range(5000)))
    pool.close()
    pool.join()
    assert list(iterator) == list(range(5000))


def test_an_element_that_takes_its_time_holds_up_nothing(pool: Pool, gate: threading.Event) -> None:
    def elements() -> Iterator[int]:
        yield 1
        gate.wait(PATIENCE_S)
        yield 2

    iterator = pool.imap(note, elements())
    assert next(iterator) == 1
    gate.set()
    assert list(iterator) == [2]


# ---------------------------------------------------------------- initializers and options


def test_the_initializer_runs_once_per_process_before_any_call(client: Client) -> None:
    with Pool(None, note, ("ready",), client=client) as pool:
        assert pool.map(note, range(100), 10) == list(range(100))
        assert [pool.apply(note, (1,)), *pool.imap(note, [2])] == [1, 2]
    assert CALLED[0] == "ready" and CALLED.count("ready") == 1


def test_an_initializer_that_raises_breaks_the_pool(client: Client) -> None:
    with Pool(initializer=refuse, initargs=(1,), client=client) as pool:
        with pytest.raises(ExecutorBrokenError, match="KeyError: 1"):
            pool.map(note, range(10))
        with pytest.raises(ExecutorBrokenError):
            pool.apply(note, (1,))
        with pytest.raises(ExecutorBrokenError):
            list(pool.imap(note, itertools.count()))


def test_arguments_that_cannot_be_used_are_named(client: Client) -> None:
    with pytest.raises(ValueError, match="Number of processes must be at least 1"):
        Pool(0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Pool(initializer=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="maxtasksperchild must be a positive int or None"):
        Pool(maxtasksperchild=0)
    with pytest.raises(ConfigError, match="lifetime"):
        Pool(maxtasksperchild=5)
    with pytest.raises(ConfigError, match="processes=4 cannot be used"):
        Pool(4, client=client)
    with pytest.raises(ConfigError, match="memory_limit"):
        Pool(client=client, memory_limit="1GB")
    with pytest.raises(ConfigError, match="give one of them"):
        Pool(4, n_workers=3)
    with pytest.raises(ConfigError, match="asynchronous"):
        Pool(asynchronous=True)
    with pytest.raises(ConfigError, match="asynchronous"):
        Pool(client=Client(asynchronous=True))


def test_a_running_cluster_is_named_by_address(client: Client) -> None:
    with Pool(address=client.scheduler_address) as pool:
        assert pool.map(abs, [-1, 1]) == [1, 1]
        assert repr(pool) == f"<Pool: running, {client.scheduler_address}>"
    assert "terminated" in repr(pool)
    assert client.status == "running"


def test_names_of_the_standard_library_are_there() -> None:
    assert TimeoutError is multiprocessing.TimeoutError
    assert 1 <= cpu_count() <= multiprocessing.cpu_count()
    public = {name for name in dir(multiprocessing.pool.Pool) if not name.startswith("_")} - {"Process"}
    assert public <= set(dir(Pool))
