"""Big arguments are taken out of calls: each travels once, as data of its own, however many calls it is given to.

Data is named by its content, so an object that was changed between two calls is other data, and equal objects are the
same. What is told here is a promise to users too (see `Client.submit`): a call gets its arguments as they were when it
was submitted, and big ones are shared between calls, so arrays among them are read-only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from distributed.client.outbox import Task
from distributed.client.packing import FunctionCache, pack_arguments, replace_futures
from distributed.messages import Payload, TaskSpec
from distributed.protocol.serialize import Serialized, TaskRef, dumps_payload, payload_nbytes
from distributed.units import MiB

__all__ = ["BIG_NBYTES", "Mover", "frozen", "shared"]

BIG_NBYTES = 1 * MiB  # pickled; a digest of it takes a ms, and sending it a thousand times a second


def shared(value: Any) -> Any:
    """`value`, which many calls will get: what can be made read-only, as arrays can, is, so that no call changes it."""
    set_flags = getattr(value, "setflags", None)
    if set_flags is not None:
        set_flags(write=False)
    return value


class Mover:
    """Packs the calls of one submit or map.

    Args:
        functions: packs the function that makes data of its argument.
        priority: of data.
        pack: packs arguments; dumps: a single value, after `replace` has looked for futures in it.

    Attributes:
        tasks: data that the calls refer to, by key; whoever submits the calls submits before what is not there yet.
        blobs: the functions of these tasks.
    """

    def __init__(
        self,
        functions: FunctionCache,
        priority: int,
        pack: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Payload, list[str] | None]] = pack_arguments,
        dumps: Callable[[Any], Payload] = dumps_payload,
        replace: Callable[[Any, dict[str, None]], Any] = replace_futures,
    ) -> None:
        self._pack, self._dumps, self._replace = pack, dumps, replace
        self.tasks: dict[str, Task] = {}
        self.blobs: dict[bytes, Payload] = {}
        self._functions = functions
        self._priority = priority
        self._moved: dict[int, tuple[Any, TaskRef]] = {}  # by id; the object too, so that its id stays its own

    def move_constants(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Keywords that every call of a map gets, with references for the big ones."""
        payload, _ = self._pack((), dict(kwargs))
        if payload_nbytes(payload) < BIG_NBYTES:
            return dict(kwargs)
        return {name: self._reference(value) for name, value in kwargs.items()}

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Payload, list[str] | None]:
        """As `pack_arguments`; big ones are references, and the rest is a copy that nobody changes."""
        if self._moved:  # the same object again, as in map(f, range(1000), [array] * 1000)
            args = tuple(self._known(value) for value in args)
        payload, needs = self._pack(args, kwargs)
        if type(payload) is bytes:
            return self._with_needs(payload, needs, args, kwargs)
        if payload.nbytes >= BIG_NBYTES:
            args = tuple(map(self._reference, args))
            kwargs = {name: self._reference(value) for name, value in kwargs.items()}
            payload, needs = self._pack(args, kwargs)
        return self._with_needs(frozen(payload), needs, args, kwargs)

    def _with_needs(
        self, payload: Payload, needs: list[str] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Payload, list[str] | None]:
        if not self._moved:
            return payload, needs
        moved = {value.key: None for value in (*args, *kwargs.values()) if type(value) is TaskRef}
        return payload, list({**dict.fromkeys(needs or ()), **moved}) or None

    def _known(self, value: Any) -> Any:
        entry = self._moved.get(id(value))
        return value if entry is None else entry[1]

    def _reference(self, value: Any) -> Any:
        """A reference to `value` as data of its own, if it is big and holds no futures; else `value`."""
        if id(value) in self._moved:
            return self._moved[id(value)][1]
        keys: dict[str, None] = {}
        try:
            self._replace(value, keys)
        except RecursionError:  # it holds itself, or is nested deeply
            return value
        if keys or type(value) is TaskRef:
            return value
        payload = self._dumps(((value,), {}))
        if payload_nbytes(payload) < BIG_NBYTES:
            return value
        payload = frozen(payload)
        packed = self._functions.pack(shared)
        digest = hashlib.blake2b(digest_size=16)
        for frame in payload.frames:
            digest.update(len(frame).to_bytes(8, "little"))
            digest.update(frame)
        key = f"data-{digest.hexdigest()}"
        self.blobs[packed.digest] = packed.blob
        self.tasks[key] = (TaskSpec(packed.digest, self._priority), key, payload, None)
        reference = TaskRef(key)
        self._moved[id(value)] = (value, reference)
        return reference


def frozen(payload: Payload) -> Payload:
    """`payload` without memory of the caller's, who may change it before it has left."""
    if type(payload) is bytes:
        return payload
    return Serialized([bytes(frame) if isinstance(frame, memoryview) else frame for frame in payload.frames])
