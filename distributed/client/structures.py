"""Structures of futures: finding the futures in lists, tuples, dicts and sets, and putting results in their place."""

from __future__ import annotations

from collections.abc import Hashable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from distributed.client.futures import Future, FutureSequence
from distributed.client.records import KeyRecord
from distributed.client.session import Session

__all__ = ["filled", "flatten", "listed", "records_in", "shaped_like"]


def records_in(session: Session, value: Any) -> list[KeyRecord]:
    """Records of all futures in a structure, each once, in order."""
    if isinstance(value, FutureSequence):
        return [session.table.records[key] for key in dict.fromkeys(value.keys)]
    found: dict[str, KeyRecord] = {}
    todo = [value]
    while todo:
        entry = todo.pop()
        if isinstance(entry, Future):
            found[entry.key] = entry._record
        elif isinstance(entry, FutureSequence):
            found.update((key, session.table.records[key]) for key in entry.keys)
        elif isinstance(entry, dict):
            todo.extend(reversed(entry.values()))
        elif isinstance(entry, (list, tuple, set, frozenset)):
            todo.extend(reversed(list(entry)))
    return list(found.values())


_SKIPPED = object()


def listed(value: Any) -> Any:
    """What can be looked at twice: a list of an iterator or a view, anything else as it is."""
    return list(value) if isinstance(value, (Iterator, KeysView, ValuesView, ItemsView)) else value


def filled(value: Any, values: dict[str, Any]) -> Any:
    """The structure with results in the place of futures; those without one are left out, one all alone is None."""
    found = _filled(value, values)
    return None if found is _SKIPPED else found


def _filled(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, FutureSequence):
        return [values[key] for key in value.keys if key in values]
    if isinstance(value, Future):
        return values.get(value.key, _SKIPPED)
    if isinstance(value, dict):
        named = ((name, _filled(entry, values)) for name, entry in value.items())
        return {name: entry for name, entry in named if entry is not _SKIPPED}
    if isinstance(value, (list, tuple, set, frozenset)):
        entries = [entry for entry in (_filled(entry, values) for entry in value) if entry is not _SKIPPED]
        make = getattr(value, "_make", type(value))  # a named tuple wants its fields one by one
        return make(entries)
    return value


def flatten(keys: Any) -> Iterable[Hashable]:
    """The keys in nested lists of keys."""
    if isinstance(keys, list):
        for entry in keys:
            yield from flatten(entry)
    else:
        yield keys


def shaped_like(keys: Any, futures: Mapping[Hashable, Future]) -> Any:
    """`keys` with the future of each in its place."""
    return [shaped_like(entry, futures) for entry in keys] if isinstance(keys, list) else futures[keys]
