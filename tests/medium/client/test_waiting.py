"""wait, as_completed, time limits and callbacks, on a cluster in this loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from functools import partial
from typing import Any

import pytest
from tqdm import tqdm

from distributed import Client, Future, as_completed, wait
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import div, inc, slowinc, throws
from distributed.worker.server import Worker


def gather_one(client: Client, future: Future) -> Any:
    return client.gather([future])


def ident(future: Future) -> Future:
    return future


GATES: dict[str, threading.Event] = {}


def pass_gate(name: str, value: Any = None) -> Any:
    """Returns `value` once the test opens the gate."""
    assert GATES[name].wait(10)
    return value


@pytest.fixture
def gate() -> Any:
    GATES["gate"] = threading.Event()
    yield GATES["gate"]
    GATES["gate"].set()


# ---------------------------------------------------------------- wait


@gen_cluster(client=True)
async def test_wait_until_all_are_decided(client: Client, *servers: Any) -> None:
    futures = [client.submit(inc, 1), client.submit(throws, 1), client.submit(slowinc, 1)]
    done, not_done = await wait(futures)
    assert done == set(futures) and not_done == set()
    assert [future.status for future in futures] == ["finished", "error", "finished"]


@gen_cluster(client=True)
async def test_wait_for_nothing_or_one_or_what_is_done(client: Client, *servers: Any) -> None:
    assert await wait([]) == (set(), set())
    future = client.submit(inc, 1)
    assert (await wait(future)).done == {future}
    assert await wait([future, future], timeout=0) == ({future}, set())


@gen_cluster(client=True)
async def test_wait_until_the_first_is_decided(client: Client, *servers: Any, gate: threading.Event) -> None:
    slow, quick = client.submit(pass_gate, "gate"), client.submit(inc, 1)
    done, not_done = await wait([slow, quick], return_when="FIRST_COMPLETED")
    assert (done, not_done) == ({quick}, {slow})
    gate.set()


@gen_cluster(client=True)
async def test_wait_until_the_first_fails(client: Client, *servers: Any, gate: threading.Event) -> None:
    slow, good, bad = client.submit(pass_gate, "gate"), client.submit(inc, 1), client.submit(throws, 1)
    done, not_done = await wait([slow, good, bad], return_when="FIRST_EXCEPTION")
    assert bad in done and slow in not_done
    gate.set()


@gen_cluster(client=True)
async def test_wait_has_a_limit_and_leaves_nothing_behind(client: Client, *servers: Any, gate: threading.Event) -> None:
    slow = client.submit(pass_gate, "gate")
    quick = client.submit(inc, 1)
    await quick
    for _ in range(5):
        with pytest.raises(TimeoutError, match=r"1 of 2 futures not decided within 0\.001 s"):
            await wait([slow, quick], timeout=0.001)
        with pytest.raises(TimeoutError, match=f"{slow.key} not decided within 0.001 s"):
            await slow.result(timeout=0.001)
    assert not slow._record.waiters, "a program that looks again and again"
    assert not slow.done()
    gate.set()


@gen_cluster([], client=True)
async def test_wait_knows_three_conditions(client: Client, scheduler: Scheduler) -> None:
    with pytest.raises(ValueError, match="FIRST_EXCEPTION"):
        wait([client.submit(inc, 1)], return_when="SOME")


@gen_cluster([("127.0.0.1", 2)])
async def test_wait_for_futures_of_two_clients(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as one, Client(scheduler.address, asynchronous=True) as two:
        futures = [one.submit(inc, 1), two.submit(inc, 1), two.submit(inc, 2)]
        done, _ = await wait(futures)
        assert done == set(futures) and len(done) == 3


# ---------------------------------------------------------------- as_completed


@gen_cluster(client=True)
async def test_futures_come_as_they_are_decided(client: Client, *servers: Any, gate: threading.Event) -> None:
    slow = client.submit(pass_gate, "gate", "slow")
    completed = as_completed([slow, client.submit(inc, 1), client.submit(throws, 2)])
    first = {await anext(completed), await anext(completed)}
    assert slow not in first and {future.status for future in first} == {"finished", "error"}
    assert completed.count() == 1 and not completed.is_empty() and not completed.has_ready()
    gate.set()
    assert [await future async for future in completed] == ["slow"]
    assert completed.is_empty()


@gen_cluster(client=True)
async def test_as_completed_gives_results_too(client: Client, *servers: Any) -> None:
    futures = client.map(inc, range(5))
    results = {future: result async for future, result in as_completed(futures, with_results=True)}
    assert [results[future] for future in futures] == [1, 2, 3, 4, 5]


@gen_cluster(client=True)
async def test_as_completed_raises_an_error_and_goes_on(client: Client, *servers: Any) -> None:
    completed = as_completed([client.submit(div, 1, 0), client.submit(inc, 1)], with_results=True)
    found = []
    for _ in range(2):
        try:
            found.append((await anext(completed))[1])
        except ZeroDivisionError:
            found.append("error")
    assert set(found) == {2, "error"}
    with pytest.raises(StopAsyncIteration):
        await anext(completed)


@gen_cluster(client=True)
async def test_futures_may_be_added_while_iterating(client: Client, *servers: Any) -> None:
    completed = as_completed([client.submit(inc, 0)])
    seen = []
    async for future in completed:
        seen.append(await future)
        if len(seen) < 5:
            completed.add(client.submit(inc, future))
        if len(seen) == 5:
            completed.update([future, future])
    assert seen == [1, 2, 3, 4, 5, 5, 5]


@gen_cluster(client=True)
async def test_as_completed_of_nothing_ends(client: Client, *servers: Any) -> None:
    assert [future async for future in as_completed()] == []
    assert list(as_completed([])) == []


@gen_cluster(client=True)
async def test_as_completed_has_a_limit(client: Client, *servers: Any, gate: threading.Event) -> None:
    completed = as_completed([client.submit(pass_gate, "gate")], timeout=0.001)
    with pytest.raises(TimeoutError, match=r"1 futures not decided within 0\.001 s"):
        await anext(completed)
    gate.set()


@gen_cluster(client=True)
async def test_blocking_the_loop_raises_instead_of_hanging(
    client: Client, *servers: Any, gate: threading.Event
) -> None:
    with pytest.raises(RuntimeError, match="would block the loop"):
        list(as_completed([client.submit(pass_gate, "gate")]))
    gate.set()


# ---------------------------------------------------------------- callbacks


@gen_cluster(client=True)
async def test_callbacks_are_called_in_a_thread_of_their_own(client: Client, *servers: Any) -> None:
    called: list[tuple[Future, str]] = []
    future = client.submit(slowinc, 1)
    future.add_done_callback(lambda done: called.append((done, threading.current_thread().name)))
    await future
    future.add_done_callback(lambda done: called.append((done, "again")))
    await until(lambda: len(called) == 2)
    assert [done for done, _ in called] == [future, future]
    assert called[0][1].startswith("distributed-callbacks")


@gen_cluster(client=True)
async def test_callbacks_are_called_for_failed_and_cancelled_ones(
    client: Client, *servers: Any, gate: threading.Event
) -> None:
    called: list[str] = []
    bad, gone = client.submit(throws, 1), client.submit(inc, client.submit(pass_gate, "gate"))
    for future in (bad, gone):
        future.add_done_callback(lambda done: called.append(done.status))
    await gone.cancel()
    await until(lambda: sorted(called) == ["cancelled", "error"])
    gate.set()


@gen_cluster(client=True)
async def test_a_callback_that_raises_is_logged(
    client: Client, *servers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    called = []
    future = client.submit(inc, 1)
    future.add_done_callback(lambda done: 1 / 0)
    future.add_done_callback(called.append)
    await until(lambda: called)
    assert future.key in caplog.text and "ZeroDivisionError" in caplog.text
    assert await client.submit(inc, 2) == 3


@gen_cluster(client=True)
async def test_callbacks_after_the_end_are_called_at_once(client: Client, *servers: Any) -> None:
    called: list[Future] = []
    future, pending = client.submit(inc, 1), client.submit(inc, 1, resources={"GPU": 1})
    pending.add_done_callback(called.append)
    await future
    await client.close()
    future.add_done_callback(called.append)
    await until(lambda: len(called) == 2)
    assert set(called) == {future, pending}


# ---------------------------------------------------------------- loops that end, garbage


def test_a_loop_that_ended_while_something_waited_harms_nobody(background: Any, gate: threading.Event) -> None:
    async def give_up(future: Future) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future._result_async(None), 0.001)

    with Client(background.address) as client:
        future = client.submit(pass_gate, "gate", 5)
        completed = as_completed([future])
        asyncio.run(give_up(future))

        async def abandon() -> None:
            waiting = asyncio.ensure_future(anext(completed))
            await asyncio.sleep(0)
            waiting.cancel()

        asyncio.run(abandon())
        gate.set()
        assert future.result(timeout=5) == 5
        assert client.submit(inc, 1).result(timeout=5) == 2


@gen_cluster(client=True)
async def test_an_error_does_not_keep_its_future_alive(client: Client, *servers: Any, no_gc: None) -> None:
    future = client.submit(throws, 1)
    key = future.key
    for get in (future.result, partial(gather_one, client, future), partial(ident, future)):
        with contextlib.suppress(RuntimeError):
            await get()
    del future, get
    await until(lambda: key not in client._session.table.records)


def test_an_error_of_a_blocking_client_does_not_keep_its_future_alive(background: Any, no_gc: None) -> None:
    with Client(background.address) as client:
        future = client.submit(throws, 1)
        big = client.submit(Unloadable)
        for get in (future.result, partial(gather_one, client, future), big.result, partial(gather_one, client, big)):
            with contextlib.suppress(RuntimeError, OSError):
                get()
        del future, big, get
        client.ncores()
        assert not client._session.table.records


class Unloadable:
    def __init__(self) -> None:
        self.data = bytes(100_000)

    def __setstate__(self, state: Any) -> None:
        raise OSError("cannot be loaded")


# ---------------------------------------------------------------- batches, errors, bars


@gen_cluster(client=True)
async def test_an_error_may_be_given_instead_of_raised(client: Client, *servers: Any) -> None:
    futures = [client.submit(div, 1, divisor) for divisor in (1, 0)]
    given = {future.key: value async for future, value in as_completed(futures, with_results=True, raise_errors=False)}
    assert given[futures[0].key] == 1 and isinstance(given[futures[1].key], ZeroDivisionError)


@gen_cluster(client=True)
async def test_what_came_together_is_one_batch(client: Client, *servers: Any, gate: threading.Event) -> None:
    quick, slow = client.map(inc, range(5)), client.submit(pass_gate, "gate")
    await wait(quick)
    completed = as_completed([*quick, slow])
    sizes = []
    async for batch in completed.batches():
        sizes.append(len(batch))
        gate.set()
    assert sizes == [5, 1]
    assert [batch async for batch in as_completed([]).batches()] == []


def test_batches_of_a_blocking_client(background: Any, gate: threading.Event) -> None:
    with Client(background.address) as client:
        quick, slow = client.map(inc, range(5)), client.submit(pass_gate, "gate", 7)
        wait(quick)
        completed = as_completed([*quick, slow], with_results=True)
        assert dict(completed.next_batch(block=False)) == dict(zip(quick, range(1, 6), strict=True))
        assert completed.next_batch(block=False) == []
        gate.set()
        assert list(completed.batches()) == [[(slow, 7)]]
        assert completed.next_batch() == []
        errors = as_completed([client.submit(throws, 1)], with_results=True, raise_errors=False)
        assert [type(error) for _, error in errors] == [RuntimeError]


@gen_cluster(client=True)
async def test_what_was_cleared_comes_no_more(client: Client, *servers: Any, gate: threading.Event) -> None:
    slow, quick = client.submit(pass_gate, "gate"), client.submit(inc, 1)
    completed = as_completed([slow])
    completed.clear()
    assert completed.is_empty()
    completed.add(quick)
    gate.set()
    await slow
    assert [future async for future in completed] == [quick]


def test_a_bar_counts_what_comes(background: Any) -> None:
    with Client(background.address) as client:
        output = io.StringIO()
        futures = client.map(inc, range(20))
        seen = list(tqdm(as_completed(futures), total=len(futures), file=output))
        assert sorted(future.result() for future in seen) == list(range(1, 21))
        assert "20/20" in output.getvalue()
