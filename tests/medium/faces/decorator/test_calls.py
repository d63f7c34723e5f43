"""Calls of decorated functions and their handles, with workers that are threads of this process."""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any

import pytest

from distributed import (
    CancelledError,
    RemoteExectionError,
    RemoteExecutionError,
    Sides,
    Task,
    distributed,
    proxy,
    sided,
)
from distributed.errors import NestedCallError, UnpicklableError
from distributed.faces.decorator.task import TaskSequence

pytestmark = pytest.mark.usefixtures("near")

GATES: dict[str, threading.Event] = {}
RUNS: list[Any] = []
PATIENCE_S = 10.0


@pytest.fixture
def gate() -> threading.Event:
    GATES["gate"] = threading.Event()
    RUNS.clear()
    return GATES["gate"]


@distributed(platform="*", threads=1)
def add(a: int, b: int = 1) -> int:
    return a + b


@distributed
def waiting(value: int) -> int:
    assert GATES["gate"].wait(PATIENCE_S)
    RUNS.append(value)
    return value


class Unloadable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)  # a pickle of it calls it with one argument
        self.lock = threading.Lock()


@distributed
def refuse(value: Any) -> Any:
    raise KeyError(value)


@distributed
def refuse_oddly(value: Any) -> Any:
    raise Unloadable(f"odd {value}", "x")


@distributed(retries=2)
def refuse_twice(value: Any) -> int:
    RUNS.append(value)
    if RUNS.count(value) < 3:
        raise ValueError(value)
    return RUNS.count(value)


@distributed
def total(values: Any, **more: Any) -> Any:
    return sum(values["list"]) + values["single"] + sum(sum(entry) for entry in more.values())


@distributed
def count(length: int) -> Any:
    yield from range(length)


@distributed
async def soon(value: int) -> int:
    return value + 100


@distributed(nested="error")
def never_nested() -> int:
    return 1


@distributed
def outer(what: str) -> Any:
    if what == "value":
        inner = add(1, 2)
        return type(inner).__name__, inner.done(), inner.unwrap(), inner.then(lambda value: value * 2).unwrap()
    if what == "error":
        inner = refuse(5)
        return inner.is_err(), repr(inner.err()), inner.unwrap_or("else")
    if what == "kinds":
        return count(3).unwrap(), soon(1).unwrap(), add.map([1, 2]).unwrap(), add(add(1, 1)).unwrap()
    return never_nested().unwrap()


@distributed
async def outer_async(value: int) -> Any:
    inner = soon(value)
    with pytest.raises(RuntimeError, match="await its handle"):
        inner.unwrap()
    return await inner, await add(value)


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @distributed
    def times(self, value: int) -> int:
        return self.factor * value

    @classmethod
    @distributed
    def named(cls, value: int) -> str:
        return f"{cls.__name__}{value}"

    @staticmethod
    @distributed
    def double(value: int) -> int:
        return 2 * value


@sided(Sides.WORKER)
def on_worker(value: int) -> int:
    return value


@sided(Sides.MAIN)
def on_main(value: int) -> int:
    return value


where = proxy(main=lambda: "main", worker=lambda: "worker")


@distributed
def look_around() -> Any:
    return on_worker(3), on_main(3), where()


def test_calls_return_handles_at_once_and_unwrap_in_order(gate: threading.Event) -> None:
    """D02: many calls are made while none has ended; their values come in the order of the calls."""
    tasks = [waiting(value) for value in range(1000)]
    assert not any(task.done() for task in tasks)
    gate.set()
    assert [task.unwrap(PATIENCE_S) for task in tasks] == list(range(1000))
    assert sorted(RUNS) == list(range(1000))


def test_a_handle_tells_how_a_call_ended() -> None:
    """D03: unwrap, unwrap_or, ok, err, is_ok, is_err, done, wait."""
    good, bad = add(1, b=2), refuse(7)
    assert (good.wait(), bad.wait()) == (True, True)
    assert (good.done(), good.is_ok(), good.is_err(), good.ok(), good.err(), good.unwrap()) == (
        *(True, True, False, 3),
        *(None, 3),
    )
    assert (bad.done(), bad.is_ok(), bad.is_err(), bad.ok(), bad.unwrap_or("else")) == (
        *(True, False, True),
        *(None, "else"),
    )
    assert isinstance(bad.err(), KeyError)
    with pytest.raises(KeyError, match="7") as caught:
        bad.unwrap()
    assert "raise KeyError(value)" in str(caught.value.__cause__)
    assert "add, finished, key" in repr(good) and "refuse, error, key" in repr(bad)


