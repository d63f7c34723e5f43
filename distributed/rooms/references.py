"""Functions and values that travel by name: a room has the same modules as the Main, so a name says it all.

    Main                                             room
    Reference.of(f) ── "pkg.module", "f" ──▶         the function f of its own copy of the module
    a value with classes of ``__main__`` ──▶         the same with the classes of the entry, see `entry`
    lambda, closure, notebook cell ── code ──▶       a copy, by cloudpickle; what it uses by name, where it can

What a decorator of ours stands around is named like the function in it: an object whose class has ``is_distributed =
True`` leads to its ``__wrapped__``, also through other decorators. Results and exceptions need nothing of this: in a
room all classes have names that the Main knows.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from distributed.errors import NameMissingError, UnpicklableError
from distributed.protocol.bytecode import value_pickler
from distributed.protocol.serialize import (
    BUFFER_NBYTES_MIN,
    PROTOCOL,
    Buffer,
    Payload,
    Serialized,
    buffer_collector,
    loads_function,
)
from distributed.rooms.entry import MAIN, import_module, is_inside
from distributed.rooms.guarded import guarded_names

__all__ = ["Carried", "Reference", "dumps_reference_payload", "function_named", "named", "packable", "unwrapped"]

WRAPPERS_MAX = 50  # decorators around one function; a chain that is longer is a circle


class Reference:
    """A function by name. It is called like the function; its pickle becomes the function itself where it is loaded.

    Attributes:
        module: where it is found; the Main's script has the name of its file.
        qualname: its name in there, with dots for methods.
    """

    __slots__ = ("__weakref__", "module", "qualname")

    travels_unchanged = True  # so a client pickles each one once

    def __init__(self, module: str, qualname: str) -> None:
        self.module = module
        self.qualname = qualname

    @classmethod
    def of(cls, function: Any, entry: str | None) -> Reference | None:
        """The name of `function`; None: it has none that leads back to it, so it must be `Carried`.

        Args:
            entry: module name of the Main's script; None: it has no file.
        """
        module, qualname = _names_of(function)
        if not module or "<" in qualname or not _leads_to(module, qualname, function):
            return None
        if module == MAIN and _is_below_guard(qualname):
            return None
        name = entry if module == MAIN else module
        return None if name is None else cls(name, qualname)

    @property
    def __name__(self) -> str:
        return self.qualname.rpartition(".")[2]

    def resolve(self) -> Callable[..., Any]:
        """The function here.

        Raises:
            ModuleMissingError, ModuleFailedError: its module cannot be imported.
            NameMissingError: the module has no such name.
        """
        function: Callable[..., Any] = function_named(self.module, self.qualname)
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.resolve()(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return function_named, (self.module, self.qualname)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and (self.module, self.qualname) == (other.module, other.qualname)

    def __hash__(self) -> int:
        return hash((self.module, self.qualname))

    def __repr__(self) -> str:
        return f"Reference({self.module!r}, {self.qualname!r})"


class Carried:
    """A function by value, as it is now: what changes later is not in it, so make one for each call or keep it.

    What it uses of the workspace travels by name. Loading its pickle gives the function.

    Raises:
        UnpicklableError: it holds something that cannot be pickled, such as a lock or an open file.
    """

    __slots__ = ("__name__", "__weakref__", "blob", "function")

    travels_unchanged = True

    def __init__(self, function: Callable[..., Any], entry: str | None) -> None:
        self.function = function
        self.blob = bytes(_dumped(function, entry, "a function", None))
        self.__name__ = _names_of(function)[1].rpartition(".")[2] or type(function).__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return loads_function, (self.blob,)


def packable(function: Any, entry: str | None) -> Reference | Carried:
    """What to submit in the place of `function`, decorated or not: its name if it has one, else its code.

    Raises:
        UnpicklableError: see `Carried`.
    """
    function = unwrapped(function)
    return Reference.of(function, entry) or Carried(function, entry)


def unwrapped(value: Any) -> Any:
    """The function in what our decorator made of it, maybe inside of other decorators; any other value itself."""
    inner = value
    for _ in range(WRAPPERS_MAX):
        if getattr(type(inner), "is_distributed", False):
            return inner.__wrapped__
        if isinstance(inner, type) or not hasattr(inner, "__wrapped__"):
            break
        inner = inner.__wrapped__
    return value


def dumps_reference_payload(value: Any, entry: str | None, what: str = "an argument") -> Payload:
    """As `protocol.serialize.dumps_payload`, for a room: what the Main's script defines is named, not copied.

    Args:
        entry: module name of the script; None: it has no file, and all of it travels by value.
    Raises:
        UnpicklableError: neither pickle nor cloudpickle can.
    """
    if type(value) is bytes and len(value) >= BUFFER_NBYTES_MIN:
        return Serialized([b"", value])
    buffers: list[Buffer] = []
    head = _dumped(value, entry, what, buffers)
    return Serialized([head, *buffers]) if buffers or len(head) >= BUFFER_NBYTES_MIN else head


def _dumped(value: Any, entry: str | None, what: str, buffers: list[Buffer] | None) -> bytes:
    """Three ways, each slower than the one before: plain, with names for what the script defines, and with code."""
    collect = None if buffers is None else buffer_collector(buffers)
    try:
        head = pickle.dumps(value, PROTOCOL, buffer_callback=collect)
        if MAIN.encode() not in head:
            return head
    except Exception:  # whatever a __reduce__ raises: cloudpickle has the last word below
        if buffers:
            buffers.clear()
    try:
        head = _pickled(_NamingPickler, value, entry, buffers)
        if MAIN.encode() not in head:
            return head
    except Exception:  # likewise
        if buffers:
            buffers.clear()
    try:
        return _pickled(_carrying_pickler(), value, entry, buffers)
    except Exception as error:
        raise UnpicklableError(what, type(value).__qualname__, f"{type(error).__name__}: {error}") from error


def _pickled(kind: Any, value: Any, entry: str | None, buffers: list[Buffer] | None) -> bytes:
    if buffers:
        buffers.clear()
    file = io.BytesIO()
    pickler = kind(file, PROTOCOL, buffer_callback=None if buffers is None else buffer_collector(buffers))
    pickler.entry = entry
    pickler.dump(value)
    return file.getvalue()


class _NamingPickler(pickle.Pickler):
    entry: str | None = None

    def reducer_override(self, value: Any) -> Any:
        return _named_reduction(value, self.entry)


@cache
def _carrying_pickler() -> Any:
    class CarryingPickler(value_pickler()):  # type: ignore[misc]
        entry: str | None = None

        def reducer_override(self, value: Any) -> Any:
            reduction = _named_reduction(value, self.entry)
            return super().reducer_override(value) if reduction is NotImplemented else reduction

    return CarryingPickler


def _named_reduction(value: Any, entry: str | None) -> Any:
    """How a class, function or other thing with a name of its own is named in a room; NotImplemented: it is not."""
    kind = type(value)
    if kind.__module__ == MAIN and not isinstance(value, type) and not hasattr(value, "__wrapped__"):
        return NotImplemented  # an instance of what the script defines: most of what comes by here
    if kind is ModuleType:
        return (import_module, (entry,)) if entry is not None and value is sys.modules[MAIN] else NotImplemented
    if kind is not FunctionType and not isinstance(value, type) and not _is_of_main(value, entry):
        return NotImplemented
    module, qualname = _names_of(value)
    if not module or "<" in qualname:
        return NotImplemented
    if module in (MAIN, entry):
        return NotImplemented if entry is None else _entry_reduction(value, module, qualname, entry)
    if kind is FunctionType and _lookup(module, qualname) is not value and _leads_to(module, qualname, value):
        return function_named, (module, qualname)
    return NotImplemented


def _entry_reduction(value: Any, module: str, qualname: str, entry: str) -> Any:
    """The same for what the Main's script defines, or a second copy of it that somebody has imported by its name."""
    home = entry if is_inside() else MAIN
    if home == MAIN and _is_below_guard(qualname):
        return NotImplemented
    found = _lookup(home, qualname)
    if found is value or (module == entry and type(found) is type(value)):
        return named, (entry, qualname)
    return (function_named, (entry, qualname)) if _leads_to(home, qualname, value) else NotImplemented


