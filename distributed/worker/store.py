"""Results by key: objects, payloads of other processes that nobody has loaded yet, and files of those written to disk.

Only the loop's thread puts and drops. Executor threads read at the same time, which is safe: every step is one dict
operation, and what has several is under a lock. Loading and pickling run code of users, so `get` and `get_payload` are
called off the loop. Big values, those that are worth a file, are kept in the order of their last use. On its way to
disk or back a value may be dropped, replaced or asked for:

    to disk:  `choose` lends it out under a ticket; it stays in memory, and who asks gets it from there. `settle` puts
              the file in its place if the ticket is still good; dropping or replacing the value spoils the ticket.
    back:     whoever asks loads it; it then counts as in memory too, and giving that up again costs nothing, as the
              file stays until the value is dropped or replaced.

Not here: when to spill (`distributed.worker.memory`), writing files (`spill`), sizes (`sizes`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from distributed.protocol.serialize import Payload, dumps_payload, loads_payload, payload_nbytes
from distributed.worker.loading import in_turn
from distributed.worker.spill import Spilled, SpillReadError

__all__ = ["Lent", "Packed", "Store", "payload_of"]

PAYLOADS_NBYTES_MAX = 64 * 1024 * 1024  # pickles kept for the next peer that asks: one big result fetched by many
SPILL_NBYTES_MIN = 4 * 1024  # a file takes a block of the disk, and what we remember of it half a kilobyte


class Lent(NamedTuple):
    """A value on its way to disk; `ticket` tells whether it is still wanted there when it arrives."""

    key: str
    value: Any
    nbytes: int
    ticket: int


class Packed:
    """A value as it came over the wire; it is loaded when somebody first asks for the object.

    Attributes:
        payload: None once it was loaded, unless it `is_original`.
        is_original: whether it was put here and cannot be computed again, so that the payload must not go before it.
    """

    __slots__ = ("_loaded", "is_original", "payload")

    def __init__(self, payload: Payload, is_original: bool = False) -> None:
        self.payload = payload
        self.is_original = is_original
        self._loaded: list[Any] = []

    def load(self) -> Any:
        """The object, the same one for every thread. Runs the code of the pickle.

        Raises:
            Exception: whatever loading raises.
        """
        loaded = self._loaded
        payload = self.payload
        if not loaded and payload is not None:  # None: another thread loaded it between the two steps
            # Two threads may get here, as a turn does not last for ever: the first to append wins.
            with in_turn():
                if not loaded:
                    loaded.append(loads_payload(payload))
            del loaded[1:]
            if not self.is_original:
                self.payload = None
        return loaded[0]


def payload_of(lent: Lent) -> Payload:
    """What is to be written of a value that was lent out. Any thread but the loop's: it may run code of users.

    Raises:
        UnpicklableError: it has to stay in memory. Exception: whatever loading a `Packed` raises.
    """
    value = lent.value
    if type(value) is Packed:
        packed = value.payload
        if packed is not None:
            return packed
        value = value.load()
    return dumps_payload(value, f"the result of {lent.key}")


class Store:
    """Results by key.

    Args:
        remove: called with every file that is no longer needed; must not wait.
    Attributes:
        nbytes: sum of the sizes that `put` was told.
        added_nbytes: sum of all that were ever put; it never falls.
        taken_nbytes: the same, and all that were ever pickled or lent out to be so.
        away_nbytes: of `nbytes`, what is only on disk.
        spilled_nbytes: sum of the files.
        spilling_nbytes, spillable_nbytes: of what is in memory: lent out, and what `choose` may still choose.
    """

    def __init__(self, remove: Callable[[Spilled], object] = lambda spilled: None) -> None:
        self.nbytes = 0
        self.added_nbytes = 0
        self.taken_nbytes = 0
        self.away_nbytes = 0
        self.spilled_nbytes = 0
        self.spilling_nbytes = 0
        self.spillable_nbytes = 0
        self.on_spilled: Callable[[str, Spilled], object] = lambda key, spilled: None  # before a value leaves memory
        self._remove = remove
        self._values: dict[str, Any] = {}
        self._nbytes: dict[str, int] = {}
        self._recent: OrderedDict[str, int] = OrderedDict()  # {key: bytes that it would free}; last used last
        self._lent: dict[str, Lent] = {}
        self._tickets = 0
        self._lock = threading.Lock()  # for all that concerns big values
        self._payloads: OrderedDict[str, tuple[Any, Payload, int]] = OrderedDict()  # {key: (value, payload, nbytes)}
        self._payloads_nbytes = 0
        self._payloads_lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @property
    def managed_nbytes(self) -> int:
        """Of `nbytes`, what is in memory."""
        return self.nbytes - self.away_nbytes

    # ------------------------------------------------------------ loop thread

    def put(self, key: str, value: Any, nbytes: int) -> None:
        """Keep `value`, an object or a `Packed`, in place of what was there."""
        self.put_columns([key], [value], [nbytes])

    def put_columns(self, keys: list[str], values: list[Any], nbytes: list[int]) -> None:
        """`put` for many: columns of one length, as in the effect `Keep`."""
        sizes, added = self._nbytes, 0
        for index, (key, size) in enumerate(zip(keys, nbytes, strict=True)):
            old = sizes.get(key, 0)
            if size >= SPILL_NBYTES_MIN or old >= SPILL_NBYTES_MIN:
                with self._lock:
                    self._forget_big(key, old)
                    self._values[key] = values[index]
                    if size >= SPILL_NBYTES_MIN:
                        self._use(key, size)
            added += size
            self.nbytes += size - old
            sizes[key] = size
        self.added_nbytes += added
        with self._payloads_lock:
            self.taken_nbytes += added
        self._values.update(zip(keys, values, strict=True))

    def drop(self, keys: list[str]) -> None:
        """Forget these; unknown ones are no error."""
        for key in keys:
            size = self._nbytes.pop(key, 0)
            if size >= SPILL_NBYTES_MIN:
                with self._lock:
                    self._forget_big(key, size)
                    self._values.pop(key, None)
            self._values.pop(key, None)
            self.nbytes -= size
        with self._payloads_lock:
            for key in keys:
                if key in self._payloads:
                    self._forget_payload(key)

    def keeps(self, key: str, value: Any) -> bool:
        """Whether `value` is what is kept under `key`."""
        return self._values.get(key) is value

    def nbytes_by_key(self) -> dict[str, int]:
        """A copy of ``{key: nbytes}``, in the order in which the keys came."""
        return dict(self._nbytes)

    def choose(self, nbytes: int) -> list[Lent]:
        """Free `nbytes` of memory: the values least recently used go, until it is enough or none is left.

        Returns:
            Those that have to be written; they stay in memory until they are settled, each with `settle` or
            `take_back`. Those whose file exists already have left memory.
        """
        lent: list[Lent] = []
        unloaded: list[str] = []
        with self._lock:
            while nbytes > 0 and self._recent:
                key, size = self._recent.popitem(last=False)
                self.spillable_nbytes -= size
                nbytes -= size
                value = self._values[key]
                if isinstance(value, Spilled):
                    value.box = None
                    self.away_nbytes += size
                    unloaded.append(key)
                else:
                    self._tickets += 1
                    self._lent[key] = Lent(key, value, size, self._tickets)
                    self.spilling_nbytes += size
                    lent.append(self._lent[key])
        self.forget_payloads(unloaded)
        with self._payloads_lock:
            self.taken_nbytes += sum(entry.nbytes for entry in lent)
        return lent

    def settle(self, key: str, ticket: int, spilled: Spilled) -> bool:
        """The value lent under `ticket` is on disk.

        Returns:
            Whether it was still wanted there; if not, its file is removed.
        """
        with self._lock:
            lent = self._give_back(key, ticket)
            if lent is not None:
                self.on_spilled(key, spilled)
                self._values[key] = spilled
                self.away_nbytes += lent.nbytes
                self.spilled_nbytes += spilled.nbytes
        if lent is None:
            self._remove(spilled)
            return False
        self.forget_payloads([key])
        return True

    def take_back(self, key: str, ticket: int, for_good: bool) -> None:
        """The value lent under `ticket` could not be written; `for_good`: it never can, so it is not chosen again."""
        with self._lock:
            lent = self._give_back(key, ticket)
            if lent is not None and not for_good:
                self._use(key, lent.nbytes)

    def forget_payloads(self, keys: list[str] | None = None) -> None:
        """Drop pickles that were kept for peers, which hold on to the values: those of `keys`, or all."""
        with self._payloads_lock:
            for key in list(self._payloads) if keys is None else keys:
                if key in self._payloads:
                    self._forget_payload(key)

    # ------------------------------------------------------------ any thread but the loop's

    def get(self, key: str) -> Any:
        """The object; loads it if nobody has before.

        Raises:
            KeyError: it is not here.
            SpillReadError: it was, but its file cannot be read.
            Exception: whatever loading raises.
        """
        value = self._values[key]
        kind = type(value)
        if isinstance(value, Spilled):
            try:
                return self._loaded(key, value)
            except SpillReadError:
                if self._is_kept(key, value):
                    raise
                return self.get(key)  # it was replaced, and its file removed, just now
        if key in self._recent:
            with self._lock:
                if key in self._recent:
                    self._recent.move_to_end(key)
        return value.load() if kind is Packed else value

    def get_payload(self, key: str) -> Payload:
        """The pickled object, for a peer or a client; may run the code of ``__reduce__``.

        The last ones made are kept, up to 64 MiB.

        Raises:
            KeyError: it is not here.
            SpillReadError: it was, but its file cannot be read.
            UnpicklableError: it cannot be pickled.
            Exception: whatever loading a `Packed` raises.
        """
        held = value = self._values[key]
        if isinstance(held, Spilled):
            try:
                return held.payload()
            except SpillReadError:
                if self._is_kept(key, held):
                    raise
                return self.get_payload(key)  # see get
        if type(held) is Packed:
            packed = held.payload
            if packed is not None:
                return packed
            value = held.load()
        with self._payloads_lock:
            cached = self._payloads.get(key)
            if cached is not None and cached[0] is value:
                self._payloads.move_to_end(key)
                return cached[1]
            self.taken_nbytes += self._nbytes.get(key, 0)
        payload = dumps_payload(value, f"the result of {key}")
        self._remember_payload(key, held, value, payload)
        return payload

    # ------------------------------------------------------------ parts

    def _loaded(self, key: str, spilled: Spilled) -> Any:
        box = spilled.box
        if box is not None:
            return box[0]
        value = spilled.load()  # by two threads at once, perhaps: each has an object, one of them stays
        with self._lock:
            if self._values.get(key) is spilled and spilled.box is None:
                size = self._nbytes.get(key, 0) - spilled.mapped_nbytes
                spilled.box = (value,)
                self.away_nbytes -= max(0, size)
                self._use(key, max(0, size))
        return value

    def _is_kept(self, key: str, value: Any) -> bool:
        """Whether `value` is still the one of `key`: a file is removed with the lock, just before its value."""
        with self._lock:
            return self._values.get(key) is value

    def _use(self, key: str, nbytes: int) -> None:
        """A value that may be chosen from now on, the last one in turn. With the lock."""
        self._recent[key] = nbytes
        self.spillable_nbytes += nbytes

    def _give_back(self, key: str, ticket: int) -> Lent | None:
        """End the loan if it is this one. With the lock."""
        lent = self._lent.get(key)
        if lent is None or lent.ticket != ticket:
            return None
        del self._lent[key]
        self.spilling_nbytes -= lent.nbytes
        return lent

    def _forget_big(self, key: str, nbytes: int) -> None:
        """A big value of `nbytes` is dropped or replaced: out of all accounts, and its file goes. With the lock."""
        free = self._recent.pop(key, None)
        if free is not None:
            self.spillable_nbytes -= free
        lent = self._lent.pop(key, None)
        if lent is not None:
            self.spilling_nbytes -= lent.nbytes
        value = self._values.get(key)
        if isinstance(value, Spilled):
            self.spilled_nbytes -= value.nbytes
            self.away_nbytes -= nbytes - (free or 0)
            self._remove(value)

    def _remember_payload(self, key: str, held: Any, value: Any, payload: Payload) -> None:
        nbytes = payload_nbytes(payload)
        with self._payloads_lock:
            # What was dropped, replaced or written to disk meanwhile must not be remembered: whoever does that looks
            # here after it took the value out.
            if self._values.get(key) is not held or nbytes > PAYLOADS_NBYTES_MAX:
                return
            if key in self._payloads:
                self._forget_payload(key)
            self._payloads[key] = (value, payload, nbytes)
            self._payloads_nbytes += nbytes
            while self._payloads_nbytes > PAYLOADS_NBYTES_MAX:
                self._forget_payload(next(iter(self._payloads)))

    def _forget_payload(self, key: str) -> None:
        self._payloads_nbytes -= self._payloads.pop(key)[2]
