"""The scheduler's server: registration, streams that break the contract, ops, and the end."""

from __future__ import annotations

import asyncio
import platform
import sys
from typing import Any

import pytest

from distributed import Client
from distributed.calls import connect, rpc
from distributed.comm.stream import Stream
from distributed.errors import (
    BadRequestError,
    CommClosedError,
    InvariantError,
    MessageTooLargeError,
    NameTakenError,
    PermissionDeniedError,
    ProtocolError,
    RemoteError,
)
from distributed.messages import Heartbeat, KeysDone, ServerClosing, SubmitTasks, TasksDone, TaskSpec
from distributed.protocol.codec import ErrorReply, Limits
from distributed.protocol.failure import exception_from_reply
from distributed.protocol.serialize import dumps_function, dumps_payload
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, gen_test, until
from distributed.testing.functions import inc
from distributed.worker.server import Worker


async def ask(stream: Stream, **request: Any) -> Any:
    """The answer to a plain request; its error is raised."""
    stream.write_message_nowait(request)
    answer = await stream.read_message()
    if isinstance(answer, ErrorReply):
        raise exception_from_reply(answer, "the scheduler")
    return answer


async def join(scheduler: Scheduler, name: str = "fake", **fields: Any) -> Stream:
    """A worker that does nothing."""
    stream = await connect(scheduler.address, role="worker")
    request = {"address": f"tcp://{name}:1", "incarnation": f"{name}-1", "name": name, "nthreads": 1, **fields}
    answer = await ask(stream, op="register_worker", **request)
    assert answer == {"scheduler": scheduler.id}
    return stream


async def closed_with_error(stream: Stream) -> Any:
    """The error reply that comes before the stream is closed."""
    answer = await stream.read_message()
    with pytest.raises(CommClosedError):
        await stream.read_message()
    return answer


# ---------------------------------------------------------------- workers


@gen_cluster([])
async def test_a_worker_joins_and_leaves(scheduler: Scheduler) -> None:
    stream = await join(scheduler, resources={"GPU": 2}, pid=5, hostname="here")
    info = scheduler.scheduler_info(None)["workers"]["tcp://fake:1"]
    assert (info["name"], info["pid"], info["hostname"], info["resources"]) == ("fake", 5, "here", {"GPU": 2.0})
    stream.close()
    await until(lambda: scheduler.ncores(None) == {})
    assert not scheduler._workers and not scheduler._worker_details and not scheduler._joining


@gen_cluster([])
async def test_an_address_may_be_spelled_in_any_way(scheduler: Scheduler) -> None:
    stream = await join(scheduler, address="127.0.0.1:5")
    assert scheduler.ncores(None) == {"tcp://127.0.0.1:5": 1}
    stream.close()
    await until(lambda: scheduler.ncores(None) == {})


@gen_cluster([])
async def test_a_name_is_given_once(scheduler: Scheduler) -> None:
    first = await join(scheduler)
    with pytest.raises(NameTakenError, match="name taken, 'fake': the worker at tcp://fake:1 has it"):
        await join(scheduler, address="tcp://other:1", incarnation="other")
    assert list(scheduler._worker_details) == ["tcp://fake:1"], "the refused one leaves nothing"
    first.close()
    await until(lambda: scheduler.ncores(None) == {})
    (await join(scheduler, address="tcp://other:1", incarnation="other")).close()