def _is_below_guard(qualname: str) -> bool:
    return qualname.partition(".")[0] in guarded_names()


def _is_of_main(value: Any, entry: str | None) -> bool:
    """Of type variables and such, which have names as classes have."""
    return entry is not None and getattr(value, "__module__", None) == MAIN and type(_names_of(value)[1]) is str


def _names_of(value: Any) -> tuple[str, str]:
    """Module and qualified name as it says itself; empty: it does not."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return (module, name) if type(module) is str and type(name) is str else ("", "")


_ABSENT = object()


def _lookup(module: str, qualname: str) -> Any:
    """What has that name in a module that is loaded; `_ABSENT`: nothing."""
    found: Any = sys.modules.get(module, _ABSENT)
    for name in qualname.split("."):
        if found is _ABSENT:
            break
        found = getattr(found, name, _ABSENT)
    return found


def _leads_to(module: str, qualname: str, value: Any) -> bool:
    found = _lookup(module, qualname)
    return found is value or (found is not _ABSENT and unwrapped(found) is value)


# ---------------------------------------------------------------- where a pickle is loaded


def named(module: str, qualname: str) -> Any:
    """What a name stands for here.

    Raises:
        ModuleMissingError, ModuleFailedError, NameMissingError: nothing.
    """
    found: Any = import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name, _ABSENT)
        if found is _ABSENT:
            raise NameMissingError(module, qualname)
    return found


def function_named(module: str, qualname: str) -> Any:
    """The function to run for a name."""
    return unwrapped(named(module, qualname))
