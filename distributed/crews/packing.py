"""The arguments of a call on their way to a room: what is named is named, and calls in them become their results."""

from __future__ import annotations

import pickle
from typing import Any

from distributed.client.futures import Future
from distributed.client.packing import PLAIN, SCALARS
from distributed.crews.call import Call
from distributed.errors import UnpicklableError
from distributed.messages import Payload
from distributed.protocol.serialize import BUFFER_NBYTES_MIN, PROTOCOL, Serialized, TaskRef
from distributed.rooms.references import dumps_reference_payload

__all__ = ["are_plain", "call_of", "calls_in", "pack_call", "refer", "with_values"]


def call_of(value: Any) -> Call | None:
    """The call that `value` is, or is a handle of: its class then has ``__distributed_call__``, a property."""
    if type(value) is Call:
        return value
    if hasattr(type(value), "__distributed_call__"):
        call: Call = value.__distributed_call__
        return call
    return None


def are_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether no call can be among them, told by a glance."""
    for value in args:
        if type(value) not in PLAIN:
            return False
    return not kwargs


def calls_in(value: Any, found: dict[int, Call]) -> dict[int, Call]:
    """All calls at any depth of list, tuple, dict and set, by their identity; added to `found`."""
    kind = type(value)
    if kind in SCALARS:
        return found
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        for entry in value:
            calls_in(entry, found)
    elif kind is dict:
        for entry in value.values():
            calls_in(entry, found)
    elif (call := call_of(value)) is not None:
        found[id(call)] = call
    return found


def with_values(value: Any, value_of: dict[int, Any]) -> Any:
    """`value` with the value instead of each call that is named in `value_of` by its identity."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind(with_values(entry, value_of) for entry in value)
    if kind is dict:
        return {name: with_values(entry, value_of) for name, entry in value.items()}
    call = call_of(value)
    return value_of.get(id(call), value) if call is not None else value


def pack_call(args: tuple[Any, ...], kwargs: dict[str, Any], entry: str | None) -> tuple[Payload, list[str] | None]:
    """As `client.packing.pack_arguments`, for a room: classes of the script are named, calls are references.

    Args:
        entry: see `dumps_reference_payload`.
    Raises:
        UnpicklableError: an argument that cannot be pickled, or a future of another client.
    """
    kinds = {type(value) for value in args}
    if kwargs:
        kinds.update(map(type, kwargs.values()))
    if kinds <= SCALARS:
        blob = pickle.dumps((args, kwargs), PROTOCOL)
        return (blob if len(blob) < BUFFER_NBYTES_MIN else Serialized([blob])), None
    if kinds <= PLAIN:
        return dumps_reference_payload((args, kwargs), entry), None
    keys: dict[str, None] = {}
    try:
        args, kwargs = refer(args, keys), refer(kwargs, keys)
    except RecursionError:  # it holds itself: pickle knows what to do, unless there are calls in it
        keys.clear()
    return dumps_reference_payload((args, kwargs), entry), list(keys) or None


def refer(value: Any, keys: dict[str, None]) -> Any:
    """`value` with a reference for each call in it; their keys are added to `keys`, in order."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind(refer(entry, keys) for entry in value)
    if kind is dict:
        return {name: refer(entry, keys) for name, entry in value.items()}
    if kind is Future:
        raise UnpicklableError("an argument", "Future", "it belongs to a Client; pass its result(), or submit there")
    call = call_of(value)
    if call is None:
        return value
    keys[call.key] = None
    return TaskRef(call.key)
