"""Executor: what programs that know `concurrent.futures` rely on, on a cluster in this process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import logging
import operator
import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from distributed import Client, Executor
from distributed.errors import BadRequestError, CancelledError, CommClosedError, UnpicklableError
from distributed.testing.clusters import gen_cluster

GATES: dict[str, threading.Event] = {}
CALLED: list[Any] = []
PATIENCE_S = 10.0


def pass_gate(name: str, value: Any = None) -> Any:
    CALLED.append(value)
    assert GATES[name].wait(PATIENCE_S)
    return value


def note(value: Any) -> Any:
    CALLED.append(value)
    return value


def refuse(value: Any = None) -> None:
    raise KeyError(value)


def refuse_late(value: Any) -> None:
    GATES["gate"].wait(PATIENCE_S)
    raise KeyError(value)


def keywords(**kwargs: Any) -> dict[str, Any]:
    return kwargs


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    GATES["gate"] = threading.Event()
    CALLED.clear()
    yield GATES["gate"]
    GATES["gate"].set()


@pytest.fixture
def client(background: Any) -> Iterator[Client]:
    with Client(background.address) as client:
        yield client


@pytest.fixture
def executor(client: Client) -> Iterator[Executor]:
    with client.get_executor() as executor:
        yield executor


# ---------------------------------------------------------------- calls


def test_it_is_an_executor_whose_futures_are_those_of_the_standard_library(executor: Executor) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    future = executor.submit(pow, 2, 10)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == 1024 and future.done() and not future.cancelled() and not future.running()
    assert future.exception() is None


def test_every_keyword_is_the_functions(executor: Executor) -> None:
    given = {"key": 1, "retries": 2, "workers": 3, "fn": 4, "self": 5, "timeout": 6, "pure": 7}
    assert executor.submit(keywords, **given).result() == given


def test_equal_calls_are_made_each(executor: Executor, gate: threading.Event) -> None:
    assert [executor.submit(note, 1).result() for _ in range(3)] == [1, 1, 1]
    assert list(executor.map(note, [1, 1])) == [1, 1]
    assert CALLED == [1] * 5


def test_what_a_call_raised_is_raised_with_the_remote_traceback(executor: Executor) -> None:
    future = executor.submit(refuse, "x")
    error = future.exception()
    assert type(error) is KeyError and "in refuse" in str(error.__cause__)
    with pytest.raises(KeyError, match="x"):
        future.result()


def test_a_result_that_stays_on_a_worker_is_fetched(executor: Executor, background: Any) -> None:
    futures = [executor.submit(bytes, 3_000_000) for _ in range(4)]
    assert [len(future.result()) for future in futures] == [3_000_000] * 4
    until(lambda: not background.scheduler.machine.state.tasks)


def test_a_result_in_time_or_not_at_all(executor: Executor, gate: threading.Event) -> None:
    future = executor.submit(pass_gate, "gate", 5)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.01)
    gate.set()
    assert future.result(timeout=PATIENCE_S) == 5


def test_what_cannot_be_sent_is_told_at_once(executor: Executor) -> None:
    with pytest.raises(UnpicklableError):
        executor.submit(note, threading.Lock())
    with pytest.raises(TypeError, match="function"):
        executor.submit(5)  # type: ignore[arg-type]
    future = executor.submit(note, 1)
    for thing in (future, executor):
        with pytest.raises(UnpicklableError):
            pickle.dumps(thing)
    with pytest.raises(UnpicklableError):
        executor.submit(note, future)


def test_a_future_of_the_client_is_an_argument_like_others(executor: Executor, client: Client) -> None:
    assert executor.submit(operator.add, client.submit(note, 1), 2).result() == 3


def test_how_calls_run_is_said_when_the_executor_is_made(
    client: Client, background: Any, gate: threading.Event
) -> None:
    with client.get_executor(workers="1", retries=2) as executor:
        with pytest.raises(KeyError):
            executor.submit(refuse).result()
        executor.submit(pass_gate, "gate")
        until(lambda: CALLED)
        until(lambda: len(background.scheduler.machine.state.tasks) == 1)
        (task,) = background.scheduler.machine.state.tasks.values()
        assert (task.spec.workers, task.spec.retries) == (("1",), 2)
        gate.set()
    client.get_executor(pure=False).shutdown()
    with pytest.raises(BadRequestError, match="pure"):
        client.get_executor(pure=True)
    with pytest.raises(BadRequestError, match="colour"):
        client.get_executor(colour="red")
    with pytest.raises(ValueError, match="retries"):
        client.get_executor(retries=-1)


# ---------------------------------------------------------------- wait and as_completed of the standard library


def test_the_standard_librarys_wait_takes_them(executor: Executor, gate: threading.Event) -> None:
    slow, quick = executor.submit(pass_gate, "gate"), executor.submit(pow, 2, 2)
    done, not_done = concurrent.futures.wait([slow, quick], return_when=concurrent.futures.FIRST_COMPLETED)
    assert (done, not_done) == ({quick}, {slow})
    bad = executor.submit(refuse)
    done, not_done = concurrent.futures.wait([slow, bad], return_when=concurrent.futures.FIRST_EXCEPTION)
    assert (done, not_done) == ({bad}, {slow})
    assert concurrent.futures.wait([slow], timeout=0.01) == (set(), {slow})
    gate.set()
    assert concurrent.futures.wait([slow, quick, bad]) == ({slow, quick, bad}, set())


def test_the_standard_librarys_as_completed_takes_them(executor: Executor, gate: threading.Event) -> None:
    slow, quick = executor.submit(pass_gate, "gate"), executor.submit(pow, 2, 2)
    local: concurrent.futures.Future[int] = concurrent.futures.Future()
    local.set_result(5)
    ended = concurrent.futures.as_completed([slow, quick, local], timeout=PATIENCE_S)
    assert {next(ended), next(ended)} == {quick, local}
    gate.set()
    assert list(ended) == [slow]


# ---------------------------------------------------------------- map


def test_map_gives_results_in_order(executor: Executor) -> None:
    assert list(executor.map(pow, range(5), itertools.repeat(2))) == [0, 1, 4, 9, 16]
    assert list(executor.map(pow, [], [])) == [] == list(executor.map(pow))
    assert list(executor.map(pow, range(2500), [1] * 2500)) == list(range(2500))


@pytest.mark.parametrize("size", [2, 3, 100])
def test_map_in_chunks(executor: Executor, size: int) -> None:
    assert list(executor.map(pow, range(7), [2] * 7, chunksize=size)) == [n * n for n in range(7)]


def test_map_submits_all_at_once_or_as_much_as_its_buffer_holds(executor: Executor, gate: threading.Event) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = executor.map(note, numbers(), buffersize=3)
    assert taken == [0, 1, 2]
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    assert len(taken) == 7
    results.close()  # type: ignore[attr-defined]
    executor.map(note, iter(taken := [1, 2]))
    until(lambda: CALLED.count(2) >= 2)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"chunksize": 0}, ValueError),
        ({"chunksize": -1}, ValueError),
        ({"buffersize": 0}, ValueError),
        ({"buffersize": 1.5}, TypeError),
        ({"buffersize": True}, TypeError),
    ],
    ids=str,
)
def test_map_refuses_sizes_that_mean_nothing(executor: Executor, options: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=next(iter(options))):
        executor.map(pow, [1], [1], **options)


def test_an_error_is_raised_when_its_turn_comes(executor: Executor) -> None:
    results = executor.map(divmod, [4, 1, 9], [2, 0, 3])
    assert next(results) == (2, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_gives_up_in_time_and_cancels_what_is_left(
    executor: Executor, background: Any, gate: threading.Event
) -> None:
    results = executor.map(pass_gate, ["gate"] * 5, range(5), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    until(lambda: not background.scheduler.machine.state.tasks)
    gate.set()


def test_an_iterator_that_is_closed_cancels_what_is_left(executor: Executor, background: Any) -> None:
    for chunksize in (1, 2):
        results = executor.map(note, range(1000), chunksize=chunksize)
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
        until(lambda: not background.scheduler.machine.state.tasks)


# ---------------------------------------------------------------- cancelling


def test_a_call_that_waits_is_cancelled(executor: Executor, background: Any, gate: threading.Event) -> None:
    running = [executor.submit(pass_gate, "gate") for _ in range(2)]
    until(lambda: len(CALLED) == 2)
    future = executor.submit(note, "never")
    assert future.cancel() and future.cancelled() and future.done() and future.cancel()
    assert concurrent.futures.wait([future]).done == {future}
    for ask in (future.result, future.exception):
        with pytest.raises(CancelledError):
            ask()
    gate.set()
    concurrent.futures.wait(running)
    until(lambda: not background.scheduler.machine.state.tasks)
    assert "never" not in CALLED


def test_a_call_that_runs_is_cancelled_and_one_that_is_done_is_not(executor: Executor, gate: threading.Event) -> None:
    future = executor.submit(pass_gate, "gate", 5)
    until(lambda: CALLED)
    assert future.cancel() and future.cancelled()
    done = executor.submit(pow, 2, 2)
    assert done.result() == 4
    assert not done.cancel() and not done.cancelled()


def test_a_call_that_somebody_else_cancels_is_cancelled(
    executor: Executor, client: Client, gate: threading.Event
) -> None:
    future = executor.submit(pass_gate, "gate", 5)
    client._live().cancel([future._record], False, "enough")
    with pytest.raises(CancelledError):
        future.result(PATIENCE_S)
    assert future.cancelled()


# ---------------------------------------------------------------- callbacks


def test_callbacks_are_called_in_order_and_at_once_when_it_is_done(executor: Executor, gate: threading.Event) -> None:
    called: list[Any] = []
    future = executor.submit(pass_gate, "gate", 5)
    future.add_done_callback(lambda f: called.append(("first", f.result())))
    future.add_done_callback(lambda f: called.append(("second", f)))
    gate.set()
    until(lambda: len(called) == 2)
    assert called == [("first", 5), ("second", future)]
    future.add_done_callback(lambda f: called.append("now"))
    assert called[2] == "now"
    cancelled = executor.submit(pass_gate, "gate")
    cancelled.add_done_callback(lambda f: called.append(f.cancelled()))
    cancelled.cancel()
    until(lambda: len(called) == 4)


def test_a_callback_that_raises_is_logged_and_harms_nobody(
    executor: Executor, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    later = threading.Event()
    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        future = executor.submit(pass_gate, "gate", 5)
        future.add_done_callback(refuse)
        future.add_done_callback(lambda f: later.set())
        gate.set()
        assert later.wait(PATIENCE_S)
    assert "exception calling callback" in caplog.text and "KeyError" in caplog.text
    assert executor.submit(pow, 2, 2).result() == 4


def test_a_callback_may_submit_more(executor: Executor) -> None:
    results: list[int] = []

    def go_on(future: Any) -> None:
        results.append(future.result())
        if len(results) < 5:
            executor.submit(pow, len(results), 2).add_done_callback(go_on)

    executor.submit(pow, 0, 2).add_done_callback(go_on)
    until(lambda: results == [0, 1, 4, 9, 16])


# ---------------------------------------------------------------- the end


def test_shutdown_waits_for_what_is_under_way(client: Client, gate: threading.Event) -> None:
    executor = client.get_executor()
    future = executor.submit(pass_gate, "gate", 5)
    executor.shutdown(wait=False)
    assert not future.done()
    for call in (executor.submit, executor.map):
        with pytest.raises(RuntimeError, match="after shutdown"):
            call(pow, [1], [1])
    threading.Timer(0.01, gate.set).start()
    executor.shutdown()
    assert future.done() and future.result() == 5
    executor.shutdown(wait=True, cancel_futures=True)
    assert client.submit(pow, 2, 2).result() == 4, "the client is not the executor's"


def test_shutdown_may_drop_what_has_not_begun(client: Client, gate: threading.Event) -> None:
    executor = client.get_executor()
    begun = [executor.submit(pass_gate, "gate", number) for number in range(2)]
    until(lambda: len(CALLED) >= 2)
    queued = [executor.submit(note, number) for number in range(20)]
    executor.shutdown(wait=False, cancel_futures=True)
    until(lambda: queued[-1].cancelled())
    gate.set()
    executor.shutdown()
    assert [future.result() for future in begun] == [0, 1]
    assert all(future.done() for future in queued)


def test_a_callback_must_not_wait_for_its_own_executor(
    client: Client, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    executor = client.get_executor()
    told = threading.Event()
    future = executor.submit(pass_gate, "gate")
    future.add_done_callback(lambda f: executor.shutdown())
    future.add_done_callback(lambda f: told.set())
    gate.set()
    assert told.wait(PATIENCE_S)
    assert "wait=False" in caplog.text
    executor.shutdown()


def test_futures_of_a_client_that_is_closed_do_not_wait_for_ever(background: Any, gate: threading.Event) -> None:
    client = Client(background.address)
    executor = client.get_executor()
    future, big = executor.submit(pass_gate, "gate"), executor.submit(bytes, 2_000_000)
    client.close()
    with pytest.raises(CommClosedError):
        future.result(PATIENCE_S)
    concurrent.futures.wait([big], PATIENCE_S)
    with pytest.raises(CommClosedError):
        executor.submit(pow, 2, 2)
    executor.shutdown()


def test_an_executor_that_is_dropped_brings_what_is_under_way_and_leaves_nothing(
    client: Client, gate: threading.Event
) -> None:
    executor: Executor | None = client.get_executor()
    assert executor is not None
    future = executor.submit(pass_gate, "gate", 5)
    del executor
    gc.collect()
    gate.set()
    assert future.result(PATIENCE_S) == 5


def test_a_result_belongs_to_whoever_has_its_future(executor: Executor, background: Any) -> None:
    future = executor.submit(pow, 2, 3)
    assert future.result() == 8
    until(lambda: not background.scheduler.machine.state.tasks)
    assert future.result() == 8, "it needs the cluster no more"


# ---------------------------------------------------------------- initializers


def test_an_initializer_runs_once_in_each_process(client: Client, gate: threading.Event) -> None:
    with client.get_executor(initializer=note, initargs=("begin",)) as executor:
        assert list(executor.map(note, range(10))) == list(range(10))
        assert executor.submit(note, 10).result() == 10
        assert list(executor.map(note, range(5), chunksize=2)) == list(range(5))
    assert CALLED.count("begin") == 1 and CALLED[0] == "begin", "both workers are threads of this process"


def test_an_initializer_that_raises_breaks_the_executor(client: Client, gate: threading.Event) -> None:
    executor = client.get_executor(initializer=refuse_late, initargs=("no",))
    futures = [executor.submit(pow, 2, 2) for _ in range(5)]
    gate.set()
    for future in futures:
        error = future.exception(PATIENCE_S)
        assert isinstance(error, concurrent.futures.BrokenExecutor) and "KeyError: 'no'" in str(error)
    with pytest.raises(concurrent.futures.BrokenExecutor, match="KeyError"):
        executor.submit(pow, 2, 2)
    executor.shutdown()
    with client.get_executor() as other:
        assert other.submit(pow, 2, 2).result() == 4


def test_arguments_that_contradict_each_other_are_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="initializer"):
        client.get_executor(initializer=5)
    with pytest.raises(ValueError, match="max_workers"):
        Executor(2, client=client)
    for wrong in ({"max_workers": 0}, {"max_workers": -1}, {"max_workers": 3, "threads_per_worker": 2}):
        with pytest.raises(ValueError, match="max_workers"):
            Executor(**wrong)
    with pytest.raises(ValueError, match="n_workers"):
        Executor(2, n_workers=2)


# ---------------------------------------------------------------- asyncio


def test_asyncio_runs_its_calls_here(executor: Executor, gate: threading.Event) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        with pytest.raises(KeyError):
            await loop.run_in_executor(executor, refuse)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, pass_gate, "gate"), 0.02)
        gate.set()
        calls = [loop.run_in_executor(executor, pow, number, 2) for number in range(3)]
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == [0, 1, 4]


@gen_cluster(client=True)
async def test_an_asynchronous_client_has_one_too(client: Client, *servers: Any) -> None:
    executor = client.get_executor()
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(executor, pow, 2, 5) == 32
    assert await asyncio.wrap_future(executor.submit(bytes, 2_000_000)) == bytes(2_000_000)
    future = executor.submit(pow, 2, 2)
    with pytest.raises(RuntimeError, match="block the loop"):
        executor.shutdown()
    assert await asyncio.wrap_future(future) == 4
    executor.shutdown()


def test_many_threads_share_one(executor: Executor) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        sums = threads.map(lambda start: sum(executor.map(abs, range(start, start + 50))), range(0, 800, 50))
        assert sum(sums) == sum(range(800))
