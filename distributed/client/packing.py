"""A call as bytes: the function's digest, its arguments with futures replaced by references, and its key."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple

from distributed.actors.proxy import Actor
from distributed.client.futures import Future, FutureSequence
from distributed.ids import short_name
from distributed.messages import Payload
from distributed.protocol.serialize import (
    BUFFER_NBYTES_MIN,
    PROTOCOL,
    Serialized,
    TaskRef,
    dumps_function,
    dumps_payload,
)

__all__ = [
    "PLAIN",
    "SCALARS",
    "FunctionCache",
    "PackedFunction",
    "look_at",
    "pack_arguments",
    "pure_key",
    "replace_futures",
]

FUNCTIONS_MAX = 1000  # remembered per client; one that falls out is pickled and sent again when it returns


class PackedFunction:
    """A function as it travels: ``digest`` names ``blob``; ``name`` begins the keys of its calls."""

    __slots__ = ("_seen", "blob", "digest", "function", "is_kept", "name")

    def __init__(self, function: Any) -> None:
        blob = dumps_function(function)
        is_reference = blob.endswith(_ENDS_WITH_GLOBAL)
        self.function = function  # kept so that its id stays its own
        is_function = isinstance(function, FunctionType)
        self.is_kept = is_reference or is_function or getattr(type(function), "travels_unchanged", False)
        self._seen = look_at(function) if is_function and not is_reference else []
        # A big one, with an array in its closure perhaps, travels beside the header like any big payload.
        self.blob: Payload = blob if len(blob) < BUFFER_NBYTES_MIN else Serialized([blob])
        self.digest = hashlib.blake2b(blob, digest_size=16).digest()
        self.name = short_name(_name_of(function))

    def is_current(self) -> bool:
        """Whether nothing that `blob` was made of has been bound anew since."""
        return all([seen.is_current() for seen in self._seen])


class FunctionCache:
    """Pickles each function once, and again when it may have changed.

    A function that travels by value carries the globals it uses, so it is pickled again when one of them, its code, its
    defaults or its closure was bound anew since; the same for functions that it calls. (A list or an array changed in
    place goes unnoticed: pass it as an argument.) Other callables, such as partials, bound methods and objects with
    ``__call__``, may change at any time and are pickled each time.
    """

    def __init__(self) -> None:
        self._packed: OrderedDict[int, PackedFunction] = OrderedDict()

    def pack(self, function: Callable[..., Any]) -> PackedFunction:
        """The packed form of `function`.

        Raises:
            TypeError: it cannot be called.
            UnpicklableError: it holds something that cannot be pickled.
        """
        packed = self._packed.get(id(function))
        if packed is not None and packed.is_current():
            return packed
        if not callable(function):
            raise TypeError(f"the first argument is the function to call, not {type(function).__name__}")
        packed = PackedFunction(function)
        if packed.is_kept:
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
    if kinds <= SCALARS:
        blob = pickle.dumps((args, kwargs), PROTOCOL)
        return (blob if len(blob) < BUFFER_NBYTES_MIN else Serialized([blob])), None
    if kinds <= PLAIN:
        return dumps_payload((args, kwargs)), None
    keys: dict[str, None] = {}
    try:
        args, kwargs = replace_futures(args, keys), replace_futures(kwargs, keys)
    except (
        RecursionError
    ):  # it holds itself, or is nested deeply: pickle knows what to do, unless there are futures in it
        keys.clear()
    return dumps_payload((args, kwargs)), list(keys) or None


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
    if kind is Future or (kind is Actor and value._held):  # what holds its actor keeps it while the task runs
        keys[value.key] = None
        return TaskRef(value.key)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind(replace_futures(entry, keys) for entry in value)
    if kind is dict:
        return {name: replace_futures(entry, keys) for name, entry in value.items()}
    if kind is FutureSequence:  # the list of its results
        keys.update(dict.fromkeys(value.keys))
        return [TaskRef(key) for key in value.keys]
    return value


SCALARS = frozenset({int, float, str, bytes, bool, complex, type(None)})  # they need no look inside
PLAIN = SCALARS | {range, slice, type, FunctionType}  # they hold no futures


_ENDS_WITH_GLOBAL = b"\x93\x94."  # STACK_GLOBAL, MEMOIZE, STOP: the pickle is a name to import and nothing else


class _Seen(NamedTuple):
    """What the pickle by value of one function depends on. Objects, not ids: a new one may get the id of one gone."""

    function: Any  # FunctionType, which mypy takes for a method of this class
    code: CodeType
    defaults: Any
    keyword_defaults: Any
    globals: list[tuple[str, Any]]
    cells: list[tuple[CellType, Any]]

    def is_current(self) -> bool:
        function, known = self.function, self.function.__globals__
        return (
            function.__code__ is self.code
            and function.__defaults__ is self.defaults
            and function.__kwdefaults__ is self.keyword_defaults
            and all([known.get(name, _UNBOUND) is value for name, value in self.globals])
            and all([_content(cell) is value for cell, value in self.cells])
        )


_UNBOUND = object()


def look_at(function: FunctionType) -> list[_Seen]:
    """What is seen of `function` and of those it calls, as far as they travel by value with it."""
    seen: dict[FunctionType, _Seen] = {}
    todo = [function]
    while todo:
        current = todo.pop()
        known = current.__globals__
        bound = [(name, known.get(name, _UNBOUND)) for name in dict.fromkeys(_names_in(current.__code__))]
        cells = [(cell, _content(cell)) for cell in current.__closure__ or ()]
        seen[current] = _Seen(
            current, current.__code__, current.__defaults__, current.__kwdefaults__, bound, cells
        )  # fmt: skip
        for _, value in (*bound, *cells):
            if type(value) is FunctionType and value not in seen and value.__module__ == function.__module__:
                todo.append(value)
    return list(seen.values())


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return _UNBOUND


def _names_in(code: CodeType) -> list[str]:
    """Names of globals that `code` uses, with those of functions, lambdas and comprehensions inside it."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if type(constant) is CodeType:
            names += _names_in(constant)
    return names


def _name_of(function: Any) -> str:
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)
