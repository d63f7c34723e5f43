r"""One message as bytes: msgpack with every C1 escaped, a sentinel, then raw frames.

    message  = header  C1 00  frame*
    header   = msgpack(value) in which every byte C1 is written C1 01

After escaping, ``C1 00`` can only be the terminator, whatever the value holds. Bytes of 16 KiB and more and pickle
buffers are frames: never escaped, never scanned. The header declares each frame's length where the value stands:

    ext 101  bytes in a frame       data: msgpack unsigned integer, the length
    ext 102  an object, inline      data: its pickle
    ext 103  an object in frames    data: msgpack array of lengths, the pickle's first
    ext 104  an error reply         data: msgpack map, see `ErrorReply`

Everything else is what msgpack makes of it: tuples come back as lists, other extension types as `msgpack.ExtType`.
"""

from __future__ import annotations

from typing import Any

import msgpack

from distributed.dataclass import dataclass
from distributed.errors import MessageTooLargeError, ProtocolError, UnencodableError
from distributed.protocol.serialize import BUFFER_NBYTES_MIN, Buffer, Serialized
from distributed.units import GiB, MiB

__all__ = [
    "SENTINEL",
    "ErrorReply",
    "HeaderReader",
    "Limits",
    "decode",
    "encode",
    "encode_plain",
    "frame_lengths",
    "lift",
]

SENTINEL = b"\xc1\x00"
ESCAPE, ESCAPED = b"\xc1", b"\xc1\x01"
EXT_BYTES, EXT_OBJECT, EXT_OBJECT_FRAMES, EXT_ERROR = 101, 102, 103, 104
RESERVED = range(100, 110)
TEXT_ERRORS = "surrogatepass"  # names of files may hold lone surrogates; they must cross unharmed


@dataclass(slots=True, frozen=True)
class Limits:
    """What one peer can make us hold for one message, checked before anything is allocated.

    Attributes:
        header_nbytes_max: escaped header. 64 MiB is 50 x the largest batch that the engine sends.
        frame_count_max: frames of one message.
        message_nbytes_max: all frames together.
    """

    header_nbytes_max: int = 64 * MiB
    frame_count_max: int = 10_000
    message_nbytes_max: int = 16 * GiB


DEFAULT_LIMITS = Limits()


class ErrorReply(dict[str, Any]):
    """The answer without a result: keys ``status``, ``type``, ``text``, ``traceback``, ``exception``.

    It is told from a handler's own dict by its type, here and on the wire (ext 104), so no handler can be mistaken.
    ``exception`` is an opaque pickle or None; `distributed.protocol.failure` makes an exception of it.
    """


class _InFrame:
    __slots__ = ("data",)

    def __init__(self, data: Buffer) -> None:
        self.data = data


class _Error:
    __slots__ = ("reply",)

    def __init__(self, reply: ErrorReply) -> None:
        self.reply = dict(reply)


def encode(message: Any, limits: Limits = DEFAULT_LIMITS) -> list[Buffer]:
    """Bytes of one message given by a user: big bytes at any depth become frames.

    Raises:
        UnencodableError: a value that msgpack does not know (wrap it in `to_serialize`), an integer over 64 bits, a
            reserved extension type, a tuple as a key, or nesting deeper than msgpack's 511 levels.
        MessageTooLargeError: header or frames over `limits`.
    Cost: one pass over the values, two copies of the header, none of the frames.
    """
    return encode_plain(lift(message), limits)


def lift(value: Any) -> Any:
    """Part of a message made ready for `encode_plain`: big bytes at any depth marked as frames. Errors as `encode`."""
    try:
        return _lift(value)
    except RecursionError:
        raise UnencodableError(type(value).__name__, "it is nested too deeply (or holds itself)") from None


def encode_plain(message: Any, limits: Limits = DEFAULT_LIMITS) -> list[Buffer]:
    """`encode` without looking for big bytes: for messages whose big parts are `Serialized` already."""
    frames: list[Buffer] = []
    try:
        try:  # most messages need no hook, and making one costs as much as packing them
            header: bytes = msgpack.packb(message, unicode_errors=TEXT_ERRORS)
        except (TypeError, OverflowError):
            header = msgpack.packb(message, default=_Default(frames), unicode_errors=TEXT_ERRORS)
    except (ValueError, RecursionError) as error:
        reason = f"{error} (nested too deeply, or too large for msgpack)"
        raise UnencodableError(type(message).__name__, reason) from None
    if ESCAPE in header:
        header = header.replace(ESCAPE, ESCAPED)
    header += SENTINEL
    if len(header) > limits.header_nbytes_max:
        raise MessageTooLargeError("message header", len(header), limits.header_nbytes_max, "header_nbytes_max")
    if frames:
        check_frames([_nbytes(frame) for frame in frames], limits)
        return [header, *(_flat(frame) for frame in frames if _nbytes(frame))]
    return [header]


