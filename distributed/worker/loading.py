"""Loading what may import modules: one thread at a time.

Two threads that import parts of one package for the first time, in different order, may see modules half made: CPython
rather lets them go on than wait for each other for ever. Tasks that begin at once in a fresh process do just that.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["in_turn"]

WAIT_S = 2.0  # for somebody's turn: loading runs code of users, which may wait for another task

_turn = threading.RLock()


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """Nobody else loads meanwhile, or has done so for very long. Cost: 1 us, for what is loaded for the first time."""
    is_mine = _turn.acquire(timeout=WAIT_S)
    try:
        yield
    finally:
        if is_mine:
            _turn.release()
