"""Functions that were loaded once for all tasks that call them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from distributed.messages import Payload
from distributed.protocol.serialize import loads_function
from distributed.worker.loading import in_turn

__all__ = ["FUNCTIONS_MAX", "Functions"]

FUNCTIONS_MAX = 1_000  # loaded ones kept; one that fell out is loaded again from its pickle


class Functions:
    """Loaded functions by digest, the last used 1,000. Any thread may call any method.

    Args:
        dress: what is called in the place of a function, made when it is loaded; None: the function itself.
    """

    def __init__(self, functions_max: int = FUNCTIONS_MAX, dress: Callable[[Any], Any] | None = None) -> None:
        self.functions_max = functions_max
        self._dress = dress
        self._loaded: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._loaded)

    def get(self, digest: bytes, blob: Payload) -> Callable[..., Any]:
        """The function, loaded from `blob` if it is not here. All tasks get the same object while it is kept.

        Raises:
            Exception: whatever loading raises; nothing is kept then.
        """
        function = self.find(digest)
        if function is None:
            # Two threads may load at once, if one takes very long: the first to be done wins.
            with in_turn():
                return self._add(digest, self._loaded.get(digest) or self._load(blob))
        return function

    def _load(self, blob: Payload) -> Callable[..., Any]:
        function: Callable[..., Any] = loads_function(blob)
        return function if self._dress is None else self._dress(function)

    def find(self, digest: bytes) -> Callable[..., Any] | None:
        """The function if it is here. Cost: 0.15 us."""
        function = self._loaded.get(digest)
        if function is not None:
            try:
                self._loaded.move_to_end(digest)
            except KeyError:  # another thread took it out between the two steps
                return self._add(digest, function)
        return function

    def forget(self, digests: list[bytes]) -> None:
        """Drop these; unknown ones are no error."""
        with self._lock:
            for digest in digests:
                self._loaded.pop(digest, None)

    def _add(self, digest: bytes, function: Callable[..., Any]) -> Callable[..., Any]:
        with self._lock:
            function = self._loaded.setdefault(digest, function)
            while len(self._loaded) > self.functions_max:
                self._loaded.popitem(last=False)
            return function