def frame_lengths(header: bytes, limits: Limits, may_send_objects: bool = True) -> tuple[Any, list[int]]:
    """First look at an unescaped header: the message, and the lengths of the frames it still lacks (often none).

    The message is only complete when there are no lengths; else receive them and call `decode`.

    Raises:
        ProtocolError: not msgpack, nested too deeply, bad extension data, or an object from a peer who may send none.
        MessageTooLargeError: frames over `limits`. Nothing has been allocated for them.
    """
    return HeaderReader(limits, may_send_objects).read(header)


class HeaderReader:
    """`frame_lengths` for many headers of one peer."""

    __slots__ = ("_hook", "_limits")

    def __init__(self, limits: Limits, may_send_objects: bool = True) -> None:
        self._limits = limits
        self._hook = _FirstLook(may_send_objects)

    def set_rights(self, may_send_objects: bool, limits: Limits) -> None:
        """From now on."""
        self._hook.may_send_objects = may_send_objects
        self._limits = limits

    def read(self, header: bytes) -> tuple[Any, list[int]]:
        """See `frame_lengths`."""
        hook = self._hook
        if hook.lengths:
            hook.lengths = []  # of the last message, or of one that was refused; whoever asked for it may hold it
        message = _unpack(header, hook)
        if hook.lengths:
            check_frames(hook.lengths, self._limits)
        return message, hook.lengths


def decode(header: bytes, frames: list[Buffer]) -> Any:
    """The complete message, once the frames that `frame_lengths` asked for are there."""
    return _unpack(header, _SecondLook(frames))


def unescape(header: bytes) -> bytes:
    """A header as msgpack wrote it."""
    return header.replace(ESCAPED, ESCAPE) if ESCAPE in header else header


def check_frames(lengths: list[int], limits: Limits) -> None:
    """Raise MessageTooLargeError when frames of these lengths are over the limits."""
    if len(lengths) > limits.frame_count_max:
        raise MessageTooLargeError("number of frames", len(lengths), limits.frame_count_max, "frame_count_max")
    if sum(lengths) > limits.message_nbytes_max:
        raise MessageTooLargeError("message", sum(lengths), limits.message_nbytes_max, "message_nbytes_max")


def _unpack(header: bytes, hook: Any) -> Any:
    try:
        return msgpack.unpackb(header, ext_hook=hook, raw=False, strict_map_key=False, unicode_errors=TEXT_ERRORS)
    except ProtocolError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.exceptions.UnpackException) as error:
        # StackError, FormatError and ExtraData are ValueErrors; a TypeError is a key that cannot be hashed
        raise ProtocolError(f"bad message header: {type(error).__name__}: {error}") from None


class _Default:
    """msgpack's hook for values it does not know; collects frames in the order in which it meets them."""

    __slots__ = ("frames",)

    def __init__(self, frames: list[Buffer]) -> None:
        self.frames = frames

    def __call__(self, value: Any) -> msgpack.ExtType:
        kind = type(value)
        if kind is Serialized:
            if value.is_inline():
                return msgpack.ExtType(EXT_OBJECT, bytes(value.frames[0]))
            self.frames.extend(value.frames)
            return msgpack.ExtType(EXT_OBJECT_FRAMES, msgpack.packb([_nbytes(frame) for frame in value.frames]))
        if kind is _InFrame:
            self.frames.append(value.data)
            return msgpack.ExtType(EXT_BYTES, msgpack.packb(_nbytes(value.data)))
        if kind is _Error:
            reply: bytes = msgpack.packb(value.reply, default=_no_object, unicode_errors=TEXT_ERRORS)
            return msgpack.ExtType(EXT_ERROR, reply)
        if isinstance(value, int):
            raise UnencodableError("int", "it has more than 64 bits; wrap it: to_serialize(value)")
        raise UnencodableError(_full_name(kind), "it is not a msgpack type; wrap it: to_serialize(value)")


