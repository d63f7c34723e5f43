"""What tasks print reaches the client that wants them, with their key, and nobody else."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

import distributed
from distributed import Client, wait
from distributed.client.loop_thread import LoopThread
from distributed.errors import ConfigError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, open_servers, until
from distributed.testing.functions import inc
from distributed.worker.server import Worker


class Heard:
    """An ``output=`` function that remembers."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, str]] = []

    def __call__(self, key: str, stream: str, text: str) -> None:
        self.entries.append((key, stream, text))

    def text(self, key: str, stream: str = "stdout") -> str:
        return "".join(text for heard, name, text in list(self.entries) if (heard, name) == (key, stream))


def speak(*texts: str, **options: Any) -> None:
    for text in texts:
        print(text, **options)


def speak_everywhere() -> None:
    print("to stderr", file=sys.stderr)
    logging.lastResort.handle(
        logging.makeLogRecord({"name": "my.app", "levelno": 30, "levelname": "WARNING", "msg": "logged"})
    )  # type: ignore[union-attr]


def speak_by_hand() -> None:
    distributed.print("by", "hand", sep="-")
    distributed.print("to", "stderr", file=sys.stderr)
    distributed.warn("slow\ndisk", ResourceWarning)


@gen_cluster()
async def test_lines_arrive_with_their_key_before_the_result(scheduler: Scheduler, *workers: Worker) -> None:
    heard = Heard()
    async with Client(scheduler.address, asynchronous=True, output=heard) as client:
        await wait([client.submit(speak, "one", "two", key="a"), client.submit(speak, "three", key="b")])
        await until(lambda: heard.text("a") == "one\ntwo\n" and heard.text("b") == "three\n")


@gen_cluster()
async def test_a_line_that_does_not_end_ends_with_its_task(scheduler: Scheduler, *workers: Worker) -> None:
    heard = Heard()
    async with Client(scheduler.address, asynchronous=True, output=heard) as client:
        await client.submit(speak, "no", "end", key="a", end="")
        await until(lambda: heard.text("a") == "noend\n")


@gen_cluster(ncores=[("127.0.0.1", 1)])
async def test_a_line_that_was_begun_before_the_others_left_is_not_forgotten(scheduler: Scheduler, a: Worker) -> None:
    heard = Heard()
    ENDLESS["go"] = threading.Event()
    async with Client(scheduler.address, asynchronous=True, output=heard) as client:
        future = client.submit(speak_and_wait, key="a")
        await until(lambda: heard.text("a") == "begin\n")
        ENDLESS["go"].set()
        assert await future is True
        await until(lambda: heard.text("a") == "begin\nend\n")


def speak_and_wait() -> bool:
    print("begin\nend", end="")
    return bool(ENDLESS["go"].wait(10))


@gen_cluster()
async def test_stderr_and_logs_arrive(scheduler: Scheduler, *workers: Worker) -> None:
    heard = Heard()
    async with Client(scheduler.address, asynchronous=True, output=heard) as client:
        await client.submit(speak_everywhere, key="a")
        await until(lambda: "logged" in heard.text("a", "stderr"))
    assert heard.text("a", "stderr") == "to stderr\nWARNING:my.app: logged\n"
    assert heard.text("a") == ""


@gen_cluster()
async def test_print_and_warn_of_ours_reach_the_client(scheduler: Scheduler, *workers: Worker) -> None:
    heard = Heard()
    async with Client(scheduler.address, asynchronous=True, output=heard) as client:
        await client.submit(speak_by_hand, key="a")
        await until(lambda: heard.text("a", "warning") == "ResourceWarning: slow disk\n")
    assert heard.text("a") == "by-hand\n"
    assert heard.text("a", "stderr") == "to stderr\n"


def test_print_and_warn_are_pythons_own_outside_of_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    distributed.print("a", "b", sep="+")
    assert capsys.readouterr().out == "a+b\n"
    with pytest.warns(RuntimeWarning, match="careful") as caught:
        distributed.warn("careful", RuntimeWarning)
    assert caught[0].filename == __file__


@gen_cluster()
async def test_only_who_wants_a_task_hears_it(scheduler: Scheduler, *workers: Worker) -> None:
    heard, others = Heard(), Heard()
    async with (
        Client(scheduler.address, asynchronous=True, output=heard) as client,
        Client(scheduler.address, asynchronous=True, output=others) as other,
    ):
        await wait([client.submit(speak, "mine", key="a"), other.submit(speak, "theirs", key="b")])
        await until(lambda: heard.entries and others.entries)
    assert heard.entries == [("a", "stdout", "mine\n")]
    assert others.entries == [("b", "stdout", "theirs\n")]