@gen_cluster([])
async def test_a_new_life_at_an_address_ends_the_old_one(scheduler: Scheduler) -> None:
    old = await join(scheduler)
    new = await join(scheduler, incarnation="fake-2")
    with pytest.raises(CommClosedError):
        await old.read_message()
    assert scheduler.ncores(None) == {"tcp://fake:1": 1}
    with pytest.raises(BadRequestError, match="connected already"):
        await join(scheduler, incarnation="fake-2")
    assert scheduler._workers["tcp://fake:1"].closed() is False
    new.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"nthreads": 0},
        {"nthreads": "1"},
        {"nthreads": None},
        {"address": "not an address:x"},
        {"address": 5},
        {"incarnation": 5},
        {"incarnation": ""},
        {"resources": {"GPU": -1}},
        {"resources": {"GPU": float("nan")}},
        {"resources": {"GPU": "many"}},
        {"resources": 5},
        {"tags": "linux"},
        {"tags": [5]},
        {"tags": ["tag"] * 65},
        {"memory_limit_nbytes": "much"},
        {"unknown": 5},
    ],
    ids=str,
)
@gen_cluster([])
async def test_a_registration_that_makes_no_sense_is_refused(scheduler: Scheduler, *, fields: dict[str, Any]) -> None:
    with pytest.raises((BadRequestError, ValueError, TypeError, AttributeError, RemoteError)):
        await join(scheduler, **fields)
    assert scheduler.ncores(None) == {} and not scheduler._joining and not scheduler._worker_details
    (await join(scheduler)).close()


@gen_cluster([])
async def test_registrations_need_a_stream_and_the_right_role(scheduler: Scheduler) -> None:
    async with rpc(scheduler.address) as link:
        with pytest.raises(BadRequestError, match="needs a stream of its own"):
            await link.register_client(client="c")
        with pytest.raises(PermissionDeniedError):
            await link.register_worker(address="tcp://a:1", incarnation="1", name="a", nthreads=1)
    stream = await connect(scheduler.address, role="worker")
    with pytest.raises(PermissionDeniedError):
        await ask(stream, op="register_client", client="c")
    stream.close()
    stream = await connect(scheduler.address)
    for client in (5, "", None, ["x"]):
        with pytest.raises(BadRequestError, match="is no name"):
            await ask(stream, op="register_client", client=client)
    stream.close()


@gen_cluster([])
async def test_a_client_registers_once(scheduler: Scheduler) -> None:
    one, two = await connect(scheduler.address), await connect(scheduler.address)
    hello = await ask(one, op="register_client", client="c", versions={"python": 3})
    assert hello["id"] == scheduler.id and "received" not in hello
    with pytest.raises(BadRequestError, match="connected already"):
        await ask(two, op="register_client", client="c")
    one.close()
    await until(lambda: scheduler._clients.endpoint("c").stream is None)
    await ask(two, op="register_client", client="c")
    two.write_message_nowait(["bye"])
    await until(lambda: not list(scheduler._clients))
    two.close()


# ---------------------------------------------------------------- messages that break the contract

BAD = {
    "a number": 5,
    "a dict": {"op": "submit-tasks"},
    "an empty list": [],
    "unknown op": ["nonsense", 1],
    "too few fields": ["submit-tasks"],
    "of another sender": KeysDone([], [], []).to_wire(),
    "columns": ["tasks-done", ["a"], [1, 2], [1], [None], [0.1]],
    "wrong type": ["release-keys", 5],
    "an index": ["submit-tasks", {}, [], [5], ["a"], [b""], None],
    "a spec": ["submit-tasks", {}, [["x"]], None, ["a"], [b""], None],
}


