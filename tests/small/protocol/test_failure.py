"""Exceptions that cross the wire."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
from typing import Any

import pytest

from distributed.errors import CancelledError, KilledWorker, LostDataError, RemoteError, UnknownOpError
from distributed.protocol.codec import ErrorReply
from distributed.protocol.failure import (
    RemoteTraceback,
    error_reply,
    exception_from_failure,
    exception_from_reply,
    failure_from_exception,
)


class TwoArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class KeepsItsArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text for you")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int

    def __reduce__(self) -> Any:
        return Frozen, (self.code,)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def crossed(error: BaseException, **options: Any) -> BaseException:
    return exception_from_failure(failure_from_exception(raised(error)), "there", **options)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ZeroDivisionError("division by zero"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        KeepsItsArguments(4, "four"),
        UnknownOpError("sub", ["add"]),
        KilledWorker("k", 3, [{"cause": "signal 9"}]),
        OSError(2, "No such file"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_exception_comes_back_with_type_arguments_and_attributes(error: Exception) -> None:
    back = crossed(error)
    assert type(back) is type(error)
    assert back.args == error.args
    assert str(back) == str(error)
    assert {k: v for k, v in vars(back).items() if k != "__cause__"} == vars(error)


def test_the_cause_shows_where_and_the_users_line() -> None:
    back = crossed(KeyError("x"))
    assert isinstance(back.__cause__, RemoteTraceback)
    assert str(back.__cause__).startswith("\nTraceback in there:\n")
    assert "raise error" in str(back.__cause__)


def test_frames_of_this_package_are_left_out() -> None:
    try:
        UnknownOpError("x", None)  # type: ignore[arg-type]
    except TypeError as error:
        text = failure_from_exception(error)[2]
    assert "test_failure.py" in text


@pytest.mark.parametrize("error", [TwoArguments(1, "x"), Unpicklable("u"), Exception(lambda: 0, "\ud800")])
def test_what_cannot_be_rebuilt_still_tells_type_text_and_traceback(error: Exception) -> None:
    back = crossed(error)
    if type(back) is type(error):
        assert str(back)[-3:] == str(error)[-3:]  # cloudpickle could
        return
    assert type(back) is RemoteError
    assert type(error).__qualname__ in back.type
    assert str(error) in str(back)
    assert "raise error" in back.traceback


def test_an_exception_whose_text_cannot_be_made_still_arrives() -> None:
    failure = failure_from_exception(raised(Mute()))
    assert failure[1] == "<str() of this Mute raised ValueError>"
    assert type(exception_from_failure(failure, "there")) is Mute


def test_long_texts_are_cut_and_long_pickles_left_out() -> None:
    name, text, traceback, detail = failure_from_exception(raised(ValueError("x" * 1_000_000)))
    assert name == "ValueError"
    assert len(text) < 10_100
    assert text.endswith("... (1,000,000 characters)")
    assert len(traceback) < 40_100
    assert detail is None
    back = exception_from_failure([name, text, traceback, detail], "there")
    assert type(back) is ValueError


def test_a_pickle_of_30_kib_still_rides_along() -> None:
    assert crossed(KeepsItsArguments(5, "x" * 30_000)).args == (5, "x" * 30_000)


def test_without_permission_nothing_is_unpickled() -> None:
    failure = failure_from_exception(KeepsItsArguments(1, "x"))
    failure[3] = pickle.dumps(5)[:-1] + b"garbage that would raise"
    back = exception_from_failure(failure, "there", may_unpickle=False)
    assert type(back) is RemoteError
    assert back.type.endswith("test_failure.KeepsItsArguments")
    assert type(crossed(KeyError("x"), may_unpickle=False)) is KeyError
    own = crossed(UnknownOpError("x", ["y"]), may_unpickle=False)
    assert type(own) is UnknownOpError
    assert "No handler found" in str(own)


@pytest.mark.parametrize("detail", [b"garbage", pickle.dumps(5), pickle.dumps(KeyError)])
def test_a_detail_that_is_no_exception_is_passed_over(detail: bytes) -> None:
    assert type(exception_from_failure(["KeyError", "x", "", detail], "there")) is RemoteError


@pytest.mark.parametrize(
    "name", ["exec", "SystemExit", "no.such.Error", "distributed.errors.annotations", "", ".", "int"]
)
def test_names_that_are_no_exceptions_make_a_remote_error(name: str) -> None:
    assert type(exception_from_failure([name, "x", "", None], "there")) is RemoteError
    assert type(exception_from_failure([name, "x", "", {"key": 1}], "there")) is RemoteError


def test_a_dict_as_detail_makes_one_of_our_own_errors() -> None:
    detail = {"key": "x", "deaths": 3, "certificates": [{"cause": "signal 9"}]}
    back = exception_from_failure(["distributed.errors.KilledWorker", "t", "", detail], "there")
    assert type(back) is KilledWorker
    assert back.certificates == [{"cause": "signal 9"}]
    wrong = exception_from_failure(["distributed.errors.LostDataError", "t", "", {"wrong": 1}], "there")
    assert type(wrong) is RemoteError
    assert type(exception_from_failure(["distributed.errors.LostDataError", "t", "", None], "x")) is LostDataError
    assert back.__cause__ is None


@pytest.mark.parametrize("may_unpickle", [True, False])
def test_a_cancelled_handler_does_not_look_like_a_cancelled_caller(may_unpickle: bool) -> None:
    back = crossed(asyncio.CancelledError("gone"), may_unpickle=may_unpickle)
    assert type(back) is CancelledError
    assert str(back) == "gone"


def test_an_exception_class_that_forbids_attributes_gets_its_cause() -> None:
    back = crossed(Frozen(3))
    assert type(back) is Frozen
    assert isinstance(back.__cause__, RemoteTraceback)


def test_a_reply_is_a_failure_with_names() -> None:
    reply = error_reply(raised(KeyError("x")))
    assert type(reply) is ErrorReply
    assert reply["status"] == "uncaught-error"
    assert type(exception_from_reply(reply, "there")) is KeyError
    assert error_reply(KeyError("x"), with_pickle=False)["exception"] is None
    strange = ErrorReply(status=1, type=2, text=None, traceback=0, exception=[1])
    assert type(exception_from_reply(strange, "there")) is RemoteError


def test_an_exception_that_was_never_raised_has_no_traceback_but_its_own_line() -> None:
    assert failure_from_exception(KeyError("x"))[2] == "KeyError: 'x'\n"


def test_a_traceback_that_cannot_be_written_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise OSError("source is gone")

    monkeypatch.setattr("traceback.TracebackException", broken)
    assert failure_from_exception(KeyError("x"))[:3] == ["KeyError", "'x'", "<no traceback: OSError>"]