@gen_cluster()
async def test_what_other_threads_write_goes_where_it_always_went(scheduler: Scheduler, *workers: Worker) -> None:
    heard = Heard()
    before = sys.stdout
    async with Client(scheduler.address, asynchronous=True, output=heard) as client:
        assert sys.stdout.fileno() == before.fileno()  # all but writing is as it was
        thread = threading.Thread(target=print, args=("not a task",))
        thread.start()
        thread.join()
        print("nor is this")
        await client.submit(speak, "a task", key="a")
        await until(lambda: heard.entries)
    assert heard.entries == [("a", "stdout", "a task\n")]


def test_streams_are_put_back_when_the_last_worker_has_ended() -> None:
    before = sys.stdout, sys.stderr, logging.lastResort

    @gen_cluster()
    async def body(scheduler: Scheduler, a: Worker, b: Worker) -> None:
        inside = sys.stdout
        assert inside is not before[0]
        await a.close()
        assert sys.stdout is inside

    body()
    assert (sys.stdout, sys.stderr, logging.lastResort) == before


@gen_cluster()
async def test_a_task_that_prints_without_end_is_bounded_and_harmless(scheduler: Scheduler, *workers: Worker) -> None:
    heard = Heard()
    stop = threading.Event()
    ENDLESS["stop"] = stop
    try:
        async with Client(scheduler.address, asynchronous=True, output=heard) as client:
            endless = client.submit(speak_without_end, key="endless")
            await until(lambda: "left out" in heard.text("endless", "stderr"))
            for number in range(20):
                assert await client.submit(inc, number, pure=False) == number + 1
            await client.submit(speak, "innocent", key="innocent")
            await until(lambda: heard.text("innocent") == "innocent\n")
            assert len(heard.text("endless")) < 3_000_000
            stop.set()
            assert await endless > 100
    finally:
        stop.set()


ENDLESS: dict[str, Any] = defaultdict(threading.Event)


def speak_without_end() -> int:
    count = 0
    while not ENDLESS["stop"].is_set():
        print("x" * 1_000)
        count += 1
    return count


@gen_cluster()
async def test_a_function_that_raises_or_is_slow_harms_nobody(
    scheduler: Scheduler, a: Worker, b: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    go_on = threading.Event()

    def raises(key: str, stream: str, text: str) -> None:
        calls.append(text)
        go_on.wait(10)
        raise ZeroDivisionError

    async with Client(scheduler.address, asynchronous=True, output=raises) as client:
        await client.submit(speak, "one", key="a")
        assert await client.submit(inc, 1) == 2  # while the function waits
        go_on.set()
        await client.submit(speak, "two", key="b")
        await until(lambda: len(calls) == 2)
    assert "output of a could not be shown" in caplog.text


@contextlib.contextmanager
def servers_here() -> Iterator[str]:
    """A scheduler and workers, begun when the test runs: pytest changes `sys.stdout` between fixtures and tests."""
    thread = LoopThread("distributed-test-servers")
    servers = open_servers()
    try:
        scheduler, _ = thread.run(servers.__aenter__())
        yield scheduler.address
        thread.run(servers.__aexit__(None, None, None))
    finally:
        thread.stop()


def test_lines_are_printed_with_their_key(capsys: pytest.CaptureFixture[str]) -> None:
    with servers_here() as address, Client(address) as client:
        client.submit(speak, "one", "two", key="a").result()
        client.submit(speak, "bad", key="b", file=None).result()
        with pytest.warns(ResourceWarning, match="slow disk"):
            client.submit(speak_by_hand, key="c").result()
            client.close()
    printed = capsys.readouterr()
    assert printed.out == "[a] one\n[a] two\n[b] bad\n[c] by-hand\n"
    assert "[c] to stderr\n" in printed.err


def test_output_can_be_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    with servers_here() as address, Client(address, output="ignore") as client:
        client.submit(speak, "one", key="a").result()
        assert not client.printer.is_used
    assert capsys.readouterr().out == ""


def test_output_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match="'print', 'ignore', or a function"):
        Client("127.0.0.1:1", output="loud")


def test_nothing_is_touched_when_forwarding_is_off(change_settings: Any) -> None:
    change_settings(forward_output=0)
    before = sys.stdout

    @gen_cluster()
    async def body(scheduler: Scheduler, *workers: Worker) -> None:
        assert sys.stdout is before
        heard = Heard()
        async with Client(scheduler.address, asynchronous=True, output=heard) as client:
            await client.submit(speak, "one", key="a")
        assert heard.entries == []

    body()
