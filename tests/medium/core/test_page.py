"""The programs of the page Foundations, as it has them (ports apart): F02, F03, F04."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tornado import gen
from tornado.ioloop import IOLoop

from distributed.core import Server, connect, read, rpc, write


def add(stream: Any, x: int, y: int) -> int:
    return x + y


@gen.coroutine
def stream_data(stream: Any, interval: float = 1) -> Any:
    data = 0
    while True:
        yield gen.sleep(interval)
        data += 1
        yield write(stream, data)


async def stream_data_natively(stream: Any, interval: float = 1) -> None:
    data = 0
    while True:
        await asyncio.sleep(interval)
        data += 1
        await write(stream, data)


@pytest.fixture
def loop() -> Iterator[IOLoop]:
    """The loop of the page, which its program leaves to the end of the process."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = IOLoop.current()
    yield loop
    loop.run_sync(lambda: gen.sleep(0))  # type: ignore[arg-type, return-value]
    loop.close(all_fds=True)
    asyncio.set_event_loop(None)


def test_the_page_runs_with_yield(loop: IOLoop) -> None:
    server = Server({"add": add, "stream": stream_data})
    server.listen(0)
    port = server.port

    @gen.coroutine
    def f() -> Any:
        stream = yield connect("127.0.0.1", port)
        yield write(stream, {"op": "add", "x": 1, "y": 2})
        result = yield read(stream)
        stream.close()
        return result

    @gen.coroutine
    def g() -> Any:
        stream = yield connect("127.0.0.1", port)
        yield write(stream, {"op": "stream", "interval": 0.001})
        results = []
        for _ in range(3):
            results.append((yield read(stream)))
        stream.close()
        return results

    @gen.coroutine
    def h() -> Any:
        r = rpc("127.0.0.1", port)
        result = yield r.add(x=1, y=2)
        also = yield rpc(ip="127.0.0.1", port=port).add(x=10, y=20)
        r.close_streams()
        return result, also

    assert loop.run_sync(f) == 3
    assert loop.run_sync(g) == [1, 2, 3]
    assert loop.run_sync(f) == 3
    assert loop.run_sync(h) == (3, 30)
    server.stop()


def test_the_page_runs_with_await(loop: IOLoop) -> None:
    server = Server({"add": add, "stream": stream_data_natively})
    server.listen(0)

    async def f() -> Any:
        stream = await connect("127.0.0.1", server.port)
        await write(stream, {"op": "add", "x": 1, "y": 2})
        result = [await read(stream)]
        await write(stream, {"op": "stream", "interval": 0.001})
        result += [await read(stream), await read(stream)]
        stream.close()
        return result

    assert loop.run_sync(f) == [3, 1, 2]
    server.stop()


def test_a_program_may_open_a_loop_for_every_call() -> None:
    """``IOLoop().run_sync(f)`` twice, against a server whose loop runs elsewhere; one rpc serves both."""
    ready: Any = []

    async def serve() -> None:
        server, ended = Server({"add": add}), asyncio.Event()
        server.listen(0)
        ready.append((server.port, asyncio.get_running_loop(), ended))
        await ended.wait()
        server.stop()
        await asyncio.sleep(0)

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(asyncio.run, serve())
        while not ready:
            assert not serving.done()
        port, server_loop, ended = ready[0]
        remote = rpc("127.0.0.1", port)

        async def f() -> Any:
            return await remote.add(x=1, y=2)

        loops = []
        for _ in range(2):
            loop = IOLoop(make_current=False)
            assert loop.run_sync(f) == 3
            assert list(remote.streams.values()) == [True]
            loops.append(loop)
        remote.close_streams()
        for loop in loops:
            loop.close(all_fds=True)
        server_loop.call_soon_threadsafe(ended.set)
        serving.result()
