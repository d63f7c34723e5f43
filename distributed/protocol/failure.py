"""Exceptions that cross the wire: as type name, text, traceback text and, when possible, a pickle.

A *failure* is the list ``[type name, text, traceback text, detail]``; detail is a pickle of the exception, a dict of
the keyword arguments of one of our own error classes, or None. The scheduler passes failures on without looking inside.
"""

from __future__ import annotations

import builtins
import os
import pickle
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from distributed import errors
from distributed.errors import DistributedError, RemoteError
from distributed.protocol.codec import ErrorReply
from distributed.protocol.serialize import dumps_payload

__all__ = [
    "RemoteTraceback",
    "clean_exception",
    "error_message",
    "error_reply",
    "exception_from_failure",
    "exception_from_reply",
    "failure_from_exception",
]

TEXT_LENGTH_MAX = 10_000  # a page of an exception's own text is read, a megabyte is not
TRACEBACK_LENGTH_MAX = 40_000
DETAIL_NBYTES_MAX = 64 * 1024
HUGE_LENGTH = 1_000_000  # an exception that carries so much is not looked at in full
ASYNCIO_CANCELLED = "asyncio.exceptions.CancelledError"  # raised here it would look as if our own task was cancelled
OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

Failure = list[Any]


class RemoteTraceback(Exception):
    """Cause of an exception that was raised in another process; its text is the traceback over there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text


def failure_from_exception(error: BaseException, with_pickle: bool = True) -> Failure:
    """What another process needs to raise `error` again. Never raises, whatever the exception's methods do.

    Texts longer than 10,000 characters are cut, pickles over 64 KiB left out. Frames of this package are left out of
    the traceback, so that it shows the lines of the user.
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    whole = _text_of(error)
    text = _cut(whole, TEXT_LENGTH_MAX)
    if len(whole) > HUGE_LENGTH or _is_huge(error):  # what would be cut or left out is not made
        lines = traceback.format_tb(_users_part(error.__traceback__))
        return [name, text, _cut("".join([*lines, f"{name}: {text}\n"]), TRACEBACK_LENGTH_MAX), None]
    return [name, text, _cut(_traceback_text(error), TRACEBACK_LENGTH_MAX), _detail(error) if with_pickle else None]


def exception_from_failure(failure: Failure, where: str, may_unpickle: bool = True) -> BaseException:
    """The exception of a failure: of its original type when that can be rebuilt here, else a `RemoteError`.

    Its ``__cause__`` is a `RemoteTraceback` with the lines of the other side.

    Args:
        where: the process it happened in, for people.
        may_unpickle: whether the peer may send code; if not, only built-in types and our own are rebuilt.
    """
    name, text, traceback_text, detail = failure
    error = _rebuilt(name, text, detail, may_unpickle) or RemoteError(name, text, traceback_text)
    if traceback_text:
        cause = RemoteTraceback(f"Traceback in {where}:\n{traceback_text.rstrip()}")
        BaseException.__setattr__(error, "__cause__", cause)  # also when the class forbids it (a frozen dataclass)
    return error


def error_reply(error: BaseException, with_pickle: bool = True) -> ErrorReply:
    """The answer of a server whose handler raised."""
    name, text, traceback_text, detail = failure_from_exception(error, with_pickle)
    return ErrorReply(status="uncaught-error", type=name, text=text, traceback=traceback_text, exception=detail)


def exception_from_reply(reply: ErrorReply, where: str, may_unpickle: bool = True) -> BaseException:
    """The exception of an `ErrorReply`, see `exception_from_failure`."""
    failure = [str(reply["type"]), str(reply["text"]), str(reply["traceback"]), reply["exception"]]
    return exception_from_failure(failure, where, may_unpickle)


def error_message(error: BaseException, status: str = "error") -> dict[str, Any]:
    """`error` for another process: ``status``, ``type``, ``text``, ``traceback``, ``exception`` (a pickle)."""
    return {**error_reply(error), "status": status}


def clean_exception(message: Mapping[str, Any], where: str = "the other side") -> BaseException:
    """The exception that `error_message` described, with the remote traceback as its cause."""
    return exception_from_reply(ErrorReply(message), where)


def _rebuilt(name: str, text: str, detail: Any, may_unpickle: bool) -> BaseException | None:
    if name == ASYNCIO_CANCELLED:
        return errors.CancelledError(text)
    if isinstance(detail, bytes) and may_unpickle:
        try:
            error = pickle.loads(detail)
        except Exception:  # its module is missing here, or its constructor wants other arguments: the text must do
            error = None
        return error if isinstance(error, BaseException) else None
    module: Any = errors if "." in name else builtins
    cls = getattr(module, name.removeprefix("distributed.errors."), None)
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        return None
    try:
        if isinstance(detail, dict) and issubclass(cls, DistributedError):
            return cls(**detail)
        return _own_error(cls, text) if issubclass(cls, DistributedError) else cls(text)
    except Exception:  # a constructor that wants something else (UnicodeDecodeError, ...)
        return None


def _own_error(cls: type[DistributedError], text: str) -> DistributedError:
    error = cls.__new__(cls, text)
    error.args = (text,)
    error.text = text
    return error


def _detail(error: BaseException) -> bytes | None:
    try:
        payload = dumps_payload(error, "an exception")
        frames = [payload] if isinstance(payload, bytes) else payload.frames
        if len(frames) == 1 and len(blob := bytes(frames[0])) <= DETAIL_NBYTES_MAX:
            pickle.loads(blob)  # many exceptions pickle but cannot be rebuilt: then the text is the better answer
            return blob
    except Exception:  # whatever __reduce__ or a constructor raises: the text must do
        return None
    return None


def _is_huge(error: BaseException) -> bool:
    return any(isinstance(part, (str, bytes, bytearray)) and len(part) > HUGE_LENGTH for part in error.args)


def _text_of(error: BaseException) -> str:
    try:
        if _is_huge(error) and type(error).__str__ is BaseException.__str__:  # its repr would take seconds
            parts = [_cut(part, TEXT_LENGTH_MAX) if isinstance(part, str) else part for part in error.args]
            parts = [part[:TEXT_LENGTH_MAX] if isinstance(part, (bytes, bytearray)) else part for part in parts]
            return str(parts[0] if len(parts) == 1 else tuple(parts))
        return str(error)
    except Exception as broken:  # a __str__ that raises must not hide the error
        return f"<str() of this {type(error).__name__} raised {type(broken).__name__}>"


def _traceback_text(error: BaseException) -> str:
    try:
        summary = traceback.TracebackException(type(error), error, _users_part(error.__traceback__), compact=True)
        return "".join(summary.format())
    except Exception as broken:  # a __str__ that raises again, or source that cannot be read
        return f"<no traceback: {type(broken).__name__}>"


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Without the leading frames of this package, which are the same for every task."""
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename.startswith(OWN_FOLDER):
        first = first.tb_next
    return first or trace


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else f"{text[:length_max]}... ({len(text):,} characters)"
