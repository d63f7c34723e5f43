"""Actors as users see them, on clusters in this process."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
import threading
import time
from typing import Any

import numpy as np
import pytest

from distributed import Actor, ActorFuture, Client, get_client, wait
from distributed.errors import (
    ActorLostError,
    ActorWaitsError,
    BadRequestError,
    CancelledError,
    DistributedWarning,
    UnpicklableError,
)
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.worker.server import Worker

GATES: dict[str, threading.Event] = {}


@pytest.fixture(autouse=True)
def gates() -> Any:
    """Events by name that actors of this process wait for; set in the end."""
    GATES.clear()
    for name in ("begun", "go", "late"):
        GATES[name] = threading.Event()
    yield
    GATES["go"].set()


class Counter:
    """State, and every kind of method."""

    step = 1

    def __init__(self, start: int = 0) -> None:
        self.n = start
        self.seen: list[int] = []
        self.thread = threading.get_ident()

    def add(self, amount: int = 1) -> int:
        self.n += amount * self.step
        self.seen.append(amount)
        return self.n

    def history(self) -> list[int]:
        return self.seen

    def boom(self, text: str) -> None:
        raise KeyError(text)

    def leave(self) -> None:
        raise SystemExit(3)

    def me(self) -> Counter:
        return self

    def unpicklable(self) -> Any:
        return threading.Lock()

    def where(self) -> int:
        return threading.get_ident()

    def zeros(self, count: int) -> Any:
        return np.zeros(count)

    def wait(self) -> str:
        GATES["begun"].set()
        GATES["go"].wait(10)
        return "went"

    def spin(self) -> None:
        GATES["begun"].set()
        while not GATES["go"].is_set():
            self.n += 1
        GATES["late"].set()

    def wait_for(self, key: str) -> Any:
        future = get_client().submit(self.never, key=key)
        GATES["begun"].set()
        return future.result()

    @staticmethod
    def never() -> None:
        GATES["go"].wait(20)

    def call(self, other: Actor) -> Any:
        return other.add(10).result()


class Mailbox:
    """Async methods that wait for each other."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.letters: list[str] = []

    async def read(self) -> str:
        await self.event.wait()
        return self.letters.pop()

    async def write(self, letter: str) -> None:
        self.letters.append(letter)
        self.event.set()

    def count(self) -> int:
        return len(self.letters)

    async def fail(self) -> None:
        raise ValueError("async")


def add_to(counter: Any, amount: int) -> Any:
    return counter.add(amount).result()


def read_of(counter: Any) -> Any:
    return counter.n


# ---------------------------------------------------------------- calls


def test_methods_change_the_object_and_attributes_are_read(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, 5, actor=True).result()
        assert isinstance(counter, Actor)
        future = counter.add(2)
        assert isinstance(future, ActorFuture)
        assert future.result() == 7 and future.done() and future.exception() is None
        assert counter.n == 7 and counter.step == 1
        assert counter.add(amount=3).result(timeout=10) == 10


def test_the_loop_of_an_asynchronous_client_awaits() -> None:
    @gen_cluster(client=True)
    async def program(client: Client, *servers: Any) -> None:
        counter = await client.submit(Counter, actor=True)
        assert await counter.add() == 1
        assert await counter.n == 1
        assert await counter.add().result() == 2
        assert isinstance(await counter.boom("x").exception(), KeyError)
        with pytest.raises(KeyError, match="y"):
            await counter.boom("y")

    program()


