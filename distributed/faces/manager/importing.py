"""A module that a worker imports must not start managers and workers itself: each of these would import it again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from distributed.errors import StartedByImportError

__all__ = ["importing", "refuse_while_importing"]

_imported: list[str] = []  # the worker's class, while its module is imported


@contextlib.contextmanager
def importing(what: str) -> Iterator[None]:
    """While the block runs, `refuse_while_importing` refuses."""
    _imported.append(what)
    try:
        yield
    finally:
        _imported.pop()


def refuse_while_importing() -> None:
    """Called by whatever starts a manager or a worker.

    Raises:
        StartedByImportError: a worker's module is being imported, and does this.
    """
    if _imported:
        raise StartedByImportError(_imported[-1])
