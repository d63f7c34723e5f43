"""A plain dict graph, ``{'x': 1, 'y': (inc, 'x'), 'z': (sum, ['x', 'y'])}``, as tasks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from distributed.client.outbox import Task
from distributed.client.packing import FunctionCache, replace_futures
from distributed.errors import BadRequestError
from distributed.ids import short_name
from distributed.messages import Payload, TaskSpec
from distributed.protocol.serialize import TaskRef, dumps_payload

__all__ = ["graph_tasks", "identity"]


def identity(value: Any) -> Any:
    """`value`."""
    return value


def graph_tasks(
    graph: Mapping[Hashable, Any], wanted: set[Hashable], unique: str, functions: FunctionCache
) -> tuple[list[Task], dict[bytes, Payload], dict[Hashable, str]]:
    """The tasks of `graph` that `wanted` needs.

    A task is a tuple that begins with a callable; its arguments may be keys, tasks, and lists, tuples and dicts of
    both. Anything else is a value. Futures may stand anywhere.

    Args:
        unique: makes the keys differ from those of other graphs.
    Returns:
        Tasks, each after those it depends on; the functions they need; and the name on the cluster of each key.
    Raises:
        BadRequestError: `wanted` holds what is not in the graph, or the graph has a cycle.
    """
    build = _Build(graph, wanted, unique, functions)
    for key in wanted:
        if key not in graph:
            raise BadRequestError(f"{key!r} is not in the graph")
        build.add(key)
    return list(build.tasks.values()), build.blobs, build.names


class _Build:
    def __init__(
        self, graph: Mapping[Hashable, Any], wanted: set[Hashable], unique: str, functions: FunctionCache
    ) -> None:
        self.graph = graph
        self.wanted = wanted
        self.names = {key: f"{short_name(str(key))}-{unique}-{number}" for number, key in enumerate(graph)}
        self.blobs: dict[bytes, Payload] = {}
        self.tasks: dict[str, Task] = {}  # by name
        self._inner_count = 0
        self._unique = unique
        self._functions = functions

    def add(self, key: Hashable) -> None:
        """Add `key` and all it needs; without recursion, since graphs are deep."""
        path: dict[Hashable, None] = {}
        todo: list[tuple[Hashable, bool]] = [(key, False)]
        while todo:
            current, is_complete = todo.pop()
            if is_complete:
                del path[current]
                self._pack(self.names[current], self.graph[current], current in self.wanted)
                continue
            if self.names[current] in self.tasks:
                continue
            if current in path:
                raise BadRequestError(f"the graph has a cycle through {current!r}")
            path[current] = None
            todo.append((current, True))
            todo.extend(
                (need, False) for need in self._needs(self.graph[current]) if self.names[need] not in self.tasks
            )

    def _needs(self, value: Any) -> list[Hashable]:
        """Keys of the graph that occur in a task or value."""
        if _is_task(value):
            return [need for argument in value[1:] for need in self._needs(argument)]
        if isinstance(value, Hashable) and _is_key(value, self.graph):
            return [value]
        if type(value) in (list, tuple, set, frozenset):
            return [need for entry in value for need in self._needs(entry)]
        if type(value) is dict:
            return [need for entry in value.values() for need in self._needs(entry)]
        return []

    def _pack(self, name: str, value: Any, wanted: bool) -> None:
        function, *arguments = value if _is_task(value) else (identity, value)
        packed = self._functions.pack(function)
        self.blobs[packed.digest] = packed.blob
        keys: dict[str, None] = {}
        args = tuple(self._replaced(argument, keys) for argument in arguments)
        self.tasks[name] = (TaskSpec(packed.digest, wanted=wanted), name, dumps_payload((args, {})), list(keys) or None)

    def _replaced(self, value: Any, keys: dict[str, None]) -> Any:
        if _is_task(value):  # a task inside a task is a task of its own
            self._inner_count += 1
            name = f"inner-{self._unique}-{self._inner_count}"
            self._pack(name, value, False)
            keys[name] = None
            return TaskRef(name)
        if isinstance(value, Hashable) and _is_key(value, self.graph):
            keys[self.names[value]] = None
            return TaskRef(self.names[value])
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(self._replaced(entry, keys) for entry in value)
        if type(value) is dict:
            return {name: self._replaced(entry, keys) for name, entry in value.items()}
        return replace_futures(value, keys)


def _is_task(value: Any) -> bool:
    return type(value) is tuple and bool(value) and callable(value[0])


def _is_key(value: Hashable, graph: Mapping[Hashable, Any]) -> bool:
    try:
        return value in graph
    except TypeError:  # a tuple that holds a list
        return False