def test_calls_run_in_order_one_at_a_time(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        futures = [counter.add(number) for number in range(500)]
        assert futures[-1].result() == sum(range(500))
        assert counter.history().result() == list(range(500))


def test_big_arguments_and_results_go_in_order_with_small_ones(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        futures = [counter.zeros(count) for count in (1, 1_000_000, 2, 300_000)]
        assert [len(future.result()) for future in futures] == [1, 1_000_000, 2, 300_000]
        futures = [counter.add(amount) for amount in (1, np.ones(100_000), 2)]
        assert futures[-1].result()[-1] == 4


def test_a_result_bigger_than_a_message_comes_in_pieces(background: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.worker.actor_calls.PART_NBYTES", 100_000)
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        futures = [counter.zeros(100_000), counter.zeros(3)]
        assert len(futures[0].result()) == 100_000 and len(futures[1].result()) == 3


def test_what_a_method_raises_comes_with_its_traceback(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        with pytest.raises(KeyError, match="which") as caught:
            counter.boom("which").result()
        assert "raise KeyError(text)" in str(caught.value.__cause__)
        with pytest.raises(Exception, match="SystemExit"):
            counter.leave().result()
        with pytest.raises(UnpicklableError, match="unpicklable of Counter"):
            counter.unpicklable().result()
        with pytest.raises(AttributeError):
            counter.nothing  # noqa: B018  (reading is the act)
        assert counter.add().result() == 1


def test_an_object_that_cannot_be_made_fails_its_future(background: Any) -> None:
    with Client(background.address) as client, pytest.raises(TypeError):
        client.submit(Counter, no_such=1, actor=True).result()


def test_an_actor_never_leaves_its_worker(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        assert counter.me().result() == counter
        assert isinstance(counter.me().result(), Actor)


def test_proxies_show_what_they_are_and_take_no_attributes(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True, key="counter").result()
        assert repr(counter) == "<Actor: Counter, key: counter>"
        assert "add" in dir(counter)
        assert len({counter, pickle.loads(pickle.dumps(counter))}) == 1
        with pytest.raises(AttributeError, match="its own methods"):
            counter.n = 3
        with pytest.raises(AttributeError, match="only public"):
            counter._private  # noqa: B018  (reading is the act)


def test_each_call_makes_an_actor_of_its_own(background: Any) -> None:
    with Client(background.address) as client:
        one, two = (client.submit(Counter, actor=True).result() for _ in range(2))
        assert one.add().result() == two.add().result() == 1
        three, four = client.gather(client.map(Counter, [10, 20], actor=True))
        assert [three.n, four.n] == [10, 20]


def test_actor_is_a_flag(background: Any) -> None:
    with Client(background.address) as client, pytest.raises(BadRequestError, match="actor='yes'"):
        client.submit(Counter, actor="yes")  # type: ignore[arg-type]


def test_an_actor_leaves_the_threads_of_its_worker_to_tasks(background: Any) -> None:
    with Client(background.address) as client:
        worker = background.workers[0].address
        counter = client.submit(Counter, actor=True, workers=worker).result()
        future = counter.wait()
        assert GATES["begun"].wait(10)
        assert client.submit(abs, -1, workers=worker).result(timeout=10) == 1
        with pytest.raises(TimeoutError, match="wait of the actor"):
            future.result(timeout=0.001)
        GATES["go"].set()
        assert future.result() == "went"


def test_what_belongs_to_a_thread_works_as_long_as_the_actor_is_busy(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        assert counter.where().result() == counter.where().result() != threading.get_ident()


def make_database() -> Any:
    return Database()


class Database:
    """Its connection works only in the thread that made it."""

    def __init__(self) -> None:
        self.connection: sqlite3.Connection | None = None

    def open(self) -> None:
        self.connection = sqlite3.connect(":memory:")

    def ask(self, text: str) -> Any:
        assert self.connection is not None
        return self.connection.execute(text).fetchone()


def test_a_function_may_make_the_object(background: Any) -> None:
    with Client(background.address) as client:
        database = client.submit(make_database, actor=True).result()
        database.open().result()
        assert database.ask("select 1 + 1").result() == (2,)


# ---------------------------------------------------------------- async methods


def test_async_methods_take_turns_where_they_await(background: Any) -> None:
    with Client(background.address) as client:
        box = client.submit(Mailbox, actor=True).result()
        reading = box.read()
        assert box.count().result() == 0 and not reading.done()
        box.write("hello").result()
        assert reading.result() == "hello"
        with pytest.raises(ValueError, match="async"):
            box.fail().result()


def test_async_methods_under_way_end_with_their_actor(background: Any) -> None:
    with Client(background.address) as client:
        future = client.submit(Mailbox, actor=True)
        box = future.result()
        reading = box.read()
        assert box.count().result() == 0
        client.cancel(future)
        with pytest.raises(ActorLostError, match="released"):
            reading.result(10)


# ---------------------------------------------------------------- who may call


def test_a_task_calls_an_actor(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True)
        workers = [worker.address for worker in background.workers]
        for number, worker in enumerate(workers * 2):
            assert client.submit(add_to, counter, 1, workers=worker, pure=False).result() == number + 1
            assert client.submit(read_of, counter, workers=worker, pure=False).result() == number + 1
        proxy = counter.result()
        assert client.submit(add_to, proxy, 1).result() == 5
        assert client.submit(sum, [client.submit(add_to, proxy, 1, pure=False)] * 2).result() == 12


def test_a_task_that_returns_the_future_of_a_call_is_told_to_take_its_result(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        with pytest.raises(UnpicklableError, match=r"take its result\(\), and return or send that"):
            client.submit(counter.add, 1).result()


def test_an_actor_calls_another_one(background: Any) -> None:
    with Client(background.address) as client:
        one, two = client.gather(client.map(Counter, [0, 100], actor=True))
        assert one.call(two).result() == 110


def test_an_actor_that_waits_for_itself_is_told(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        with pytest.raises(ActorWaitsError, match=r"self\.method"):
            counter.call(counter).result(10)


def test_another_client_calls_a_proxy_that_it_was_given(background: Any) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True, key="shared").result()
        blob = pickle.dumps(counter)
        with Client(background.address):
            assert pickle.loads(blob).add(2).result() == 2
        assert counter.n == 2


def give(proxy: Any) -> Any:
    return {"proxy": proxy}


def test_a_proxy_inside_a_result_holds_its_actor(background: Any) -> None:
    with Client(background.address) as client:
        future = client.submit(Counter, actor=True)
        inside = client.submit(give, future).result()["proxy"]
        future.release()
        assert inside.add(4).result() == 4
        assert client.submit(add_to, inside, 1).result() == 5


# ---------------------------------------------------------------- the end


def test_a_proxy_holds_its_actor_and_the_last_one_ends_it(background: Any, no_gc: None) -> None:
    with Client(background.address) as client:
        counter = client.submit(Counter, actor=True).result()
        houses = [worker.actors for worker in background.workers]
        assert sum(map(len, houses)) == 1
        assert counter.add().result() == 1
        del counter
        deadline = time.monotonic() + 10
        while sum(map(len, houses)) and time.monotonic() < deadline:
            client.submit(abs, -1, pure=False).result()
        assert sum(map(len, houses)) == 0


def test_a_call_holds_its_actor_until_it_is_answered(background: Any) -> None:
    with Client(background.address) as client:
        future = client.submit(Counter, 1, actor=True).result().wait()
        assert GATES["begun"].wait(10)
        GATES["go"].set()
        assert future.result() == "went"


def test_calls_of_a_cancelled_actor_fail(background: Any) -> None:
    with Client(background.address) as client:
        future = client.submit(Counter, actor=True, key="gone")
        counter = future.result()
        running, waiting = counter.wait(), counter.add()
        assert GATES["begun"].wait(10)
        client.cancel(future)
        with pytest.raises(ActorLostError, match=r"the actor gone on tcp.* is lost"):
            counter.add().result(10)
        GATES["go"].set()  # what runs waits in C, where the interrupt does not come before
        for call in (running, waiting):
            with pytest.raises(ActorLostError, match="released"):
                call.result(10)


def test_calls_under_way_fail_when_the_client_closes(background: Any) -> None:
    with Client(background.address) as client:
        future = client.submit(Counter, actor=True).result().wait()
        assert GATES["begun"].wait(10)
    with pytest.raises(Exception, match="closed"):
        future.result(10)


@gen_cluster(client=True)
async def test_an_actor_is_lost_with_its_worker(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    future = client.submit(Counter, actor=True, key="lost", workers=workers[0].address)
    counter = await future
    under_way = counter.wait()
    await until(GATES["begun"].is_set)
    await workers[0].close()
    with pytest.raises(ActorLostError, match="the actor lost on"):
        await under_way
    with pytest.raises(ActorLostError, match="the actor lost on") as caught:
        await counter.add()
    assert (caught.value.key, caught.value.worker) == ("lost", workers[0].address)
    await wait(future)
    await until(lambda: future.status == "error")
    with pytest.raises(ActorLostError, match=r"submit\(\.\.\., actor=True\)"):
        await future
    assert all(not worker.actors for worker in workers)
    GATES["go"].set()


@gen_cluster(client=True)
async def test_a_connection_that_breaks_leaves_it_open_whether_a_call_ran(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    counter = await client.submit(Counter, actor=True, workers=workers[0].address)
    assert await counter.add() == 1
    future = counter.wait()
    await until(GATES["begun"].is_set)
    for caller in list(workers[0].actors._callers):
        caller.stream.close()
    GATES["go"].set()
    with pytest.raises(OSError, match="whether it ran is not known"):
        await future
    assert await counter.add() == 2


@gen_cluster(client=True)
async def test_retiring_a_worker_warns_of_its_actors(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    counter = await client.submit(Counter, actor=True, key="mine", workers=workers[0].address)
    with pytest.warns(DistributedWarning, match=r"1 actor\(s\) were lost.*mine"):
        await client.retire_workers(workers[0].address)
    with pytest.raises(ActorLostError):
        await counter.add()


@gen_cluster(client=True)
async def test_actors_are_spread_over_the_workers(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    counters = [await client.submit(Counter, actor=True) for _ in range(8)]
    crowds = [len(worker.actors) / worker.nthreads for worker in workers]
    assert max(crowds) - min(crowds) <= 1
    assert [await counter.add() for counter in counters] == [1] * 8


@pytest.mark.parametrize(("method", "arguments"), [("spin", ()), ("wait_for", ("blocked",))])
def test_what_a_cancelled_actor_does_is_interrupted(method: str, arguments: tuple[Any, ...]) -> None:
    @gen_cluster(client=True)
    async def interrupted(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
        future = client.submit(Counter, actor=True)
        counter = await future
        under_way = getattr(counter, method)(*arguments)
        waiting = counter.add()
        await asyncio.to_thread(GATES["begun"].wait, 10)
        await future.cancel()
        with pytest.raises((ActorLostError, CancelledError), match=f"{future.key}|blocked"):  # its child is told too
            await under_way
        with pytest.raises(ActorLostError, match=future.key):
            await waiting
        await until(lambda: not [thread for thread in threading.enumerate() if future.key[:20] in thread.name])
        assert not GATES["late"].is_set()
        GATES["go"].set()

    interrupted()
