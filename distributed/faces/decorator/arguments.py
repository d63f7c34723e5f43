"""Handles among the arguments of a call: each is replaced by what stands for its value where the call will run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.faces.decorator.chunks import Element
from distributed.faces.decorator.sources import Late, Outcome, Source
from distributed.faces.decorator.task import Task, TaskSequence

__all__ = ["Arguments", "packed", "plain"]

_HOLDERS = frozenset({list, tuple, dict, set, frozenset, Task, TaskSequence})


class Arguments:
    """Those of one call, with their handles replaced.

    Attributes:
        args, kwargs: for the Main.
        late: a handle whose source does not exist yet: begin again when it does; None: there is none.
        error: of a handle that has failed already, and with it the call; None: none has.
    """

    __slots__ = ("_submit", "args", "error", "kwargs", "late")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], submit: Callable[..., Source]) -> None:
        self._submit = submit
        self.late: Late | None = None
        self.error: BaseException | None = None
        self.args, self.kwargs = _replaced(args, self._stand_in), _replaced(kwargs, self._stand_in)

    def _stand_in(self, task: Task[Any]) -> Any:
        source = _sent(task, self._submit)
        if isinstance(source, Late):
            self.late = source
            return None
        if isinstance(source, Outcome):
            self.error = self.error or source.exception()
            return None if self.error is not None else source.result()
        return source


def _sent(task: Task[Any], submit: Callable[..., Source]) -> Source:
    """What the Main takes in the place of a handle; or an outcome that is here, or a `Late` that is not there."""
    source = task._source
    while isinstance(source, Late) and source.source is not None:
        source = source.source
    return source.as_call(submit) if isinstance(source, Element) else source


def packed(args: tuple[Any, ...], kwargs: dict[str, Any], submit: Callable[..., Source]) -> Arguments | None:
    """The arguments with their handles replaced; None: there are none in them, so they can go as they are.

    Args:
        submit: begins a call, of a function with arguments, for handles that need one.
    """
    if not _may_hold(args, kwargs):
        return None
    try:
        return Arguments(args, kwargs, submit)
    except RecursionError:  # it holds itself, or is nested deeply: pickle knows what to do, if no handle is in it
        return None


def plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the value of each handle, waiting for it; what a handle raises is raised."""
    if not _may_hold(args, kwargs):
        return args, kwargs
    try:
        return _replaced(args, Task.unwrap), _replaced(kwargs, Task.unwrap)
    except RecursionError:
        return args, kwargs


def _may_hold(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    for value in args:
        if type(value) in _HOLDERS:
            return True
    return bool(kwargs) and not _HOLDERS.isdisjoint(map(type, kwargs.values()))


def _replaced(value: Any, stand_in: Callable[[Task[Any]], Any]) -> Any:
    kind = type(value)
    if kind is Task:
        return stand_in(value)
    if kind is TaskSequence:
        return [stand_in(task) for task in value]
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind([_replaced(entry, stand_in) for entry in value])
    if kind is dict:
        return {name: _replaced(entry, stand_in) for name, entry in value.items()}
    return value
