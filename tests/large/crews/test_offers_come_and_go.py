"""A Main whose offers are lost, found again, or not there at all."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed.client.loop_thread import LoopThread
from distributed.crews.main import Main
from distributed.crews.options import CallOptions, MainSettings
from distributed.errors import AuthenticationError, CommClosedError, LoosenedCallWarning, NoOfferError
from distributed.offers.local import LocalOffer
from distributed.scheduler.server import Scheduler
from distributed.security.keys import keyring, keyring_from_master
from distributed.testing.processes import Processes

TIMEOUT_S = 25


@pytest.fixture
def offers() -> Iterator[Callable[[], LocalOffer]]:
    """Makes offers of one slot, with the key of the user."""
    made: list[LocalOffer] = []

    def make() -> LocalOffer:
        made.append(LocalOffer(keyring(), cores=1))
        return made[-1]

    yield make
    for offer in made:
        offer.close()


@pytest.fixture
def open_main(project: Any) -> Iterator[Callable[..., Main]]:
    """Makes Mains for the project."""
    made: list[Main] = []

    def make(**settings: Any) -> Main:
        made.append(Main(MainSettings(root=str(project.root), **settings)))
        return made[-1]

    yield make
    for main in made:
        main.close()


def test_calls_of_an_offer_that_is_lost_run_at_another_one(
    offers: Callable[[], LocalOffer], open_main: Callable[..., Main], project: Any, tmp_path: Path
) -> None:
    """D15: a worker's machine goes in the middle; the Main queues its calls again."""
    one, two = offers(), offers()
    main = open_main(workers=(one.address(), two.address()))
    gate, helpers = tmp_path / "gate", project.module
    started = [tmp_path / f"started{number}" for number in range(2)]
    calls = [main.submit(helpers.touch_and_wait, (str(path), str(gate))) for path in started]
    pids = {main.submit(helpers.process).key for _ in range(4)}
    for path in started:
        while not path.exists():
            pass
    one.close()
    gate.touch()
    assert [call.result(TIMEOUT_S) for call in calls] == [None, None]
    assert len(pids) == 4
    assert main.submit(helpers.add, (1, 1)).result(TIMEOUT_S) == 2


def test_calls_wait_for_an_offer_that_is_not_there_yet(
    open_main: Callable[..., Main], project: Any, processes: Processes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    main = open_main(workers=(f"127.0.0.1:{port}",))
    call = main.submit(project.module.add, (1, 2))
    with pytest.raises(TimeoutError, match=r"not given to a worker within 0\.1 s"):
        call.result(0.1)
    while str(port) not in call.crew.why_waiting():
        pass
    processes.dworker(f"--offer --offer-port {port} --cores 1")
    assert call.result(TIMEOUT_S) == 3


def test_a_call_fails_when_no_offer_was_there_in_time(open_main: Callable[..., Main], project: Any) -> None:
    main = open_main(workers=("127.0.0.1:1",), timeout_s=0.3)
    with pytest.raises((CommClosedError, TimeoutError)):
        main.submit(project.module.add, (1, 2)).result(TIMEOUT_S)


def test_a_main_that_an_offer_does_not_let_in_hears_why(open_main: Callable[..., Main], project: Any) -> None:
    offer = LocalOffer(keyring_from_master(b"x" * 32), cores=1)
    try:
        main = open_main(workers=(offer.address(),))
        for _ in range(2):  # the second crew finds nobody who could let it in
            with pytest.raises(AuthenticationError):
                main.submit(project.module.add, (1, 2)).result(TIMEOUT_S)
    finally:
        offer.close()


def test_the_offers_of_a_schedulers_workers_are_found(
    open_main: Callable[..., Main], project: Any, cluster: Any
) -> None:
    main = open_main(scheduler=cluster.address)
    assert main.submit(project.module.add, (1, 2)).result(TIMEOUT_S) == 3


def test_a_scheduler_without_offers_is_told_with_the_cure(open_main: Callable[..., Main], project: Any) -> None:
    thread = LoopThread("distributed-test-scheduler")
    scheduler = thread.run(start_scheduler())
    try:
        main = open_main(scheduler=scheduler.address)
        with pytest.raises(NoOfferError, match="dworker tcp"):
            main.submit(project.module.add, (1, 2)).result(TIMEOUT_S)
    finally:
        thread.run(scheduler.close())
        thread.stop()


async def start_scheduler() -> Scheduler:
    scheduler = Scheduler()
    scheduler.listen(0)
    return scheduler


def test_a_full_queue_of_the_main_makes_the_caller_wait(
    offers: Callable[[], LocalOffer], open_main: Callable[..., Main], project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """D16: the Main's queue is bounded, said once; the worker's is the engine's, of which it takes what it can run."""
    main = open_main(workers=(offers().address(),), queued_calls_max=10)
    with caplog.at_level(logging.WARNING):
        calls = [main.submit(project.module.add, (number,)) for number in range(100)]
    assert [call.result(TIMEOUT_S) for call in calls] == list(range(100))
    assert sum("as many as may" in record.getMessage() for record in caplog.records) == 1


def test_a_call_that_is_not_strict_runs_with_what_there_is(
    offers: Callable[[], LocalOffer], open_main: Callable[..., Main], project: Any
) -> None:
    """D13: what no worker can ever give is left out, with a warning."""
    main = open_main(workers=(offers().address(),))
    assert main.submit(project.module.add, (1,)).result(TIMEOUT_S) == 1
    with pytest.warns(LoosenedCallWarning, match="amiga"):
        call = main.submit(project.module.add, (1, 2), options=CallOptions(platform=("amiga",), threads=64))
    assert call.result(TIMEOUT_S) == 3


def test_a_killed_process_of_ours_is_replaced_and_what_it_took_with_it_is_told(
    open_main: Callable[..., Main], project: Any, tmp_path: Path
) -> None:
    """Of the offer of this machine: calls run again. Of the schedulers: they fail at once. What comes then runs."""
    main = open_main(n_workers=1)
    helpers, started, gate = project.module, tmp_path / "started", tmp_path / "gate"
    call = main.submit(helpers.touch_and_wait, (str(started), str(gate)))
    while not started.exists():
        assert not call.done()
    base = main._base
    assert base is not None and base._processes.offer is not None
    os.kill(base._processes.offer.pid, signal.SIGKILL)
    gate.touch()
    assert call.result(TIMEOUT_S) is None
    gate.unlink()
    lost = main.submit(helpers.wait_for, (str(gate),))
    os.kill(base._processes.schedulers.pid, signal.SIGKILL)
    with pytest.raises(CommClosedError, match="make the calls again"):
        lost.result(TIMEOUT_S)
    assert main.submit(helpers.add, (1, 1)).result(TIMEOUT_S) == 2
