"""Workers that fetch from each other: those who are busy say so, those who are silent are given up."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from distributed import Client
from distributed.calls import rpc
from distributed.core import Server
from distributed.errors import CommClosedError, PeerBusyError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, gen_test
from distributed.worker import copies, peers
from distributed.worker.peers import BIG_ANSWER_NBYTES, BIG_ANSWERS_MAX, BigAnswers, unless_silent
from distributed.worker.server import Worker

BIG = BIG_ANSWER_NBYTES


class AskerStream:
    """What of a stream is looked at."""

    def __init__(self) -> None:
        self.nbytes_unsent = 0
        self.is_closed = False

    def closed(self) -> bool:
        return self.is_closed


def full(clock: list[float]) -> tuple[BigAnswers, AskerStream, ExitStack]:
    """As many answers as are allowed, the first one for that stream, and all of them in the making."""
    answers = BigAnswers(lambda: "tcp://me:1", lambda: clock[0])
    first, making = AskerStream(), ExitStack()
    making.enter_context(answers.place(first, BIG, or_busy=True))
    for _ in range(BIG_ANSWERS_MAX - 1):
        making.enter_context(answers.place(AskerStream(), BIG, or_busy=True))
    return answers, first, making


def is_refused(answers: BigAnswers, nbytes: int = BIG, or_busy: bool = True) -> bool:
    try:
        with answers.place(AskerStream(), nbytes, or_busy):
            return False
    except PeerBusyError:
        return True


def test_only_so_many_big_answers_are_given_at_once_to_those_who_can_come_again() -> None:
    answers, _, _ = full([0.0])
    assert is_refused(answers)
    assert not is_refused(answers, BIG - 1)
    assert not is_refused(answers, or_busy=False)  # one more than there should be


@pytest.mark.parametrize("how", ["sent", "closed"])
def test_a_place_is_free_when_an_answer_is_sent_or_its_asker_gone(how: str) -> None:
    clock = [0.0]
    answers, first, making = full(clock)
    first.nbytes_unsent = 5
    making.close()  # all are made, and those but the first are sent
    assert is_refused(answers), "they have just been made and are not written yet"
    clock[0] = 1.0
    for _ in range(BIG_ANSWERS_MAX - 1):
        making.enter_context(answers.place(AskerStream(), BIG, or_busy=True))
    assert is_refused(answers)
    first.nbytes_unsent, first.is_closed = 0 if how == "sent" else 5, how == "closed"
    assert not is_refused(answers)


@gen_cluster([("127.0.0.1", 1)])
async def test_a_busy_worker_refuses_only_those_who_can_come_again(
    scheduler: Scheduler, a: Worker, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "BIG_ANSWERS_MAX", 0)
    monkeypatch.setattr(peers, "BIG_ANSWER_NBYTES", 10)
    async with rpc(a.address) as link:
        a.store.put("x", 1, 20)
        a.machine.state.memory["x"] = 20
        with pytest.raises(PeerBusyError, match="ask again in a moment"):
            await link.get_data(keys=["x"], or_busy=True)
        assert list(await link.get_data(keys=["x"])) == ["x"]
        assert list(await link.get_data(keys=["small"], or_busy=True)) == []


@gen_cluster([("127.0.0.1", 1)] * 5, client=True)
async def test_data_that_all_want_reaches_all_though_only_one_is_served_at_a_time(
    client: Client, scheduler: Scheduler, *workers: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "BIG_ANSWERS_MAX", 1)
    monkeypatch.setattr(peers, "BIG_ANSWER_NBYTES", 10)
    monkeypatch.setattr(copies, "PAUSE_S", 0.005)
    big = client.submit(bytes, 100_000, workers="0", key="big")
    sizes = [client.submit(len, big, workers=str(number), pure=False) for number in range(1, 5)]
    assert await client.gather(sizes) == [100_000] * 4


@gen_test()
async def test_a_peer_that_says_nothing_is_given_up_and_its_connection_closed() -> None:
    class Silent(Server):
        def __init__(self) -> None:
            super().__init__()
            self.add_handlers({"get_data": self.get_data})

        async def get_data(self, stream: Any) -> None:
            await asyncio.get_running_loop().create_future()

    silent = Silent()
    silent.listen(0)
    async with rpc(silent.address) as link:
        await link.ping()
        (stream,) = link.streams
        with pytest.raises(CommClosedError, match="nothing came for"):
            await unless_silent(link, link.call("get_data"), 0.05)
        assert stream.closed()
    silent.stop()


@gen_test()
async def test_a_peer_that_sends_slowly_is_not_silent() -> None:
    class Slow:
        address, looks = "tcp://h:1", 0

        @property
        def receives(self) -> int:
            self.looks += 1
            if self.looks == 4:
                answer.set_result("all of it")
            return self.looks

    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    slow: Any = Slow()
    assert await unless_silent(slow, answer, 0.01) == "all of it"


@gen_test()
async def test_a_call_is_cancelled_with_who_waits_for_it_unless_its_peer_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with rpc(silent.getsockname()) as peer:
            call = peer.call("get_data", keys=["a"])
            waiting = asyncio.ensure_future(unless_silent(peer, call, 10.0))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting, call], timeout=5)
            assert waiting.cancelled() and call.cancelled()
