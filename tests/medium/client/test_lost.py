"""What becomes of tasks and data when workers, clients and the scheduler go."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from distributed import Client, wait
from distributed.calls import connect, rpc
from distributed.comm.stream import Stream
from distributed.errors import (
    AuthenticationError,
    CommClosedError,
    ConnectTimeoutError,
    LostDataError,
    SchedulerFileError,
)
from distributed.messages import KeysDone, RunTasks
from distributed.scheduler.process import write_scheduler_file
from distributed.scheduler.server import Scheduler
from distributed.security.keys import keyring_from_master
from distributed.testing.clusters import gen_cluster, gen_test, until
from distributed.testing.functions import inc
from distributed.worker.server import Worker

BIG = 100_000  # bytes of a result that stays on its worker
GATES: dict[str, threading.Event] = {}


def pass_gate(name: str) -> str:
    assert GATES[name].wait(10)
    return name


def cut(worker: Worker) -> None:
    """The connection between worker and scheduler breaks, and the worker does not come back."""
    worker.status = "cut"
    assert isinstance(worker._scheduler, Stream)
    worker._scheduler.close()


# ---------------------------------------------------------------- workers


def inc_after(gate: str, number: int) -> int:
    assert GATES[gate].wait(10)
    return number + 1


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_tasks_of_a_worker_that_closes_run_elsewhere(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    GATES["closes"] = threading.Event()  # so that its task cannot have ended before
    futures = client.map(inc_after, ["closes"] * 20, range(20))
    await until(lambda: a.executor.running.keys())
    closing = asyncio.ensure_future(a.close())
    await until(lambda: len(scheduler.ncores(None)) == 1)
    GATES["closes"].set()
    await closing
    assert await client.gather(futures) == list(range(1, 21))
    assert await client.ncores() == {b.address: 1}


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_tasks_of_a_worker_cut_off_run_elsewhere(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    GATES["cut off"] = threading.Event()
    futures = client.map(inc_after, ["cut off"] * 20, range(20))
    await until(lambda: a.executor.running.keys())
    cut(a)
    GATES["cut off"].set()
    assert await client.gather(futures) == list(range(1, 21))
    assert f"worker {a.address} left" in caplog.text
    a.status = "running"


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_a_worker_whose_connection_breaks_comes_back(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    assert isinstance(a._scheduler, Stream)
    life = a.incarnation
    GATES["breaks"] = threading.Event()
    futures = client.map(inc_after, ["breaks"] * 20, range(20))
    await until(lambda: a.executor.running.keys())
    a._scheduler.close()
    GATES["breaks"].set()
    await until(lambda: a.incarnation != life and a.status == "running")
    assert await client.gather(futures) == list(range(1, 21))
    assert await client.submit(inc, 1, workers=[a.address]) == 2


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_results_lost_with_a_worker_are_computed_again(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    small = client.submit(inc, 1)
    source = client.submit(bytes, BIG)
    big = client.submit(bytearray, source)
    await wait([small, source, big])
    holder = a if big.key in a.store else b
    await holder.close()
    assert await small == 2
    assert await big == bytes(BIG)
    assert await client.submit(len, big) == BIG


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_waiting_for_a_result_that_is_lost_meanwhile(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    big = client.submit(bytes, BIG)
    await wait(big)
    holder = a if big.key in a.store else b
    cut(holder)  # we know nothing of it yet, and it still answers
    assert await big == bytes(BIG)
    await until(lambda: big.status == "pending" or len(scheduler.ncores(None)) == 1)
    holder.status = "running"
    await holder.close()
    assert await client.gather([big]) == [bytes(BIG)]


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_scattered_data_is_lost_with_its_worker(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    futures = await client.scatter({"x": 1}, workers=a.address)
    dependent = client.submit(pass_gate, "lost", pure=False)
    GATES["lost"] = threading.Event()
    waiting = client.submit(lambda x, y: x, futures["x"], dependent)
    await until(lambda: a.executor.running.keys() or b.executor.running.keys())
    closing = a.close() if not a.executor.running.keys() else None
    if closing is None:
        GATES["lost"].set()
        await a.close()
    else:
        await closing
    await until(lambda: futures["x"].status == "lost")
    with pytest.raises(LostDataError, match="x: every worker that held it is gone"):
        await futures["x"]
    with pytest.raises(LostDataError):
        await waiting
    GATES["lost"].set()
    again = await client.scatter({"x": 2})
    assert await again["x"] == 2


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_a_worker_that_has_lost_data_secretly_is_found_out(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    big = client.submit(bytes, BIG, workers="0")
    await wait(big)
    a.store.drop([big.key])
    assert await client.submit(len, big, workers="1") == BIG
    a.store.drop([big.key])
    b.store.drop([big.key])
    assert await client.submit(bytearray, big, workers="1") == bytes(BIG)


@gen_cluster([], client=True)
async def test_tasks_wait_for_the_first_worker(client: Client, scheduler: Scheduler) -> None:
    future = client.submit(inc, 1)
    worker = await Worker(scheduler.address, nthreads=1).start()
    assert await future == 2
    await worker.close()


# ---------------------------------------------------------------- clients


@gen_cluster([("127.0.0.1", 2)])
async def test_a_client_that_goes_away_releases_everything(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as client:
        futures = [*client.map(inc, range(100)), *await client.scatter([1, 2])]
        await wait(futures)
        assert len(a.store) == 102
    await until(lambda: not scheduler.machine.state.tasks and not len(a.store))


@gen_cluster([("127.0.0.1", 2)])
async def test_two_clients_share_a_task(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as one:
        async with Client(scheduler.address, asynchronous=True) as two:
            mine, theirs = one.submit(bytes, BIG), two.submit(bytes, BIG)
            assert mine.key == theirs.key and mine != theirs
            assert await mine == await theirs == bytes(BIG)
            assert len(scheduler.machine.state.tasks) == 1
        assert await mine == bytes(BIG), "it stays until the last one lets go"
        assert len(a.store) == 1
    await until(lambda: not len(a.store))


@gen_cluster([("127.0.0.1", 1)])
async def test_one_client_cancels_what_another_waits_for(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as one, Client(scheduler.address, asynchronous=True) as two:
        mine, theirs = one.submit(inc, 1, resources={"GPU": 1}), two.submit(inc, 1, resources={"GPU": 1})
        await until(lambda: [len(client.wanted) for client in scheduler.machine.state.clients.values()] == [1, 1])
        await theirs.cancel(reason="not needed")
        await until(mine.cancelled)


@gen_cluster([("127.0.0.1", 1)])
async def test_futures_of_another_client_are_arguments_too(scheduler: Scheduler, a: Worker) -> None:
    async with Client(scheduler.address, asynchronous=True) as one, Client(scheduler.address, asynchronous=True) as two:
        future = one.submit(inc, 1)
        assert await future == 2
        assert await two.submit(inc, future) == 3
        assert await two.gather([future]) == [2]


@gen_cluster([])
async def test_the_last_open_client_is_the_current_one(scheduler: Scheduler) -> None:
    for probe in (Client.current, __import__("distributed").get_client, __import__("distributed").default_client):
        with pytest.raises(ValueError, match="no client is open"):
            probe()
    async with Client(scheduler.address, asynchronous=True) as one:
        async with Client(scheduler.address, asynchronous=True, name="two") as two:
            assert Client.current() is two and two.name == "two"
            await one.close()
        with pytest.raises(ValueError, match="no client is open"):
            Client.current()


# ---------------------------------------------------------------- the scheduler


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_when_the_scheduler_closes_everybody_hears_of_it(client: Client, scheduler: Scheduler, a: Worker) -> None:
    here, there, pending = client.submit(inc, 1), client.submit(bytes, BIG), client.submit(inc, 2, resources={"GPU": 1})
    await wait([here, there])
    await scheduler.close("maintenance")
    with pytest.raises(CommClosedError, match="the scheduler ended: maintenance"):
        await pending
    assert pending.status == "lost" and client.status == "closed"
    assert await here == 2
    for attempt in (there, client.gather([there]), client.ncores(), client.scatter([1])):
        with pytest.raises(CommClosedError, match="maintenance"):
            await attempt
    with pytest.raises(CommClosedError, match="maintenance"):
        client.submit(inc, 1)
    with pytest.raises(CommClosedError, match="maintenance"):
        await pending.exception()
    with pytest.raises(ValueError):
        Client.current()
    await until(lambda: a.status == "closed")
    await client.close()


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_shutdown_ends_everything(client: Client, scheduler: Scheduler, a: Worker) -> None:
    await client.shutdown()
    assert await scheduler.finished == f"{client.name} asked for it"
    await a.finished
    assert client.status == "closed"


@pytest.mark.parametrize(
    "wire",
    [
        ["nonsense"],
        {"op": "keys-done"},
        5,
        ["keys-done", ["a"], [], []],
        RunTasks({}, [], None, [], [], [], None, None, {}, {}).to_wire(),
    ],
    ids=["unknown op", "a dict", "a number", "columns", "not for clients"],
)
@gen_cluster([("127.0.0.1", 1)])
async def test_nonsense_from_the_scheduler_ends_that_client_alone(
    scheduler: Scheduler, a: Worker, *, wire: Any
) -> None:
    async with Client(scheduler.address, asynchronous=True) as one, Client(scheduler.address, asynchronous=True) as two:
        pending = one.submit(inc, 1, resources={"GPU": 1})
        stream = scheduler._clients.endpoint(one.id).stream
        assert stream is not None
        stream.write_message_nowait(wire)
        with pytest.raises(CommClosedError):
            await pending
        assert one.status == "closed"
        assert await two.submit(inc, 1) == 2
        await until(lambda: list(scheduler._clients) == [two.id])


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_news_of_unknown_keys_is_no_news(client: Client, scheduler: Scheduler, a: Worker) -> None:
    scheduler._clients.send(client.id, KeysDone(["unknown"], [b"x"], [1]))
    assert await client.submit(inc, 1) == 2


# ---------------------------------------------------------------- finding the scheduler


@gen_test()
async def test_a_client_says_that_no_scheduler_is_there() -> None:
    with pytest.raises(ConnectTimeoutError, match="Start one with `dscheduler`"):
        await Client("127.0.0.1:9", asynchronous=True, timeout=0.05)


@gen_cluster([("127.0.0.1", 1)])
async def test_a_client_says_that_it_found_no_scheduler_but_something_else(scheduler: Scheduler, a: Worker) -> None:
    with pytest.raises(Exception, match="register_client"):
        await Client(a.address, asynchronous=True)


@gen_cluster([])
async def test_a_client_with_another_key_is_refused(scheduler: Scheduler, *, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.comm.connect.keyring", lambda: keyring_from_master(b"another key" * 3))
    with pytest.raises(AuthenticationError, match="DISTRIBUTED_KEY_FILE"):
        await Client(scheduler.address, asynchronous=True)
    assert not list(scheduler._clients)


@gen_cluster([])
async def test_a_scheduler_file_leads_to_the_scheduler(scheduler: Scheduler, *, tmp_path: Any) -> None:
    write_scheduler_file(tmp_path / "s.json", scheduler.id, scheduler.address)
    async with Client(scheduler_file=tmp_path / "s.json", asynchronous=True) as client:
        assert client.scheduler_address == scheduler.address
    for content in ("{}", "[1]", "no json", '{"format": 1, "address": 5}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(SchedulerFileError, match=r"bad.json"):
            Client(scheduler_file=tmp_path / "bad.json", asynchronous=True)
    with pytest.raises(SchedulerFileError, match="does not exist"):
        Client(scheduler_file=tmp_path / "none.json", asynchronous=True)


@gen_cluster([])
async def test_the_environment_may_name_the_scheduler(scheduler: Scheduler, *, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIBUTED_SCHEDULER_ADDRESS", scheduler.address.removeprefix("tcp://"))
    async with Client(asynchronous=True) as client:
        assert client.scheduler_address == scheduler.address
        assert repr(client) == f"<Client: {scheduler.address}, running>"
    with pytest.raises(TypeError, match="n_workers: only for a LocalCluster"):
        Client(asynchronous=True, n_workers=2)


@gen_cluster([])
async def test_a_client_that_has_not_started_says_so(scheduler: Scheduler) -> None:
    client = Client(scheduler.address, asynchronous=True)
    assert client.status == "connecting" and "not connected" in repr(client)
    with pytest.raises(CommClosedError, match="`await` it first"):
        client.submit(inc, 1)
    with pytest.raises(TypeError, match="async with"), client:
        pass
    await client.close()


@gen_cluster([("127.0.0.1", 2)], client=True)
async def test_looking(client: Client, scheduler: Scheduler, a: Worker) -> None:
    futures = client.map(inc, range(3))
    await wait(futures)
    assert await client.ncores() == await client.nthreads() == {a.address: 2}
    assert await client.ncores(["tcp://nobody:1"]) == {}
    assert await client.has_what() == {a.address: list(futures.keys)}
    assert await client.who_has() == await client.who_has(futures) == {key: [a.address] for key in futures.keys}
    info = await client.scheduler_info()
    assert info["id"] == scheduler.id and list(info["workers"]) == [a.address]
    assert info["workers"][a.address]["name"] == "0"
    versions = await client.get_versions(check=True)
    assert versions["client"] == versions["scheduler"] == versions["workers"][a.address]
    async with rpc(scheduler.address) as link:
        assert (await link.identity())["workers"] == {a.address: 2}


@gen_cluster([])
async def test_a_worker_of_another_version_is_warned_of(scheduler: Scheduler) -> None:
    stream = await connect(scheduler.address, role="worker")
    await stream_call(stream, op="register_worker", address="tcp://a:1", incarnation="1", name="a", nthreads=1,
                      versions={"python": "2.7.1", "distributed": 5, "odd": None})  # fmt: skip
    with pytest.warns(Warning) as caught:
        client = await Client(scheduler.address, asynchronous=True)
    assert {"python", "distributed"} <= {str(warning.message).split()[2] for warning in caught}
    await client.close()
    stream.close()


async def stream_call(stream: Stream, **request: Any) -> Any:
    stream.write_message_nowait(request)
    return await stream.read_message()
