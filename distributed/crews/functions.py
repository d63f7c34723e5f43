"""Functions of a Main as they travel to rooms: by name where they have one, else by value; each packed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from distributed.client.packing import FUNCTIONS_MAX, PackedFunction, look_at
from distributed.rooms.references import Carried, Reference, packable

__all__ = ["RoomFunctions"]


class _Known(NamedTuple):
    function: Any  # kept so that its id stays its own
    packed: PackedFunction
    is_by_value: bool
    seen: list[Any]  # what a function by value depends on


class RoomFunctions:
    """Packs functions for the rooms of one workspace.

    Args:
        entry: module name of the Main's script there; None: it has none.
    """

    def __init__(self, entry: str | None) -> None:
        self._entry = entry
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def pack(self, function: Callable[..., Any]) -> tuple[PackedFunction, bool]:
        """The packed form of `function`, and whether that holds code, which only the same Python can run.

        Raises:
            TypeError: it cannot be called.
            UnpicklableError: it holds something that cannot be pickled.
        """
        known = self._known.get(id(function))
        if known is not None and all([seen.is_current() for seen in known.seen]):
            return known.packed, known.is_by_value
        if not callable(function):
            raise TypeError(f"the first argument is the function to call, not {type(function).__name__}")
        given = function if isinstance(function, (Reference, Carried)) else packable(function, self._entry)
        packed, is_by_value = PackedFunction(given), isinstance(given, Carried)
        if not is_by_value or given is function or type(function) is FunctionType:
            seen = look_at(function) if is_by_value and type(function) is FunctionType else []
            self._known[id(function)] = _Known(function, packed, is_by_value, seen)
            if len(self._known) > FUNCTIONS_MAX:
                self._known.popitem(last=False)
        return packed, is_by_value