def test_a_handle_that_is_not_decided_says_so(gate: threading.Event) -> None:
    task = waiting(1)
    assert (task.done(), task.wait(0.01)) == (False, False)
    for ask in (task.unwrap, task.ok, task.err, task.is_ok, task.is_err):
        with pytest.raises(TimeoutError):
            ask(0.01)
    with pytest.raises(TimeoutError):
        task.unwrap_or(5, timeout=0.01)
    assert "pending" in repr(task)
    gate.set()
    assert task.unwrap() == 1


def test_what_cannot_be_rebuilt_here_is_told_with_its_source_and_lines() -> None:
    """D04: RemoteExecutionError, in both spellings, for exceptions that do not survive the way."""
    assert RemoteExectionError is RemoteExecutionError
    task = refuse_oddly(3)
    with pytest.raises(RemoteExecutionError) as caught:
        task.unwrap()
    name = f"{__name__}/refuse_oddly"
    assert str(caught.value) == f"Remote {name} - {__name__}.Unloadable: odd 3"
    assert caught.value.source == name
    assert "raise Unloadable" in str(caught.value.__cause__)
    assert isinstance(task.err(), RemoteExecutionError)
    assert isinstance(task.then(len).err(), RemoteExecutionError)


def test_arguments_that_cannot_travel_are_refused_at_the_call() -> None:
    with pytest.raises(UnpicklableError, match="lock"):
        add(threading.Lock())  # type: ignore[arg-type]


def test_a_cancelled_call_is_decided(gate: threading.Event) -> None:
    task = waiting(1)
    task.cancel()
    assert task.wait(PATIENCE_S)
    assert isinstance(task.err(), CancelledError) and task.unwrap_or(4) == 4
    gate.set()


def test_retries_and_retry_run_a_call_again() -> None:
    RUNS.clear()
    assert refuse_twice("a").unwrap() == 3
    task = refuse("x")
    assert task.is_err()
    assert task.retry() is task
    assert isinstance(task.err(PATIENCE_S), KeyError)


def test_handles_are_arguments_alone_and_in_containers() -> None:
    one, five = add(0), add(4)
    assert add(one, b=five).unwrap() == 6
    assert total({"list": [one, 2, five], "single": add(one)}, more=(one,), last={five}).unwrap() == 16
    assert add(refuse(1)).err().args == (1,)  # type: ignore[union-attr]


def test_handles_of_functions_of_this_process_are_arguments_too() -> None:
    later = add(1).then(lambda value: value * 10)
    assert add(later).unwrap() == 21
    assert add(later.then(lambda value: add(value))).unwrap() == 22
    assert isinstance(add(add(1).then(lambda value: value / 0)).err(), ZeroDivisionError)
    assert add(later).unwrap() == 21  # now it is there from the start


def test_handles_of_chunks_are_arguments_too() -> None:
    parts = add.map(range(10), chunk=4)
    assert add(parts[5], parts[9]).unwrap() == 16
    assert total({"list": parts, "single": 0}).unwrap() == sum(range(1, 11))
    assert isinstance(add(refuse.map([1, 2], chunk=2)[1]).err(), KeyError)


def test_then_and_or_else_continue_with_what_comes() -> None:
    assert add(1).then(add).unwrap() == 3  # on a worker
    assert add(1).then(lambda value: value * 10).unwrap() == 20
    assert add(1).then(lambda value: add(value, 5)).unwrap() == 7
    assert add(1).or_else(lambda error: 0).unwrap() == 2
    assert refuse(1).or_else(lambda error: repr(error)).unwrap() == "KeyError(1)"
    assert refuse(1).or_else(lambda error: add(8)).unwrap() == 9
    assert isinstance(refuse(1).then(lambda value: value).err(), KeyError)
    assert isinstance(refuse(1).then(add).err(), KeyError)


def test_a_continuation_runs_without_anybody_waiting() -> None:
    told = threading.Event()
    task = add(1).then(lambda value: told.set())
    assert told.wait(PATIENCE_S)
    assert task.wait(PATIENCE_S)


