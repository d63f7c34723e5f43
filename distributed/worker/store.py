"""Results by key: objects, or payloads of other processes that nobody has loaded yet; and how big they are.

Only the loop's thread writes. Executor threads read at the same time, which is safe: every step is one dict operation.
Loading and pickling run code of users, so `get` and `get_payload` are called off the loop. Not here: spilling to disk.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from itertools import islice
from typing import Any

from distributed.protocol.serialize import Payload, dumps_payload, loads_payload, payload_nbytes

__all__ = ["Packed", "Store", "nbytes_of"]

PAYLOADS_NBYTES_MAX = 64 * 1024 * 1024  # pickles kept for the next peer that asks: one big result fetched by many
SAMPLE_SIZE = 8  # elements looked at per container: good for uniform ones, and at most 8 ** 3 steps in all
SAMPLE_DEPTH = 3
NBYTES_UNKNOWN = 64  # of an object whose __sizeof__ raises

_TEXTS = frozenset({bytes, str, bytearray})
_NUMBERS = frozenset({int, float, bool, complex, type(None)})
_SEQUENCES = (list, tuple, set, frozenset)
_CONTAINERS = frozenset({*_SEQUENCES, dict})


class Packed:
    """A value as it came over the wire; it is loaded when somebody first asks for the object.

    Attributes:
        payload: None once it was loaded.
    """

    __slots__ = ("_loaded", "payload")

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        self._loaded: list[Any] = []

    def load(self) -> Any:
        """The object, the same one for every thread. Runs the code of the pickle.

        Raises:
            Exception: whatever loading raises.
        """
        loaded = self._loaded
        payload = self.payload
        if not loaded and payload is not None:  # None: another thread loaded it between the two steps
            # Two threads may get here at once. No lock is held while foreign code runs: the first to append wins.
            loaded.append(loads_payload(payload))
            del loaded[1:]
            self.payload = None
        return loaded[0]


class Store:
    """Results by key.

    Attributes:
        nbytes: sum of the sizes that `put` was told.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._values: dict[str, Any] = {}
        self._nbytes: dict[str, int] = {}
        self._payloads: OrderedDict[str, tuple[Any, Payload, int]] = OrderedDict()  # {key: (value, payload, nbytes)}
        self._payloads_nbytes = 0
        self._payloads_lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def put(self, key: str, value: Any, nbytes: int) -> None:
        """Keep `value`, an object or a `Packed`, in place of what was there. Loop thread only."""
        self.put_columns([key], [value], [nbytes])

    def put_columns(self, keys: list[str], values: list[Any], nbytes: list[int]) -> None:
        """`put` for many: columns of one length, as in the effect `Keep`. Loop thread only."""
        sizes = self._nbytes
        for key, size in zip(keys, nbytes, strict=True):
            self.nbytes += size - sizes.get(key, 0)
            sizes[key] = size
        self._values.update(zip(keys, values, strict=True))

    def drop(self, keys: list[str]) -> None:
        """Forget these; unknown ones are no error. Loop thread only."""
        for key in keys:
            self._values.pop(key, None)
            self.nbytes -= self._nbytes.pop(key, 0)
        with self._payloads_lock:
            for key in keys:
                if key in self._payloads:
                    self._forget_payload(key)

    def nbytes_by_key(self) -> dict[str, int]:
        """A copy of ``{key: nbytes}``, in the order in which the keys came."""
        return dict(self._nbytes)

    def get(self, key: str) -> Any:
        """The object. Any thread but the loop's: it may run the code of a pickle.

        Raises:
            KeyError: it is not here.
            Exception: whatever loading a `Packed` raises.
        """
        value = self._values[key]
        return value.load() if type(value) is Packed else value

    def get_payload(self, key: str) -> Payload:
        """The pickled object, for a peer or a client. Any thread but the loop's: it may run the code of ``__reduce__``.

        The last ones made are kept, up to 64 MiB.

        Raises:
            KeyError: it is not here.
            UnpicklableError: it cannot be pickled.
            Exception: whatever loading a `Packed` raises.
        """
        value = self._values[key]
        if type(value) is Packed:
            packed = value.payload
            if packed is not None:
                return packed
            value = value.load()
        with self._payloads_lock:
            cached = self._payloads.get(key)
            if cached is not None and cached[0] is value:
                self._payloads.move_to_end(key)
                return cached[1]
        payload = dumps_payload(value, f"the result of {key}")
        self._remember_payload(key, value, payload)
        return payload

    def _remember_payload(self, key: str, value: Any, payload: Payload) -> None:
        nbytes = payload_nbytes(payload)
        with self._payloads_lock:
            # A key that was dropped meanwhile must not be remembered; `drop` looks here after it took the value out.
            if key not in self._values or nbytes > PAYLOADS_NBYTES_MAX:
                return
            if key in self._payloads:
                self._forget_payload(key)
            self._payloads[key] = (value, payload, nbytes)
            self._payloads_nbytes += nbytes
            while self._payloads_nbytes > PAYLOADS_NBYTES_MAX:
                self._forget_payload(next(iter(self._payloads)))

    def _forget_payload(self, key: str) -> None:
        self._payloads_nbytes -= self._payloads.pop(key)[2]


def nbytes_of(value: Any) -> int:
    """About how many bytes `value` takes in memory: an estimate to place and to bound with, never a promise.

    Bytes and text count their length, arrays and frames their data, containers and plain objects their own size plus
    that of a few of their elements, scaled up. Never raises an `Exception`.

    Cost: 0.2 us for numbers and text, 0.4 us for arrays; at most 8 ** 3 elements are looked at.
    """
    return _estimate(value, SAMPLE_DEPTH)


def _estimate(value: Any, depth: int) -> int:
    kind = type(value)
    if kind in _TEXTS:
        return len(value)
    if kind in _NUMBERS:
        return sys.getsizeof(value)
    try:
        nbytes = None if kind in _CONTAINERS else getattr(value, "nbytes", None)
        if type(nbytes) is int and nbytes >= 0:
            return nbytes
        size = sys.getsizeof(value)
        if depth == 0:
            return size
        if isinstance(value, _SEQUENCES):
            return size + _sampled(value, len(value), depth)
        if isinstance(value, dict):
            return size + _sampled(value.keys(), len(value), depth) + _sampled(value.values(), len(value), depth)
        inside = getattr(value, "__dict__", None)
        return size + (_estimate(inside, depth - 1) if type(inside) is dict else 0)
    except Exception:  # methods of a user's class; the value itself may be all right
        return NBYTES_UNKNOWN


def _sampled(elements: Any, length: int, depth: int) -> int:
    """Size of all elements: that of a few, scaled up. Spread over a sequence, the first ones of anything else."""
    if length <= SAMPLE_SIZE:
        return sum([_estimate(element, depth - 1) for element in islice(elements, SAMPLE_SIZE)])
    if type(elements) is list or type(elements) is tuple:
        sample = [elements[index * length // SAMPLE_SIZE] for index in range(SAMPLE_SIZE)]
    else:
        sample = list(islice(elements, SAMPLE_SIZE))
    return sum([_estimate(element, depth - 1) for element in sample]) * length // SAMPLE_SIZE
