"""A workspace laid out: a writable tree of copies, made so that no manifest can reach out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["lay_out", "remove"]


def lay_out(manifest: Any, store: Any, folder: str, is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Make `folder`, which must not exist, with copies of all files of `manifest`; whole, or not at all.

    Args:
        is_wanted: looked at between files; when it turns False, what was made is removed.
    Raises:
        LayOutError: a name that collides, is too long, or leads out.
        BlobMissingError: the store lacks or lost a content.
        StoreFullError: no room.
    """
    raise NotImplementedError


def remove(folder: str) -> None:
    """Remove a tree, also where its users took away their own rights; no error if it is gone."""
    raise NotImplementedError
