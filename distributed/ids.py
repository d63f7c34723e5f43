"""Names for things that live once: processes, clients, workers."""

from __future__ import annotations

import itertools
import os
import re

__all__ = ["CUT_KEY_NBYTES", "KEY_LENGTH_MAX", "counter", "cut_key", "is_key", "name_of_key", "unique_id"]

KEY_LENGTH_MAX = 1000  # a key is a name for people, not a place for data
CUT_KEY_NBYTES = 500  # of a key in the file that says what runs in a process

_numbers = itertools.count(1)
_TAIL = re.compile(r"-(?:[0-9a-f]{8,}|[0-9]+)(?:-.*)?$", re.DOTALL)  # what is added to make a key of a name


def unique_id(kind: str) -> str:
    """A name nobody else has: ``kind`` and 96 random bits."""
    return f"{kind}-{os.urandom(12).hex()}"


def counter() -> int:
    """1, 2, 3, ... in this process."""
    return next(_numbers)


def short_name(text: str) -> str:
    """`text` made fit to begin a key: what is not a word character becomes ``_``, at most 60 characters."""
    return re.sub(r"[^\w.<>]+", "_", text)[:60] or "task"


def is_key(key: object) -> bool:
    """Whether `key` can name a task: text of 1 to 1,000 characters."""
    return isinstance(key, str) and 0 < len(key) <= KEY_LENGTH_MAX


def cut_key(key: str) -> str:
    """`key` as those have it who read what runs in a process."""
    return key.encode("utf-8", "replace")[:CUT_KEY_NBYTES].decode("utf-8", "ignore")


def name_of_key(key: str) -> str:
    """What the tasks of one call have in common: ``load`` of ``load-5f3a09b1c2`` and of ``load-17``."""
    return _TAIL.sub("", key) or key
