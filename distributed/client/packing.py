"""A call as bytes: the function's digest, its arguments with futures replaced by references, and its key."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any

from distributed.client.futures import Future
from distributed.ids import short_name
from distributed.messages import Payload
from distributed.protocol.serialize import BUFFER_NBYTES_MIN, PROTOCOL, Serialized, TaskRef, dumps_function, dumps_payload

__all__ = ["FunctionCache", "PackedFunction", "pack_arguments", "pure_key", "replace_futures"]

FUNCTIONS_MAX = 1000  # remembered per client; one that falls out is pickled and sent again when it returns


class PackedFunction:
    """A function as it travels: ``digest`` names ``blob``; ``name`` begins the keys of its calls."""

    __slots__ = ("blob", "digest", "fingerprint", "function", "name")

    def __init__(self, function: Any, blob: bytes, fingerprint: Any) -> None:
        self.function = function  # kept so that its id stays its own
        self.blob = blob
        self.digest = hashlib.blake2b(blob, digest_size=16).digest()
        self.name = short_name(_name_of(function))
        self.fingerprint = fingerprint


class FunctionCache:
    """Pickles each function once, and again when it may have changed.

    A function that travels by value carries the globals it uses, so it is pickled again when one of them, its code, its
    defaults or its closure was bound anew since. (An object changed in place goes unnoticed: pass it as an argument.)
    """

    def __init__(self) -> None:
        self._packed: OrderedDict[int, PackedFunction] = OrderedDict()

    def pack(self, function: Callable[..., Any]) -> PackedFunction:
        """The packed form of `function`.

        Raises:
            TypeError: it cannot be called.
            UnpicklableError: it holds something that cannot be pickled.
        """
        fingerprint = _fingerprint(function)
        packed = self._packed.get(id(function))
        if packed is not None and packed.fingerprint == fingerprint:
            return packed
        if not callable(function):
            raise TypeError(f"the first argument is the function to call, not {type(function).__name__}")
        packed = PackedFunction(function, dumps_function(function), fingerprint)
        if isinstance(function, FunctionType) or fingerprint is None:
            self._packed[id(function)] = packed
            if len(self._packed) > FUNCTIONS_MAX:
                self._packed.popitem(last=False)
        return packed


def pack_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Payload, list[str] | None]:
    """Pickled ``(args, kwargs)`` and the keys of the futures in them, at any depth of list, tuple, dict and set.

    Raises:
        UnpicklableError: an argument that cannot be pickled, or a future hidden inside another object.
    """
    kinds = {type(value) for value in args}
    kinds.update(map(type, kwargs.values()))
    if kinds <= _SCALARS:
        blob = pickle.dumps((args, kwargs), PROTOCOL)
        return (blob if len(blob) < BUFFER_NBYTES_MIN else Serialized([blob])), None
    for value in (*args, *kwargs.values()):
        if type(value) not in _PLAIN:
            keys: dict[str, None] = {}
            args = tuple(replace_futures(value, keys) for value in args)
            kwargs = {name: replace_futures(value, keys) for name, value in kwargs.items()}
            return dumps_payload((args, kwargs)), list(keys) or None
    return dumps_payload((args, kwargs)), None


def pure_key(function: PackedFunction, arguments: Payload) -> str:
    """The key that equal calls share: the function's name and a digest of its code and arguments."""
    if type(arguments) is bytes:
        return f"{function.name}-{hashlib.blake2b(arguments, digest_size=16, key=function.digest).hexdigest()}"
    assert isinstance(arguments, Serialized)
    digest = hashlib.blake2b(digest_size=16, key=function.digest)
    for frame in arguments.frames:
        digest.update(frame)
    return f"{function.name}-{digest.hexdigest()}"


def replace_futures(value: Any, keys: dict[str, None]) -> Any:
    """`value` with a `TaskRef` for every future in it; their keys are added to `keys`, in order."""
    kind = type(value)
    if kind is Future:
        keys[value.key] = None
        return TaskRef(value.key)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind(replace_futures(entry, keys) for entry in value)
    if kind is dict:
        return {name: replace_futures(entry, keys) for name, entry in value.items()}
    if hasattr(value, "_future_keys"):  # a FutureSequence: the list of its results
        return [TaskRef(key) for key in value._future_keys(keys)]
    return value


_SCALARS = frozenset({int, float, str, bytes, bool, complex, type(None)})  # they need no look inside
_PLAIN = _SCALARS | {range, slice, type, FunctionType}  # they hold no futures


def _fingerprint(function: Any) -> Any:
    """What, besides its identity, the pickle of a function depends on; None: nothing."""
    if not isinstance(function, FunctionType):
        return None
    cells = function.__closure__ or ()
    try:
        contents = tuple(id(cell.cell_contents) for cell in cells)
    except ValueError:  # a cell that is not bound yet
        contents = ()
    known = function.__globals__
    names = function.__code__.co_names
    return (
        function.__code__, function.__defaults__ and id(function.__defaults__), contents,
        tuple(id(known[name]) for name in names if name in known),
    )  # fmt: skip


def _name_of(function: Any) -> str:
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)