@pytest.mark.parametrize("role", ["client", "worker"])
@pytest.mark.parametrize("wire", BAD.values(), ids=BAD.keys())
@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_nonsense_closes_only_its_own_connection(
    client: Client, scheduler: Scheduler, a: Worker, *, role: str, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stream = await connect(scheduler.address) if role == "client" else await join(scheduler)
    if role == "client":
        await ask(stream, op="register_client", client="bad")
    stream.write_message_nowait(wire)
    stream.write_message_nowait(Heartbeat([], {}).to_wire())
    answer = await closed_with_error(stream)
    assert answer["type"] == "distributed.errors.ProtocolError"
    assert "closing the connection with" in caplog.text
    assert await client.submit(inc, 1) == 2
    assert list(scheduler._clients) == [client.id] and scheduler.ncores(None) == {a.address: 1}


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_bytes_that_are_no_message_close_only_their_own_connection(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    stream = await connect(scheduler.address)
    await ask(stream, op="register_client", client="bad")
    await stream.write(b"\xc1\xc1\xc1garbage\xc1\x00")
    with pytest.raises(CommClosedError):
        await stream.read_message()
    await until(lambda: list(scheduler._clients) == [client.id])
    assert await client.submit(inc, 1) == 2


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_answers_about_tasks_that_were_never_given_are_ignored(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    future = client.submit(inc, 1, resources={"GPU": 1})
    await client.ncores()
    stream = await join(scheduler)
    stream.write_message_nowait(TasksDone([future.key, "unknown"], [1, 1], [1, 1], [b"x", b"x"], [0.1, 0.1]).to_wire())
    assert await client.submit(inc, 2) == 3
    assert not future.done()
    stream.close()
    await until(lambda: len(scheduler.ncores(None)) == 1)


@gen_cluster([("127.0.0.1", 1)])
async def test_faults_of_single_tasks_harm_no_others(scheduler: Scheduler, a: Worker) -> None:
    stream = await connect(scheduler.address)
    await ask(stream, op="register_client", client="c")
    function = dumps_function(inc)
    specs = [TaskSpec(b"f"), TaskSpec(b"unknown function")]
    arguments = [dumps_payload(((1,), {}))] * 4
    needs = [None, None, ["unknown key"], ["d"]]
    stream.write_plain_nowait(
        SubmitTasks({b"f": function}, specs, [0, 1, 0, 0], list("abcd"), arguments, needs).to_wire()
    )
    found: dict[str, str] = {}
    while len(found) < 4:
        op, keys, details, *_ = await stream.read_message()
        found.update(
            {
                key: detail[0].rpartition(".")[2] if op == "keys-failed" else op
                for key, detail in zip(keys, details, strict=True)
            }
        )
    assert found == {"a": "keys-done", "b": "BadRequestError", "c": "LostDataError", "d": "BadRequestError"}
    stream.close()


# ---------------------------------------------------------------- big messages


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_what_no_message_can_hold_costs_one_connection(
    client: Client, scheduler: Scheduler, a: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler._workers[a.address], "_limits", Limits(header_nbytes_max=2_000))
    future = client.submit(len, bytes(10_000))
    await until(lambda: a.address not in scheduler.ncores(None))
    assert "cannot be sent; closing its connection" in caplog.text and MessageTooLargeError.__name__ in caplog.text
    assert await future == 10_000, "the worker came back with a connection of its own limits"


# ---------------------------------------------------------------- ops


@gen_cluster([("127.0.0.1", 2)], client=True)
async def test_ops_answer_without_a_client(client: Client, scheduler: Scheduler, a: Worker) -> None:
    future = client.submit(inc, 1)
    await future
    async with rpc(scheduler.address) as link:
        assert (await link.identity())["workers"] == await link.ncores() == {a.address: 2}
        assert await link.who_has(keys=[future.key, "unknown"]) in (
            {future.key: [a.address]},
            {future.key: [a.address], "unknown": []},
        )
        assert await link.has_what(workers=[a.address]) == {a.address: [future.key]}
        info = await link.scheduler_info()
        assert info["clients"][client.id]["wanted"] == 1
        assert info["workers"][a.address]["tags"] == a.tags == [sys.platform, f"{sys.platform}-{platform.machine()}"]
        assert await link.desired_workers() == 0
        with pytest.raises(BadRequestError, match="seconds, > 0"):
            await link.desired_workers(target_s=0)
        assert (await link.versions())["distributed"]
        assert {"register_client", "register_worker", "terminate"} <= set(await link.ops())


@pytest.mark.parametrize("certificate", [{}, {"running": "x"}, {"running": [5]}, {"running": None}])
@gen_cluster([])
async def test_a_certificate_names_what_ran(scheduler: Scheduler, *, certificate: Any) -> None:
    async with rpc(scheduler.address, role="worker") as link:
        with pytest.raises(BadRequestError, match="lists the keys"):
            await link.worker_died(address="tcp://a:1", incarnation="x", certificate=certificate)
        assert await link.worker_died(address="tcp://a:1", incarnation="x", certificate={"running": []}) == "OK"


@gen_cluster([])
async def test_values_of_the_wrong_type_never_reach_the_machine(scheduler: Scheduler) -> None:
    async with rpc(scheduler.address, role="worker") as link:
        for address, incarnation in (([], "x"), ("tcp://a:1", ["x"]), ("", "x")):
            with pytest.raises(BadRequestError, match="are texts"):
                await link.worker_died(address=address, incarnation=incarnation, certificate={"running": []})
    stream = await connect(scheduler.address)
    await ask(stream, op="register_client", client="c")
    async with rpc(scheduler.address) as link:
        for keys, client, reason in (([[]], "c", None), (["k"], [], None), (["k"], "c", 5), ("k", "c", None)):
            with pytest.raises((BadRequestError, ProtocolError)):
                await link.cancel(keys=keys, client=client, reason=reason)
        assert await link.cancel(keys=["k"], client="c") == "OK"
    stream.close()
    assert scheduler.status == "running"


@gen_cluster([])
async def test_a_worker_whose_versions_make_no_sense_leaves_nothing_behind(scheduler: Scheduler) -> None:
    stream = await connect(scheduler.address, role="worker")
    with pytest.raises((BadRequestError, TypeError, AttributeError, ValueError)):
        await ask(stream, op="register_worker", address="tcp://a:1", incarnation="1", name="a", nthreads=1, versions=5)
    stream.close()
    assert not scheduler._workers and not scheduler._joining and not scheduler.machine.state.workers


# ---------------------------------------------------------------- the end


@gen_test()
async def test_closing_tells_clients_and_workers() -> None:
    scheduler = Scheduler()
    scheduler.listen(0)
    worker = await join(scheduler)
    client = await connect(scheduler.address)
    await ask(client, op="register_client", client="c")
    await asyncio.gather(scheduler.close("enough"), scheduler.close("again"))
    for stream in (worker, client):
        assert await stream.read_message() == ServerClosing("enough").to_wire()
        with pytest.raises(CommClosedError):
            await stream.read_message()
    assert scheduler.status == "closed" and await scheduler.finished == "enough"


@gen_test()
async def test_a_peer_that_does_not_read_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.scheduler.sessions.FLUSH_TIMEOUT_S", 0.01)
    scheduler = Scheduler()
    scheduler.listen(0)
    client = await connect(scheduler.address)
    await ask(client, op="register_client", client="c")
    client.pause_reading()
    scheduler._clients.send("c", KeysDone(["x"], [bytes(20_000_000)], [1]))
    await scheduler.close()
    client.close()


@gen_cluster([("127.0.0.1", 1)])
async def test_terminate_answers_first(scheduler: Scheduler, a: Worker) -> None:
    async with rpc(scheduler.address) as link:
        assert await link.terminate(reason="enough") == "OK"
    assert await scheduler.finished == "enough"
    assert await a.finished == "the scheduler ended: enough"


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_a_fault_of_our_own_ends_the_scheduler_and_everybody_hears_why(
    client: Client, scheduler: Scheduler, a: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        next_wakeup = None

        def handle(self, event: Any, now: float) -> None:
            raise InvariantError("a rule does not hold")

    pending = client.submit(inc, 1, resources={"GPU": 1})
    await client.ncores()
    scheduler.driver.machine = Broken()  # type: ignore[assignment]
    client.submit(inc, 5)
    with pytest.raises(CommClosedError, match="InvariantError: a rule does not hold"):
        await pending
    with pytest.raises(InvariantError):
        await scheduler.finished
    assert "the scheduler cannot go on" in caplog.text
