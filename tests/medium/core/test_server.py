"""Servers: plain requests on a stream, one after the other."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado import gen

from distributed.core import (
    BadRequestError,
    CommClosedError,
    ErrorReply,
    RemoteError,
    Server,
    UnencodableError,
    UnknownOpError,
    clean_exception,
    coerce_to_address,
    connect,
    error_message,
    read,
    send_recv,
    send_recv_sync,
    sentinel,
    to_serialize,
    write,
)
from distributed.errors import (
    CancelledError,
    MessageTooLargeError,
    ProtocolError,
)
from distributed.protocol.failure import RemoteTraceback


def add(stream: Any, x: int, y: int = 10) -> int:
    """Sum of two numbers.

    And more about it.
    """
    return x + y


async def add_later(stream: Any, x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


@gen.coroutine
def add_by_yield(stream: Any, x: int, y: int) -> Any:
    yield gen.moment
    return x + y


@gen.coroutine
def add_by_yield_at_once(stream: Any, x: int, y: int) -> Any:
    raise gen.Return(x + y)
    yield


def echo(stream: Any, value: Any) -> Any:
    return value


class TwoArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text for you")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "KeyError": lambda: KeyError("x"),
    "long": lambda: ValueError("x" * 1_000_000),
    "two arguments": lambda: TwoArguments(4, "four"),
    "unpicklable": lambda: Unpicklable("u"),
    "mute": lambda: Mute(),
    "StopIteration": lambda: StopIteration("over"),
    "cancelled": lambda: asyncio.CancelledError("by itself"),
    "closed": lambda: CommClosedError("tcp://elsewhere:1", "another connection"),
    "TypeError": lambda: TypeError("add() got an unexpected keyword argument 'z'"),
}


def throw(stream: Any, which: str) -> None:
    raise ERRORS[which]()


async def throw_later(stream: Any, which: str) -> None:
    await asyncio.sleep(0)
    raise ERRORS[which]()


@gen.coroutine
def throw_by_yield(stream: Any, which: str) -> Any:
    yield gen.moment
    raise ERRORS[which]()


class Calls:
    """A callable, as bound methods and partials are."""

    def __call__(self, stream: Any, x: int) -> int:
        return -x


HANDLERS: dict[str, Any] = {
    "add": add,
    "add_later": add_later,
    "add_by_yield": add_by_yield,
    "add_by_yield_at_once": add_by_yield_at_once,
    "echo": echo,
    "throw": throw,
    "throw_later": throw_later,
    "throw_by_yield": throw_by_yield,
    "negative": Calls(),
    "partial": functools.partial(add, y=100),
    "length": len,
}


@asynccontextmanager
async def serving(handlers: Any = None, port: Any = 0, **options: Any) -> AsyncIterator[Server]:
    server = Server(HANDLERS if handlers is None else handlers, **options)
    server.listen(port)
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def connected(handlers: Any = None, role: str | None = None, **options: Any) -> AsyncIterator[Any]:
    async with serving(handlers, **options) as server:
        stream = await connect(server.address, role=role)
        try:
            yield stream
        finally:
            stream.close()


async def ask(stream: Any, request: Any) -> Any:
    await write(stream, request)
    return await read(stream)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("op", ["add", "add_later", "add_by_yield", "add_by_yield_at_once"])
async def test_functions_and_coroutines_of_every_kind_answer(op: str) -> None:
    async with connected() as stream:
        assert await ask(stream, {"op": op, "x": 1, "y": 2}) == 3
        assert await ask(stream, {"op": op, "x": 3, "y": 4}) == 7


async def test_any_callable_serves() -> None:
    async with connected() as stream:
        assert await ask(stream, {"op": "negative", "x": 1}) == -1
        assert await ask(stream, {"op": "partial", "x": 1}) == 101


async def test_every_server_knows_identity_ping_and_ops() -> None:
    class Special(Server):
        pass

    server = Special({"add": add})
    server.listen(0)
    stream = await connect(server.address)
    assert await ask(stream, {"op": "ping"}) == b"pong"
    assert await ask(stream, {"op": "identity"}) == {"type": "Special", "id": server.id}
    ops = await ask(stream, {"op": "ops"})
    assert list(ops) == ["add", "identity", "ops", "ping"]
    assert ops["add"]["signature"] == "(x: 'int', y: 'int' = 10) -> 'int'"
    assert ops["add"]["doc"].startswith("Sum of two numbers.")
    assert repr(server) == f"<Special {server.address}>"
    stream.close()
    server.stop()


async def test_requests_on_one_stream_are_answered_in_order() -> None:
    async with connected() as stream:
        for number in range(50):
            await write(stream, {"op": "add_later" if number % 2 else "add", "x": number, "y": 0})
        assert [await read(stream) for _ in range(50)] == list(range(50))


async def test_values_cross_a_server_unharmed() -> None:
    values = [
        None,
        sentinel * 1000,
        {"status": "error"},
        {"status": "uncaught-error", "type": "E"},
        [1, {2: b"\xc1"}],
        "",
    ]
    async with connected() as stream:
        for value in values:
            assert await ask(stream, {"op": "echo", "value": value}) == value
        answer = await ask(stream, {"op": "echo", "value": to_serialize({1, 2})})
        assert answer.load() == {1, 2}


async def test_reply_false_is_answered_by_nothing_not_even_an_error() -> None:
    seen: list[int] = []
    async with connected({"see": lambda stream, x: seen.append(x), "throw": throw}) as stream:
        await write(stream, {"op": "see", "x": 1, "reply": False})
        await write(stream, {"op": "throw", "which": "KeyError", "reply": False})
        await write(stream, {"op": "no-such-op", "reply": False})
        assert await ask(stream, {"op": "ping"}) == b"pong"
        assert seen == [1]


async def test_close_true_answers_and_ends_the_connection() -> None:
    async with connected() as stream:
        assert await ask(stream, {"op": "add", "x": 1, "y": 2, "close": True}) == 3
        with pytest.raises(CommClosedError):
            await read(stream)


@pytest.mark.parametrize("reply", [True, False])
async def test_op_close_answers_ok_and_ends_the_connection(reply: bool) -> None:
    async with connected() as stream:
        await write(stream, {"op": "close", "reply": reply})
        if reply:
            assert await read(stream) == "OK"
        with pytest.raises(CommClosedError, match="the other side closed it"):
            await read(stream)


# ---------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("request_", "kind", "text"),
    [
        ({"op": "subtract"}, UnknownOpError, "No handler found: 'subtract'; this server knows add, add_by_yield"),
        ({"op": 5}, UnknownOpError, "No handler found: '5'"),
        ({"op": ["x"]}, UnknownOpError, "No handler found"),
        ({"op": "x" * 10_000}, UnknownOpError, "No handler found"),
        ({"x": 1}, BadRequestError, "the request has no 'op'"),
        ({}, BadRequestError, "the request has no 'op'"),
        ({"op": None}, BadRequestError, "the request has no 'op'"),
        (
            {"op": "add", "x": 1, "z": 2},
            BadRequestError,
            r"add\(x: 'int', y: 'int' = 10\).*unexpected keyword argument 'z'",
        ),
        ({"op": "add"}, BadRequestError, r"add\(x: .*missing a required argument: 'x'"),
        ({"op": "add_later", "x": 1}, BadRequestError, r"add_later\(x: .*missing a required argument: 'y'"),
        ({"op": "add_by_yield", "x": 1}, BadRequestError, r"add_by_yield\(x: .*missing a required argument: 'y'"),
        ({"op": "add", "stream": 1, "x": 1}, BadRequestError, r"add\(x: .*'stream'"),
        ({"op": "add", 5: 1}, BadRequestError, r"add\(x: "),
        ({"op": "negative", "self": 1}, BadRequestError, r"negative\(x: "),
    ],
)
async def test_a_bad_request_is_answered_by_a_typed_error_and_the_connection_lives(
    request_: Any, kind: type, text: str
) -> None:
    async with connected() as stream:
        answer = await ask(stream, request_)
        assert type(answer) is ErrorReply
        error = clean_exception(answer)
        assert type(error) is kind
        with pytest.raises(kind, match=text):
            raise error
        assert isinstance(error, TypeError)
        assert await ask(stream, {"op": "ping"}) == b"pong"


@pytest.mark.parametrize(
    "request_", [None, 5, "ping", b"ping", [], [1, 2, 3], ["ping"], [0, "x", "ping", {}], [0], [{}, 1, 2, 3]]
)
async def test_what_is_no_dict_is_answered_by_an_error_and_the_connection_ends(request_: Any) -> None:
    async with connected() as stream:
        answer = await ask(stream, request_)
        assert type(clean_exception(answer)) is BadRequestError
        with pytest.raises(CommClosedError):
            await read(stream)


async def test_nothing_is_served_after_a_bad_call() -> None:
    seen: list[int] = []
    async with connected({"see": lambda stream, x: seen.append(x)}) as stream:
        stream.write_message_nowait([0, 1, "see", {"x": 1}])
        stream.write_message_nowait([7, 2, "see", {"x": 2}])
        stream.write_message_nowait([0, 3, "see", {"x": 3}])
        assert await read(stream) == [1, 1, None]
        assert type(await read(stream)) is ErrorReply
        with pytest.raises(CommClosedError):
            await read(stream)
    assert seen == [1]


async def test_a_number_that_is_in_use_is_no_new_call() -> None:
    async with connected({"wait": lambda stream: asyncio.sleep(60)}) as stream:
        stream.write_message_nowait([0, 1, "wait", {}])
        stream.write_message_nowait([0, 1, "wait", {}])
        assert "a new integer" in (await read(stream))["text"]


async def test_a_call_with_keywords_that_are_no_dict_is_a_bad_request() -> None:
    async with connected() as stream:
        answer = await ask(stream, [0, 1, "add", [1, 2]])
        assert answer[:2] == [2, 1]
        assert "keywords are a dict, not list" in answer[2]["text"]


async def test_a_type_error_inside_a_handler_is_not_mistaken_for_a_bad_request() -> None:
    async with connected() as stream:
        error = clean_exception(await ask(stream, {"op": "throw", "which": "TypeError"}))
        assert type(error) is TypeError
        error = clean_exception(await ask(stream, {"op": "length"}))
        assert type(error) is TypeError
        assert await ask(stream, {"op": "echo", "value": 1}) == 1


async def test_a_builtin_that_tells_no_signature_serves_too() -> None:
    async with connected({"max": max}) as stream:
        assert (await ask(stream, {"op": "ops"}))["max"]["signature"] == "(...)"
        assert type(clean_exception(await ask(stream, {"op": "max", "x": 1}))) is TypeError


async def test_garbage_after_authentication_ends_this_connection_only() -> None:
    async with serving() as server:
        good, bad = await connect(server.address), await connect(server.address)
        assert await ask(bad, {"op": "ping"}) == b"pong"
        await bad.write(b"\x01\x02\x03" + sentinel)
        with pytest.raises(CommClosedError):
            await read(bad)
        assert await ask(good, {"op": "ping"}) == b"pong"
        good.close()
        await until(lambda: not server._connections)


async def test_a_request_over_the_limit_ends_the_connection() -> None:
    async with connected(max_buffer_size=10_000) as stream:
        assert await ask(stream, {"op": "echo", "value": "x" * 9000}) == "x" * 9000
        await write(stream, {"op": "echo", "value": b"x" * 20_000})
        with pytest.raises(CommClosedError):
            await read(stream)


async def test_an_answer_over_the_limit_is_an_error_and_the_connection_lives() -> None:
    async with connected({"much": lambda stream: "x" * 20_000, "throw": throw}, max_buffer_size=2000) as stream:
        error = clean_exception(await ask(stream, {"op": "much"}))
        assert "header_nbytes_max" in str(error)
        assert isinstance(error, (MessageTooLargeError, RemoteError))
        long = clean_exception(await ask(stream, {"op": "throw", "which": "long"}))
        assert type(long) is ValueError
        assert str(long).startswith("xxxx")
        assert await ask(stream, {"op": "ping"}) == b"pong"


@pytest.mark.parametrize("request_", [{"op": "throw", "which": "KeyError"}, [0, 1, "throw", {"which": "KeyError"}]])
async def test_where_not_even_an_error_fits_the_connection_ends(request_: Any) -> None:
    async with connected({"throw": throw}, max_buffer_size=50) as stream:
        await write(stream, request_)
        with pytest.raises(CommClosedError):
            await read(stream)


# ---------------------------------------------------------------- errors of handlers


@pytest.mark.parametrize("op", ["throw", "throw_later", "throw_by_yield"])
@pytest.mark.parametrize("which", ERRORS)
async def test_an_exception_of_a_handler_reaches_its_caller_and_the_connection_lives(op: str, which: str) -> None:
    async with connected() as stream:
        answer = await ask(stream, {"op": op, "which": which})
        assert type(answer) is ErrorReply
        assert answer["status"] == "uncaught-error"
        error = clean_exception(answer)
        expected = {"unpicklable": RemoteError, "two arguments": RemoteError, "cancelled": CancelledError}.get(which)
        if which == "StopIteration" and op == "throw_later":
            expected = RuntimeError  # Python's own rule for coroutines
        if which == "StopIteration" and op == "throw_by_yield":
            expected = RuntimeError
        assert type(error) is (expected or type(ERRORS[which]()))
        if which == "closed":
            assert "tcp://elsewhere:1" in str(error)
        assert await ask(stream, {"op": "ping"}) == b"pong"


async def test_the_cause_of_an_error_shows_the_line_of_the_user() -> None:
    async with connected() as stream:
        error = clean_exception(await ask(stream, {"op": "throw_later", "which": "KeyError"}), "there")
        assert isinstance(error.__cause__, RemoteTraceback)
        assert "raise ERRORS[which]()" in str(error.__cause__)
        assert "core.py" not in str(error.__cause__)


async def test_a_dict_with_a_status_of_error_is_only_a_value() -> None:
    value = {"status": "uncaught-error", "type": "KeyError", "text": "x", "traceback": "", "exception": None}
    async with connected() as stream:
        answer = await ask(stream, {"op": "echo", "value": value})
        assert type(answer) is dict
        assert answer == value
        assert await send_recv(stream, op="echo", value=value) == value


@pytest.mark.parametrize("value", [{1, 2}, object(), [3 + 4j], 2**70, {(1, 2): 3}])
async def test_an_answer_that_messages_cannot_carry_is_a_typed_error(value: Any) -> None:
    async with connected({"give": lambda stream: value}) as stream:
        error = clean_exception(await ask(stream, {"op": "give"}))
        assert type(error) is UnencodableError
        assert await ask(stream, {"op": "ping"}) == b"pong"


async def test_error_message_and_clean_exception_are_each_others_inverse() -> None:
    message = error_message(KeyError("x"), "missing")
    assert message["status"] == "missing"
    assert type(message) is dict
    assert type(clean_exception(message)) is KeyError


# ---------------------------------------------------------------- helpers


async def test_send_recv_opens_and_closes_its_own_connection() -> None:
    async with serving() as server:
        assert await send_recv(server.address, op="add", x=1, y=2) == 3
        assert await send_recv(addr=server.address, op="add", x=1, y=2) == 3
        assert await send_recv(ip="127.0.0.1", port=server.port, op="add", x=1, y=2) == 3
        with pytest.raises(KeyError):
            await send_recv(server.address, op="throw", which="KeyError")
        stream = await connect(server.address)
        assert await send_recv(stream, op="add", x=1, y=2) == 3
        assert await send_recv(stream=stream, op="add", x=1, y=2) == 3
        stream.close()
        await until(lambda: not server._connections)


async def test_send_recv_without_an_answer_lets_the_handler_end() -> None:
    seen: list[int] = []

    async def later(stream: Any, x: int) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        seen.append(x)

    async with serving({"later": later}) as server:
        assert await send_recv(server.address, op="later", x=1, reply=False) is None
        await until(lambda: seen == [1])


async def test_send_recv_sync_needs_no_loop() -> None:
    async with serving() as server:
        assert await asyncio.to_thread(send_recv_sync, server.address, op="add", x=1, y=2) == 3


async def test_a_question_that_is_given_up_closes_its_stream_lest_its_answer_be_taken_for_another() -> None:
    async with connected({"wait": lambda stream: asyncio.sleep(60), **HANDLERS}) as stream:
        with pytest.raises(UnencodableError):
            await send_recv(stream, op="echo", value={1})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await send_recv(stream, op="wait")
        assert stream.closed()


def test_addresses_are_printed_in_their_canonical_form() -> None:
    assert coerce_to_address(("127.0.0.1", 8786)) == "tcp://127.0.0.1:8786"
    assert coerce_to_address("localhost", 8786) == "tcp://localhost:8786"


async def test_a_connection_torn_in_a_message_is_told_so() -> None:
    async with connected({"tear": lambda stream: stream.write(b"\x81\xa1") and stream.close()}) as stream:
        await write(stream, {"op": "tear"})
        with pytest.raises((CommClosedError, ProtocolError)):
            await read(stream)


async def test_8_megabytes_echo() -> None:
    data = bytes(8 * 2**20)
    async with connected() as stream:
        assert await ask(stream, {"op": "echo", "value": data}) == data