class _FirstLook:
    """Extension hook that finds out what is still to come."""

    __slots__ = ("lengths", "may_send_objects")

    def __init__(self, may_send_objects: bool) -> None:
        self.lengths: list[int] = []
        self.may_send_objects = may_send_objects

    def __call__(self, code: int, data: bytes) -> Any:
        if code == EXT_BYTES:
            self.lengths.append(_length(_unpack(data, _no_extension)))
            return None
        if code == EXT_ERROR:
            return _error_reply(data)
        if code in (EXT_OBJECT, EXT_OBJECT_FRAMES):
            if not self.may_send_objects:
                raise ProtocolError("this peer's role may not send pickled objects")
            if code == EXT_OBJECT:
                return Serialized([data])
            lengths = _unpack(data, _no_extension)
            if type(lengths) is not list or not lengths:
                raise ProtocolError("an object in frames declares a list of lengths")
            self.lengths.extend(map(_length, lengths))
            return None
        return msgpack.ExtType(code, data)


class _SecondLook:
    """Extension hook that puts the frames where they belong."""

    __slots__ = ("frames",)

    def __init__(self, frames: list[Buffer]) -> None:
        self.frames = iter(frames)

    def __call__(self, code: int, data: bytes) -> Any:
        if code == EXT_BYTES:
            return bytes(next(self.frames))
        if code == EXT_OBJECT:
            return Serialized([data])
        if code == EXT_OBJECT_FRAMES:
            return Serialized([next(self.frames) for _ in _unpack(data, _no_extension)])
        if code == EXT_ERROR:
            return _error_reply(data)
        return msgpack.ExtType(code, data)


def _no_extension(code: int, data: bytes) -> Any:
    # Also a bound on recursion: each level of extensions within extensions takes 40 KiB of the C stack.
    raise ProtocolError("an extension type within an extension type")


def _no_object(value: Any) -> Any:
    raise UnencodableError(_full_name(type(value)), "an error reply holds only plain values")


def _full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _length(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ProtocolError("the length of a frame is an integer >= 0")
    return value


def _error_reply(data: bytes) -> ErrorReply:
    fields = _unpack(data, _no_extension)
    if type(fields) is not dict or not {"status", "type", "text", "traceback", "exception"} <= fields.keys():
        raise ProtocolError("an error reply lacks its fields")
    return ErrorReply(fields)


_TEXT = frozenset({str})
_SCALARS = frozenset({int, str, float, bool, type(None), Serialized})


def _lift(value: Any) -> Any:
    """`value` with big bytes marked as frames; the same object when it is a list or dict of scalars.

    Loops, not comprehensions: until Python 3.12 those take a second Python frame per level of nesting.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is bytes or kind is bytearray or kind is memoryview:
        return _InFrame(_flat(value)) if _nbytes(value) >= BUFFER_NBYTES_MIN else _flat(value)
    if kind is ErrorReply:
        return _Error(value)
    if kind is dict and _TEXT.issuperset(map(type, value)) and _SCALARS.issuperset(map(type, value.values())):
        return value
    if isinstance(value, dict):
        lifted = {}
        for key, entry in value.items():
            if type(key) is not str:
                _check_key(key)
            lifted[key] = entry if type(entry) in _SCALARS else _lift(entry)
        return lifted
    if kind is msgpack.ExtType:
        _check_key(value)
        return value
    if isinstance(value, (list, tuple)):
        if _SCALARS.issuperset(map(type, value)):
            return value
        entries = []
        for entry in value:
            entries.append(entry if type(entry) in _SCALARS else _lift(entry))
        return entries
    return value


def _check_key(key: Any) -> None:
    if isinstance(key, msgpack.ExtType):
        if key.code in RESERVED:
            raise UnencodableError("ExtType", f"codes {RESERVED.start} to {RESERVED.stop - 1} are the protocol's own")
    elif isinstance(key, tuple):  # it would come back as a list, which cannot be a key
        raise UnencodableError("tuple", "as a key of a dict; make a text of it, or wrap the dict: to_serialize(value)")


def _flat(data: Buffer) -> Buffer:
    """Something whose len is its number of bytes."""
    if not isinstance(data, memoryview):
        return data
    return data.cast("B") if data.c_contiguous else data.tobytes()


def _nbytes(frame: Buffer) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)
