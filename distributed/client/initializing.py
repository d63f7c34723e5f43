"""What an executor runs on a worker: its initializer, once in each process, and calls in chunks.

These functions travel by name, so this module imports little. Not here: the executor itself, see `client.executor`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from distributed.errors import ExecutorBrokenError

__all__ = ["after_initializer", "in_chunks", "initialize"]

TOKENS_MAX = 1000  # executors whose initializer this process remembers; one forgotten would be initialized again

_lock = threading.RLock()  # so that an initializer may call what was initialized; others wait for it to end
_running: list[str] = []  # tokens whose initializer runs, in the thread that has the lock
_outcomes: OrderedDict[str, BaseException | None] = OrderedDict()  # by token of an executor


def initialize(token: str, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
    """Run ``initializer(*initargs)`` if it has not run in this process for the executor named by `token`.

    Raises:
        ExecutorBrokenError: it raised, now or when it ran.
    """
    if token in _outcomes and _outcomes[token] is None:
        return
    with _lock:
        if token not in _outcomes and token not in _running:  # what it calls itself does not run it again
            _running.append(token)
            try:
                initializer(*initargs)
                _outcomes[token] = None
            except BaseException as error:  # a SystemExit breaks the executor as much as any other
                _outcomes[token] = error
            finally:
                _running.remove(token)
            if len(_outcomes) > TOKENS_MAX:
                _outcomes.popitem(last=False)
        failure = _outcomes.get(token)
    if failure is not None:
        raise ExecutorBrokenError(f"its initializer raised {type(failure).__name__}: {failure}") from failure


def after_initializer(
    function: Callable[..., Any], token: str, initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> Callable[..., Any]:
    """`function`, run in a process where the initializer has run."""

    def call(*args: Any, **kwargs: Any) -> Any:
        initialize(token, initializer, initargs)
        return function(*args, **kwargs)

    call.__name__ = getattr(function, "__name__", "call")
    # As if written beside it: then a change of what `function` refers to is seen, see `packing.FunctionCache`.
    call.__module__ = getattr(function, "__module__", None) or __name__
    call.__qualname__ = f"{call.__name__}.<locals>.call"
    return call


def in_chunks(function: Callable[..., Any]) -> Callable[[Sequence[tuple[Any, ...]]], list[Any]]:
    """A function of many argument tuples that gives the list of the results of `function`."""

    def call(chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*args) for args in chunk]

    call.__name__ = getattr(function, "__name__", "call")
    return call
