"""What travels: arguments, results, functions and exceptions of every size and kind."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy
import pytest

from distributed import Client
from distributed.client import outbox
from distributed.errors import (
    CancelledError,
    FunctionLoadError,
    MessageTooLargeError,
    RemoteError,
    UnpicklableError,
)
from distributed.protocol.codec import Limits
from distributed.protocol.serialize import BUFFERS_MAX
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import double, inc
from distributed.worker.calling import INLINE_NBYTES_MAX
from distributed.worker.server import Worker

MiB = 1024 * 1024


@pytest.fixture
def script() -> Iterator[types.ModuleType]:
    """A module that cannot be imported elsewhere, as a script is: what it defines travels by value."""
    module = types.ModuleType("__main__")
    own, sys.modules["__main__"] = sys.modules["__main__"], module
    yield module
    sys.modules["__main__"] = own


def define(module: types.ModuleType, source: str) -> None:
    exec(compile(source, f"{module.__name__}.py", "exec"), module.__dict__)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "value",
    [
        None,
        False,
        0,
        "",
        b"",
        (),
        [],
        2**64,
        -(2**200),
        1.5,
        float("inf"),
        1j,
        "\ud800",
        "x" * 100_000,
        {1: {2: [3]}},
        ...,
    ],
    ids=lambda value: repr(value)[:12],
)
@gen_cluster(client=True)
async def test_values_arrive_as_they_left(client: Client, *servers: Any, value: Any) -> None:
    future = client.submit(lambda x: x, value, pure=False)
    result = await future
    assert result == value and type(result) is type(value)
    assert await client.gather([await client.scatter(value if isinstance(value, (str, bytes, int)) else [value])]) in (
        [value],
        [[value]],
    )


@pytest.mark.parametrize("nbytes", [INLINE_NBYTES_MAX + extra for extra in (-100, -50, -34, -33, -32, -1, 0, 1, 50)])
@gen_cluster(client=True)
async def test_results_around_the_inline_limit(client: Client, *servers: Any, nbytes: int) -> None:
    results = await client.gather(
        [client.submit(kind, nbytes) for kind in (bytes, numpy.zeros, "x".__mul__, bytearray)]
    )
    assert results[0] == bytes(nbytes) and results[2] == "x" * nbytes and results[3] == bytearray(nbytes)
    assert results[1].shape == (nbytes,)


@gen_cluster(client=True)
async def test_fifty_megabytes_there_and_back(client: Client, *servers: Any) -> None:
    array = numpy.arange(50 * MiB // 8)
    result = await client.submit(double, array)
    assert result[-1] == 2 * array[-1] and result.nbytes == array.nbytes
    assert len(await client.submit(bytes, 50 * MiB)) == 50 * MiB


@gen_cluster([("127.0.0.1", 1)] * 2, client=True)
async def test_big_results_go_from_worker_to_worker(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    big = client.submit(numpy.ones, MiB, workers=[a.address])
    assert await client.submit(numpy.sum, big, workers=[b.address]) == MiB
    assert await client.who_has(big) == {big.key: [a.address, b.address]}


@gen_cluster(client=True)
async def test_many_arrays_are_gathered_in_as_many_messages_as_it_takes(client: Client, *servers: Any) -> None:
    limit = Limits().frame_count_max
    futures = client.map(numpy.full, [2_200] * (limit // 2 + 10), range(limit // 2 + 10), pure=False, workers="0")
    arrays = await client.gather(futures)
    assert [int(array[0]) for array in arrays[:: limit // 4]] == list(range(0, len(futures), limit // 4))


@pytest.fixture
def few_frames(change_settings: Any) -> None:
    change_settings(frame_count_max=BUFFERS_MAX + 10)


@gen_cluster(client=True)
async def test_a_value_of_very_many_buffers(client: Client, *servers: Any, few_frames: None) -> None:
    count = BUFFERS_MAX + 100
    result = await client.submit(lambda n: [numpy.zeros(2_100) for _ in range(n)], count)
    assert len(result) == count
    assert await client.submit(len, result) == count


@gen_cluster(client=True)
async def test_arguments_that_hold_themselves(client: Client, *servers: Any) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert await client.submit(len, loop) == 2
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnpicklableError, match=r"[Rr]ecursion"):
        client.submit(len, deep)


@gen_cluster(client=True)
async def test_objects_that_pretend_to_have_everything(client: Client, *servers: Any) -> None:
    assert await client.submit(type, Pretender()) is Pretender


class Pretender:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Pretender()


@gen_cluster(client=True)
async def test_tasks_too_large_for_a_message_fail_alone(
    client: Client, *servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client._session is not None
    endpoint = client._session.link._endpoint
    monkeypatch.setattr(endpoint, "limits", Limits(header_nbytes_max=50_000))
    monkeypatch.setattr(outbox, "BATCH_NBYTES_MAX", 10 * MiB)
    sizes = [10_000, 10_001, 10_002, 15_000, 10_003, 10_004]
    monkeypatch.setattr(endpoint, "limits", Limits(header_nbytes_max=14_000))
    futures = client.map(len, [bytes(size) for size in sizes])
    assert await client.gather(futures, errors="skip") == [10_000, 10_001, 10_002, 10_003, 10_004]
    with pytest.raises(MessageTooLargeError, match="header_nbytes_max"):
        await futures[3]
    assert await client.submit(len, b"x") == 1, "its function was not lost with the task that could not be sent"


@gen_cluster([("127.0.0.1", 1)], client=True)
async def test_batches_too_large_for_a_message_are_cut(
    client: Client, scheduler: Scheduler, a: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_worker = scheduler._workers[a.address]
    assert a._scheduler is not None
    for stream in (to_worker, a._scheduler):
        monkeypatch.setattr(stream, "_limits", Limits(header_nbytes_max=30_000))
    monkeypatch.setattr(scheduler._clients.endpoint(client.id), "limits", Limits(header_nbytes_max=30_000))
    assert await client.submit(len, b"") == 0  # so that the scheduler knows how quick it is
    results = await client.gather(client.map(double, [b"x" * 5_000] * 60, pure=False))
    assert results == [b"x" * 10_000] * 60
    assert await client.ncores() == {a.address: 1}


# ---------------------------------------------------------------- what cannot be pickled or loaded


@gen_cluster(client=True)
async def test_unpicklable_arguments_are_refused_at_once(client: Client, *servers: Any) -> None:
    with pytest.raises(UnpicklableError, match=r"cannot be pickled: .*lock"):
        client.submit(inc, threading.Lock())
    with pytest.raises(UnpicklableError, match="cannot be pickled"):
        client.submit(inc, x=[{"a": (i for i in range(3))}])


@gen_cluster(client=True)
async def test_unpicklable_functions_are_refused_at_once(client: Client, *servers: Any) -> None:
    lock = threading.Lock()
    with pytest.raises(UnpicklableError, match="a function of type function cannot be pickled"):
        client.submit(lambda: lock)
    with pytest.raises(UnpicklableError):
        client.map(partial(print, lock), [1])


@gen_cluster(client=True)
async def test_an_unpicklable_result_can_be_used_by_other_tasks_but_not_fetched(client: Client, *servers: Any) -> None:
    lock = client.submit(threading.Lock)
    with pytest.raises(UnpicklableError, match=f"the result of {lock.key}"):
        await lock
    big = client.submit(lambda: [threading.Lock(), bytes(100_000)], workers="0")
    with pytest.raises(UnpicklableError, match=f"the result of {big.key}"):
        await big
    assert await client.submit(len, big, workers="0") == 2
    with pytest.raises(UnpicklableError, match=f"the result of {big.key}"):
        await client.submit(len, big, workers="1", pure=False)
    assert await client.gather([big, client.submit(bytes, 100_000)], errors="skip") == [bytes(100_000)]


@gen_cluster(client=True)
async def test_a_function_that_cannot_be_imported_on_the_worker(client: Client, *servers: Any) -> None:
    module = types.ModuleType("only_here")
    define(module, "def f(x):\n    return x\nclass C:\n    pass\n")
    sys.modules["only_here"] = module
    try:
        futures = [client.submit(module.f, 1), client.submit(inc, module.C())]
    finally:
        del sys.modules["only_here"]
    for future in futures:
        with pytest.raises(FunctionLoadError, match=r"No module named 'only_here'.* install the module there"):
            await future
    assert await client.submit(inc, 1) == 2


@gen_cluster(client=True)
async def test_the_result_of_an_async_function_is_what_it_returns(client: Client, *servers: Any) -> None:
    assert await client.submit(asyncio.sleep, 0, "slept") == "slept"


# ---------------------------------------------------------------- functions


@gen_cluster(client=True)
async def test_functions_of_a_script_see_its_globals_as_they_are_now(
    client: Client, *servers: Any, script: types.ModuleType
) -> None:
    define(script, "N = 1\ndef helper(x):\n    return x + N\ndef f(x):\n    return [helper(y) for y in x]")
    assert await client.submit(script.f, [1]) == [2]
    script.N = 10
    assert await client.submit(script.f, [1]) == [11]
    define(script, "def helper(x):\n    return -x")
    assert await client.submit(script.f, [1]) == [-1]


@gen_cluster(client=True)
async def test_callable_objects_are_taken_as_they_are_now(client: Client, *servers: Any) -> None:
    adder = Adder(1)
    assert await client.submit(adder, 1) == 2
    adder.n = 10
    assert await client.submit(adder, 1) == 11
    assert await client.submit(adder.add, 1) == 11
    arguments = [1]
    total = partial(sum, arguments)
    assert await client.submit(total) == 1
    arguments.append(2)
    assert await client.submit(total) == 3


class Adder:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: int) -> int:
        return x + self.n

    def add(self, x: int) -> int:
        return x + self.n


@gen_cluster(client=True)
async def test_functions_may_carry_big_data(client: Client, *servers: Any) -> None:
    data = b"\xc1" * (65 * MiB)
    assert await client.submit(lambda: len(data)) == 65 * MiB


@gen_cluster(client=True)
async def test_functions_nobody_uses_are_forgotten_with_the_client(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    async with Client(scheduler.address, asynchronous=True) as other:
        assert await other.submit(lambda x: x, 1) == 1
        assert len(scheduler.machine.state.functions) == 1
    await until(lambda: not scheduler.machine.state.functions)
    await until(lambda: not any(worker.machine.state.functions for worker in workers))


# ---------------------------------------------------------------- exceptions


@gen_cluster(client=True)
async def test_an_exception_has_its_type_and_shows_the_users_line(client: Client, *servers: Any) -> None:
    def innermost(x: int) -> float:
        return x / 0  # the line to be shown

    future = client.submit(innermost, 1)
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        await future
    text = "".join(traceback.format_exception(caught.value))
    assert "innermost" in text and "the line to be shown" in text and "Traceback in the worker" in text
    assert isinstance(await future.exception(), ZeroDivisionError)
    assert "innermost" in "".join(traceback.format_tb(await future.traceback()))
    assert future.status == "error"


@gen_cluster(client=True)
async def test_there_is_no_exception_without_an_error(client: Client, *servers: Any) -> None:
    future = client.submit(inc, 1)
    assert await future.exception() is None
    assert await future.traceback() is None


@gen_cluster(client=True)
async def test_an_error_fails_what_depends_on_it(client: Client, *servers: Any) -> None:
    bad = client.submit(lambda: {}["missing"])
    first = client.submit(inc, bad)
    second = client.submit(inc, first)
    with pytest.raises(KeyError, match="missing"):
        await second
    assert first.status == "error"
    with pytest.raises(KeyError, match="missing"):
        await client.submit(inc, bad, pure=False)


CLASSES = """
class Mine(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code
class Twisted(Exception):
    def __init__(self, a, b):
        super().__init__(f'{a} and {b}')
class Mute(Exception):
    def __str__(self):
        raise RuntimeError('no')
def fail(kind, *args):
    raise kind(*args)
"""


@gen_cluster(client=True)
async def test_exceptions_of_classes_of_the_script(client: Client, *servers: Any, script: types.ModuleType) -> None:
    define(script, CLASSES)
    with pytest.raises(Exception, match="7") as caught:
        await client.submit(script.fail, script.Mine, 7, "text")
    assert type(caught.value).__name__ == "Mine" and caught.value.code == 7
    with pytest.raises(RemoteError, match="1 and 2"):
        await client.submit(script.fail, script.Twisted, 1, 2)
    error = await client.submit(script.fail, script.Mute).exception()
    assert type(error).__name__ == "Mute"


def interrupt(kind: type[BaseException]) -> None:
    raise kind("from the task")


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (SystemExit, RemoteError),
        (KeyboardInterrupt, RemoteError),
        (asyncio.CancelledError, CancelledError),
        (CancelledError, CancelledError),
        (GeneratorExit, RemoteError),
        (TimeoutError, TimeoutError),
        (StopIteration, RuntimeError),
    ],
)
@gen_cluster(client=True)
async def test_exceptions_that_control_programs_harm_neither_worker_nor_client(
    client: Client, *servers: Any, kind: type[BaseException], seen: type[BaseException]
) -> None:
    with pytest.raises(seen):
        await client.submit(interrupt, kind)
    future = client.submit(interrupt, kind)
    assert isinstance(await future.exception(), Exception), "the task raised it: it was not cancelled"
    assert await client.submit(inc, 1) == 2


@gen_cluster(client=True)
async def test_exceptions_with_odd_texts(client: Client, *servers: Any) -> None:
    for text in ("\ud800", "\x00", "x" * 1_000_000):
        with pytest.raises(ValueError):
            await client.submit(raise_with, text)
    with pytest.raises(FileNotFoundError) as caught:
        await client.submit(open, b"/no/such/\xff".decode(errors="surrogateescape"))
    assert caught.value.errno == 2


def raise_with(*args: Any) -> None:
    raise ValueError(*args)


@gen_cluster(client=True)
async def test_exceptions_that_cannot_be_pickled(client: Client, *servers: Any) -> None:
    with pytest.raises(ValueError, match=r"unlocked _thread\.lock"):
        await client.submit(lambda: raise_with(threading.Lock()))
    with pytest.raises(RemoteError, match="HolderError: unlocked"):
        await client.submit(lambda: throw_holder())


class HolderError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def throw_holder() -> None:
    raise HolderError("unlocked")
