"""Python objects as opaque payloads: pickle first, cloudpickle where pickle cannot, big buffers out of band.

A payload is ``bytes`` (one pickle, the common small case) or a `Serialized`: a pickle followed by the buffers it refers
to, which travel as raw frames without being copied. Whoever only passes payloads on never looks inside.
"""

from __future__ import annotations

import pickle
from typing import Any

from distributed.errors import UnpicklableError
from distributed.protocol.bytecode import by_value as dumps_by_value

__all__ = [
    "Payload",
    "Serialized",
    "TaskRef",
    "buffer_collector",
    "dumps_function",
    "dumps_payload",
    "loads_function",
    "loads_payload",
    "payload_nbytes",
    "raiser",
    "to_serialize",
]

BUFFER_NBYTES_MIN = 16 * 1024  # below this a copy into the pickle is cheaper than a frame (measured: 8-32 KiB)
BUFFERS_MAX = 1_000  # out of band per value; a message has room for ten times as many frames
PROTOCOL = 5

Buffer = bytes | bytearray | memoryview
Payload = Any  # bytes | Serialized; Any because column lists of both are the hot path


class Serialized:
    """An object that stays opaque until somebody who may decode it calls `load`.

    Attributes:
        frames: the pickle, then the buffers it refers to. An empty pickle means: the object is the bytes of frame 1.
    """

    __slots__ = ("frames",)

    def __init__(self, frames: list[Buffer]) -> None:
        self.frames = frames

    @property
    def nbytes(self) -> int:
        """Size of all frames."""
        return sum(map(_nbytes, self.frames))

    def is_inline(self) -> bool:
        """Whether it travels in the header of its message, because it is small, and not in frames."""
        return len(self.frames) == 1 and _nbytes(self.frames[0]) < BUFFER_NBYTES_MIN

    def load(self) -> Any:
        """The object. Runs code chosen by whoever made it, so only call this for peers that may send code.

        Buffers are used in place: an array refers to the memory that was received.
        """
        head, *buffers = self.frames
        if not _nbytes(head):
            return bytes(buffers[0])
        return pickle.loads(head, buffers=buffers)

    def __repr__(self) -> str:
        return f"<Serialized {self.nbytes:,} bytes in {len(self.frames)} frames>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Serialized, ([bytes(frame) for frame in self.frames],)


class TaskRef:
    """Stands in arguments for the result of the task `key`; the worker replaces it before the call."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskRef, (self.key,)

    def __repr__(self) -> str:
        return f"TaskRef({self.key!r})"


def to_serialize(value: Any) -> Serialized:
    """Wrap any picklable object so that a message can carry it; the receiver calls ``.load()``.

    Raises:
        UnpicklableError: `value` cannot be pickled.
    """
    payload = dumps_payload(value, "a value")
    return payload if isinstance(payload, Serialized) else Serialized([payload])


def dumps_payload(value: Any, what: str = "an argument") -> Payload:
    """Pickle `value`: ``bytes`` when all of it is under 16 KiB, else a `Serialized`, with big buffers out of band.

    Args:
        what: the role of the value, for the error's text.
    Raises:
        UnpicklableError: neither pickle nor cloudpickle can.
    """
    if type(value) is bytes and len(value) >= BUFFER_NBYTES_MIN:
        return Serialized([b"", value])
    buffers: list[Buffer] = []
    try:
        head = pickle.dumps(value, PROTOCOL, buffer_callback=buffer_collector(buffers))
        by_value = b"__main__" in head
    except Exception:  # whatever a __reduce__ raises: cloudpickle has the last word below
        by_value = True
    if by_value:  # classes and functions of the caller's script exist nowhere else: they travel by value
        buffers.clear()
        head = _cloudpickled(value, what, buffers)
    return Serialized([head, *buffers]) if buffers or len(head) >= BUFFER_NBYTES_MIN else head


def loads_payload(payload: Payload) -> Any:
    """The object of a payload, see `Serialized.load` for who may call this."""
    return pickle.loads(payload) if type(payload) is bytes else payload.load()


def dumps_function(function: Any) -> bytes:
    """Pickle a callable: by reference when its module can be imported, else by value.

    Raises:
        UnpicklableError: it holds something that cannot be pickled, such as a lock or an open file.
    """
    try:
        blob = pickle.dumps(function, PROTOCOL)
    except Exception:  # lambdas, closures, bound methods of local classes: cloudpickle decides
        blob = b""
    if not blob or b"__main__" in blob:
        blob = _cloudpickled(function, "a function", None)
    return blob


def loads_function(blob: Payload) -> Any:
    """The callable of `dumps_function`; imports the module it lives in."""
    return loads_payload(blob)


def raiser(error: Exception) -> Serialized:
    """A payload in the place of a value that could not be pickled: loading it raises `error`."""
    return Serialized([pickle.dumps(_Raiser(error), PROTOCOL)])


class _Raiser:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self.error,)


def _raise(error: Exception) -> Any:
    raise error


def payload_nbytes(payload: Payload) -> int:
    """Size of a payload in bytes."""
    return len(payload) if type(payload) is bytes else payload.nbytes


def buffer_collector(buffers: list[Buffer]) -> Any:
    """What a pickler calls with each buffer: big ones go into `buffers`, others stay in the pickle."""

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous: only a copy can be sent
            return True
        if view.nbytes < BUFFER_NBYTES_MIN or len(buffers) >= BUFFERS_MAX:
            return True
        buffers.append(view)
        return False

    return in_band


def _cloudpickled(value: Any, what: str, buffers: list[Buffer] | None) -> bytes:
    try:
        collector = None if buffers is None else buffer_collector(buffers)
        blob = dumps_by_value(value, PROTOCOL, collector)
    except Exception as error:
        raise UnpicklableError(what, type(value).__qualname__, f"{type(error).__name__}: {error}") from error
    return blob


def _nbytes(frame: Buffer) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)
