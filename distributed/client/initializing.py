"""What an executor runs on a worker: its initializer, once in each process, and calls in chunks.

These functions travel by name, so this module imports little. Not here: the executor itself, see `client.executor`.

Functions of a user's script travel by value, each with a namespace of its own for its globals. What an initializer has
bound there is therefore handed to the functions that come later, as if all had been loaded as one module.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from distributed.errors import ExecutorBrokenError

__all__ = ["Initialized", "Setup", "in_chunks", "initialize"]

_MARK = "__initialized_for__"  # in a namespace: the executor whose globals it has been given

Setup = tuple[str, Callable[..., object], tuple[Any, ...]]  # token of the executor, initializer, its arguments

WRAPPED_MAX = 1000  # functions remembered with the initializer around them
TOKENS_MAX = 1000  # executors whose initializer this process remembers; one forgotten would be initialized again

_lock = threading.RLock()  # so that an initializer may call what was initialized; others wait for it to end
_running: list[str] = []  # tokens whose initializer runs, in the thread that has the lock
_outcomes: OrderedDict[str, BaseException | None] = OrderedDict()  # by token of an executor
_bound: dict[str, tuple[str, dict[str, Any]]] = {}  # by token: module's name, and globals that its initializer bound


def initialize(
    token: str, initializer: Callable[..., object], initargs: tuple[Any, ...], function: Callable[..., Any]
) -> None:
    """Run ``initializer(*initargs)`` if it has not run in this process for the executor named by `token`.

    Args:
        function: what is called next; it sees the globals that the initializer has bound.
    Raises:
        ExecutorBrokenError: it raised, now or when it ran.
    """
    if token in _outcomes and _outcomes[token] is None:
        if token in _bound:
            _hand_on(token, function)
        return
    with _lock:
        if token not in _outcomes and token not in _running:  # what it calls itself does not run it again
            _running.append(token)
            try:
                namespace = _own_namespace(initializer)
                before = dict(namespace)
                initializer(*initargs)
                bound = {name: value for name, value in namespace.items() if before.get(name, before) is not value}
                if bound:
                    _bound[token] = str(namespace.get("__name__")), bound
                _outcomes[token] = None
            except BaseException as error:  # a SystemExit breaks the executor as much as any other
                _outcomes[token] = error
            finally:
                _running.remove(token)
            if len(_outcomes) > TOKENS_MAX:
                _bound.pop(_outcomes.popitem(last=False)[0], None)
        failure = _outcomes.get(token)
    if failure is not None:
        raise ExecutorBrokenError(f"its initializer raised {type(failure).__name__}: {failure}") from failure
    if token in _bound:
        _hand_on(token, function)


def _hand_on(token: str, function: Callable[..., Any]) -> None:
    """Let `function` see what the initializer has bound, if it comes from the same module; once."""
    namespace = _own_namespace(function)
    module, bound = _bound[token]
    if namespace.get("__name__") == module and namespace.get(_MARK) != token:
        namespace.update(bound)
        namespace[_MARK] = token


def _own_namespace(function: Any) -> dict[str, Any]:
    """The globals of a function that was sent by value; an empty dict of any other callable."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    namespace: dict[str, Any] = getattr(getattr(function, "__func__", function), "__globals__", {})
    module = sys.modules.get(str(namespace.get("__name__")))
    return {} if module is None or module.__dict__ is namespace else namespace


def after_initializer(
    function: Callable[..., Any], token: str, initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> Callable[..., Any]:
    """`function`, run in a process where the initializer has run."""

    def call(*args: Any, **kwargs: Any) -> Any:
        initialize(token, initializer, initargs, function)
        return function(*args, **kwargs)

    call.__name__ = getattr(function, "__name__", "call")
    # As if written beside it: then a change of what `function` refers to is seen, see `packing.FunctionCache`.
    call.__module__ = getattr(function, "__module__", None) or __name__
    call.__qualname__ = f"{call.__name__}.<locals>.call"
    return call


class Initialized:
    """Puts an initializer before functions.

    Args:
        setup: None: there is none.
    """

    def __init__(self, setup: Setup | None) -> None:
        self._setup = setup
        self._wrapped: OrderedDict[int, tuple[Any, Callable[..., Any]]] = OrderedDict()

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` after the initializer, if there is one; the same object for the same function."""
        if self._setup is None or not callable(function):
            return function
        found = self._wrapped.get(id(function))
        if found is None:
            found = self._wrapped[id(function)] = (function, after_initializer(function, *self._setup))
            if len(self._wrapped) > WRAPPED_MAX:
                self._wrapped.popitem(last=False)
        return found[1]


def in_chunks(function: Callable[..., Any]) -> Callable[[Sequence[tuple[Any, ...]]], list[Any]]:
    """A function of many argument tuples that gives the list of the results of `function`."""

    def call(chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*args) for args in chunk]

    call.__name__ = getattr(function, "__name__", "call")
    return call