def test_a_handle_cannot_be_hidden_or_pickled() -> None:
    with pytest.raises(UnpicklableError, match="pass handles as arguments"):
        pickle.dumps(add(1))
    with pytest.raises(UnpicklableError):
        pickle.dumps(add.map([1]))


def test_handles_come_in_the_order_in_which_they_are_decided(gate: threading.Event) -> None:
    tasks = [waiting(1), add(1), refuse(1), add(2).then(lambda value: value)]
    decided = Task.as_completed(tasks, PATIENCE_S)
    early = [next(decided) for _ in range(3)]
    assert {id(task) for task in early} == {id(task) for task in tasks[1:]}
    with pytest.raises(TimeoutError, match="1 of 1 calls"):
        next(Task.as_completed(tasks[:1], 0.01))
    gate.set()
    assert next(decided) is tasks[0]
    assert list(decided) == []


async def test_a_handle_is_awaited() -> None:
    assert await add(1) == 2
    assert await add(1).then(lambda value: value + 1) == 3
    assert await add.map([1, 2, 3], chunk=2)[2] == 4
    with pytest.raises(KeyError):
        await refuse(1)
    with pytest.raises(RemoteExecutionError):
        await refuse_oddly(1)


def test_methods_run_on_workers() -> None:
    assert Scale(3).times(4).unwrap() == 12
    assert Scale(3).times.map([1, 2]).unwrap() == [3, 6]
    assert Scale.named(1).unwrap() == "Scale1"  # type: ignore[call-arg, arg-type]
    assert Scale(3).double(4).unwrap() == Scale.double(4).unwrap() == 8


def test_generators_and_async_functions_work() -> None:
    assert count(3).unwrap() == [0, 1, 2]
    assert soon(1).unwrap() == 101
    assert count.map([1, 2], chunk=2).unwrap() == [[0], [0, 1]]
    assert soon.map([1, 2], chunk=2).unwrap() == [101, 102]


def test_a_nested_call_runs_inside_its_task_and_its_handle_is_done() -> None:
    """D18: inline by default, errors kept until they are unwrapped; refused with nested="error"."""
    assert outer("value").unwrap() == ("Task", True, 3, 6)
    assert outer("error").unwrap() == (True, "KeyError(5)", "else")
    assert outer("kinds").unwrap() == ([0, 1, 2], 101, [2, 3], 3)
    assert isinstance(outer("refused").err(), NestedCallError)
    assert outer_async(4).unwrap() == (104, 5)
    assert never_nested().unwrap() == 1


def test_sides_are_told_apart_on_a_worker() -> None:
    """D17: sided and proxy, on a worker."""
    assert look_around().unwrap() == (3, None, "worker")


@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
def test_a_map_gives_a_handle_for_each_element(chunk: int | None) -> None:
    """D21: fn.map, with calls alone, in chunks, and in chunks as measured."""
    tasks = add.map(range(70), range(70), chunk=chunk)
    assert isinstance(tasks, TaskSequence) and len(tasks) == 70 and isinstance(tasks[3], Task)
    assert tasks.unwrap() == [2 * value for value in range(70)]
    assert tasks[10:12].unwrap() == [20, 22]
    assert [task.unwrap() for task in tasks] == tasks.unwrap(timeout=PATIENCE_S)


def test_short_calls_of_a_measured_map_share_tasks() -> None:
    tasks = add.map(range(5000))
    assert tasks.unwrap() == [value + 1 for value in range(5000)]
    assert len({task.key.partition("[")[0] for task in tasks}) < 1000


def test_a_measured_map_does_not_wait_for_a_call_that_takes_long(gate: threading.Event) -> None:
    tasks = waiting.map(range(100))
    begun = threading.Event()
    deadline = time.monotonic() + PATIENCE_S
    while not all(task._source.source for task in tasks):  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        begun.wait(0.01)
    gate.set()
    assert tasks.unwrap(PATIENCE_S) == list(range(100))


def test_each_call_of_a_chunk_has_its_own_outcome() -> None:
    RUNS.clear()
    tasks = refuse_twice.map([1, 2], chunk=2)
    assert tasks.unwrap() == [3, 3]
    mixed = refuse.map([1, 2, 3], chunk=3)
    assert [repr(task.err()) for task in mixed] == ["KeyError(1)", "KeyError(2)", "KeyError(3)"]
    assert mixed[0].retry().is_err()
    assert isinstance(refuse_oddly.map([1, 2], chunk=2)[1].err(), RemoteExecutionError)
